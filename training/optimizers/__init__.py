"""Optimizers that torch lacks: dense quasi-Newton, Gauss-Newton / Levenberg–Marquardt, and SOAP in double precision.

An optimizer with a class attribute ``closure`` says what its ``step`` needs: ``"loss"`` a closure that clears the
gradients, computes loss and gradients and returns the loss; ``"least_squares"`` a `LeastSquares` problem.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.optimizers.gauss_newton import GaussNewton
    from training.optimizers.lbfgs import LBFGS
    from training.optimizers.least_squares import FunctionResiduals, LeastSquares
    from training.optimizers.soap import SOAP
    from training.optimizers.ssbroyden import SSBroyden

__all__ = ["LBFGS", "SOAP", "FunctionResiduals", "GaussNewton", "LeastSquares", "SSBroyden"]

_HOMES = {
    "FunctionResiduals": "training.optimizers.least_squares",
    "GaussNewton": "training.optimizers.gauss_newton",
    "LBFGS": "training.optimizers.lbfgs",
    "LeastSquares": "training.optimizers.least_squares",
    "SOAP": "training.optimizers.soap",
    "SSBroyden": "training.optimizers.ssbroyden",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
