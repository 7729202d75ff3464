"""Limbeck's physics-informed networks: solve a differential equation and state the error.

>>> import pinn
>>> solution = pinn.solve("burgers").solution        # doctest: +SKIP
>>> solution = pinn.load("network.safetensors")      # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.notebook import solve
    from pinn.problem import Problem
    from pinn.solve.export import Solution, load

__all__ = ["Problem", "Solution", "load", "solve"]

# loaded at first use: whoever only reads a configuration has no use for torch
_HOMES = {
    "Problem": "pinn.problem",
    "Solution": "pinn.solve.export",
    "load": "pinn.solve.export",
    "solve": "pinn.notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
