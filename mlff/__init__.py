"""Limbeck's force fields: distil a slow teacher into a small student, and run it in ASE.

>>> from mlff import StudentCalculator, distil
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlff.deploy.batched_md.simulation import simulate
    from mlff.deploy.calculator import StudentCalculator
    from mlff.notebook import distil

__all__ = ["StudentCalculator", "distil", "simulate"]

# loaded at first use: worker processes import mlff and have no use for torch
_HOMES = {
    "StudentCalculator": "mlff.deploy.calculator",
    "distil": "mlff.notebook",
    "simulate": "mlff.deploy.batched_md.simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlff' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
