"""What holds on the boundary, at the start, and at measured points; each condition soft or hard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.conditions.boundary import Dirichlet, Neumann, Robin
    from pinn.conditions.condition import Condition, ConditionPoints
    from pinn.conditions.data import Data
    from pinn.conditions.initial import Initial
    from pinn.conditions.periodic import Periodic

__all__ = ["Condition", "ConditionPoints", "Data", "Dirichlet", "Initial", "Neumann", "Periodic", "Robin"]

_HOMES = {
    "Condition": "condition",
    "ConditionPoints": "condition",
    "Data": "data",
    "Dirichlet": "boundary",
    "Initial": "initial",
    "Neumann": "boundary",
    "Periodic": "periodic",
    "Robin": "boundary",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn.conditions' has no attribute {name!r}")
    return getattr(import_module(f"pinn.conditions.{_HOMES[name]}"), name)
