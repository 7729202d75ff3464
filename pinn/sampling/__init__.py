"""Where the equations are asked to hold: samplers that place, move and add collocation points.

Each sampler is one file behind the interface of `pinn.sampling.sampler.Sampler`; a config names it by
``_target_: pinn.sampling.RAD``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.sampling.hierarchical import Hierarchical
    from pinn.sampling.importance import Importance
    from pinn.sampling.latin_hypercube import LatinHypercube
    from pinn.sampling.particles import Particles
    from pinn.sampling.r3 import R3
    from pinn.sampling.rad import RAD
    from pinn.sampling.rard import RARD
    from pinn.sampling.rarg import RARG
    from pinn.sampling.sampler import Sampler
    from pinn.sampling.sobol import Sobol
    from pinn.sampling.uncertainty import Uncertainty
    from pinn.sampling.uniform import Uniform

__all__ = [
    "R3",
    "RAD",
    "RARD",
    "RARG",
    "Hierarchical",
    "Importance",
    "LatinHypercube",
    "Particles",
    "Sampler",
    "Sobol",
    "Uncertainty",
    "Uniform",
]

_HOMES = {
    "Hierarchical": "hierarchical",
    "Importance": "importance",
    "LatinHypercube": "latin_hypercube",
    "Particles": "particles",
    "R3": "r3",
    "RAD": "rad",
    "RARD": "rard",
    "RARG": "rarg",
    "Sampler": "sampler",
    "Sobol": "sobol",
    "Uncertainty": "uncertainty",
    "Uniform": "uniform",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn.sampling' has no attribute {name!r}")
    return getattr(import_module(f"pinn.sampling.{_HOMES[name]}"), name)
