"""The Helmholtz equation with a solution that is smooth along x and oscillates along y.

``u_xx + u_yy + k² u = q`` on the square (−1, 1)², with u = 0 on the boundary and ``q`` such that the solution is
``sin(a₁πx) sin(a₂πy)`` with k = 1, a₁ = 1, a₂ = 4.

Benchmark of Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in physics-informed neural
networks", SIAM J. Sci. Comput. 43 (2021) A3055.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Dirichlet
from pinn.fields import Field
from pinn.geometry import Box
from pinn.problem import Problem
from pinn.references.reference import Exact


class Helmholtz(Problem):
    """``Δu + k² u = q`` on a square, zero on the boundary.

    Args:
        wave_number: k.
        a1, a2: whole numbers of half waves along x and y, for each unit of length.
        hard: whether the boundary holds exactly, ``u = (1 − x²)(1 − y²) N``, or enters the loss.
    """

    formula = r"u_{xx} + u_{yy} + k^2\,u = q(x, y)"

    def __init__(self, wave_number: float = 1.0, a1: int = 1, a2: int = 4, hard: bool = True) -> None:
        self.title = f"Helmholtz equation, k = {wave_number:g}, waves ({a1}, {a2})"
        self.wave_number = wave_number
        self.a1, self.a2 = a1, a2
        self.domain = Box(x=(-1, 1), y=(-1, 1))
        self.conditions = [Dirichlet(u=0.0, hard=hard)]
        self.reference = Exact(self.coordinates, {"u": self.solution})

    def equations(self, u: Field, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        scale = self.wave_number**2 - math.pi**2 * (self.a1**2 + self.a2**2)
        return {"helmholtz": u.xx + u.yy + self.wave_number**2 * u - scale * self.solution(x, y)}

    def solution(self, x: Tensor, y: Tensor) -> Tensor:
        """``sin(a₁πx) sin(a₂πy)``"""
        return torch.sin(self.a1 * torch.pi * x) * torch.sin(self.a2 * torch.pi * y)
