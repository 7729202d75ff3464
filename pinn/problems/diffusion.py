"""Diffusion with a source that lets a sine decay more slowly than it would by itself.

``u_t = u_xx + e⁻ᵗ (π² − 1) sin πx`` for x in (−1, 1) and t in (0, 1), with ``u(x, 0) = sin πx`` and ``u(±1, t) = 0``;
the solution is ``e⁻ᵗ sin πx``.

Benchmark of Wu, Zhu, Tan, Kartha, Lu, "A comprehensive study of non-adaptive and residual-based adaptive sampling",
Comput. Methods Appl. Mech. Eng. 403 (2023) 115671.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.reference import Exact


class Diffusion(Problem):
    """``u_t = u_xx + e⁻ᵗ (π² − 1) sin πx`` from ``sin πx`` between fixed ends.

    Args:
        hard: whether start and ends hold exactly, ``u = sin πx + t (1 − x²) N``, or enter the loss.
    """

    title = "Diffusion with a source"
    formula = r"u_t = u_{xx} + e^{-t}\,(\pi^2 - 1)\,\sin \pi x"

    def __init__(self, hard: bool = True) -> None:
        self.domain = Interval(x=(-1, 1)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: torch.sin(torch.pi * x), hard=hard),
            Dirichlet(u=0.0, hard=hard),
        ]
        self.reference = Exact(self.coordinates, {"u": self.solution})

    def equations(self, u: Field, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        source = torch.exp(-t) * (math.pi**2 - 1) * torch.sin(torch.pi * x)
        return {"diffusion": u.t - u.xx - source}

    def solution(self, x: Tensor, t: Tensor) -> Tensor:
        """``e⁻ᵗ sin πx``"""
        return torch.exp(-t) * torch.sin(torch.pi * x)
