"""How much each loss term, or each point of it, counts: balances behind one interface.

Each balance is one file; a config names it by ``_target_: pinn.weighting.GradNorm``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.weighting.balance import Balance, TermGradients
    from pinn.weighting.fixed import Fixed
    from pinn.weighting.grad_norm import GradNorm
    from pinn.weighting.gradients import AutogradGradients
    from pinn.weighting.ntk import NTK
    from pinn.weighting.rba import RBA
    from pinn.weighting.self_adaptive import SelfAdaptive

__all__ = [
    "NTK",
    "RBA",
    "AutogradGradients",
    "Balance",
    "Fixed",
    "GradNorm",
    "SelfAdaptive",
    "TermGradients",
]

_HOMES = {
    "AutogradGradients": "gradients",
    "Balance": "balance",
    "Fixed": "fixed",
    "GradNorm": "grad_norm",
    "NTK": "ntk",
    "RBA": "rba",
    "SelfAdaptive": "self_adaptive",
    "TermGradients": "balance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn.weighting' has no attribute {name!r}")
    return getattr(import_module(f"pinn.weighting.{_HOMES[name]}"), name)
