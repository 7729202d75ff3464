"""Many small fits of one model at once: to spectra with an emulator, to specimens with a parametric solution.

>>> from pinn.fitting import batched_fit
>>> fitted = batched_fit(forward, data, sigma, start=(1.0, 0.5))   # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.fitting.fit import batched_fit
    from pinn.fitting.result import FitResult
    from pinn.fitting.starts import Candidates

__all__ = ["Candidates", "FitResult", "batched_fit"]

_HOMES = {
    "Candidates": "pinn.fitting.starts",
    "FitResult": "pinn.fitting.result",
    "batched_fit": "pinn.fitting.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn.fitting' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
