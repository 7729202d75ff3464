"""Poisson's equation on the unit square.

``−Δu = 2π² sin πx sin πy`` with u = 0 on the boundary; the solution is ``sin πx sin πy``.

Benchmark of Müller, Zeinhofer, "Achieving high accuracy with PINNs via energy natural gradient descent", ICML 2023.
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


class Poisson(Problem):
    """``−Δu = 2π² sin πx sin πy`` on the unit square, zero on the boundary.

    Args:
        hard: whether the boundary holds exactly, ``u = x (1 − x) y (1 − y) N``, or enters the loss.
    """

    title = "Poisson equation on a square"
    formula = r"-\Delta u = 2 \pi^2 \sin \pi x\,\sin \pi y"

    def __init__(self, hard: bool = True) -> None:
        self.domain = Box(x=(0, 1), y=(0, 1))
        self.conditions = [Dirichlet(u=0.0, hard=hard)]
        self.reference = Exact(self.coordinates, {"u": self.solution})

    def equations(self, u: Field, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"poisson": -u.xx - u.yy - 2 * math.pi**2 * self.solution(x, y)}

    def solution(self, x: Tensor, y: Tensor) -> Tensor:
        """``sin πx sin πy``"""
        return torch.sin(torch.pi * x) * torch.sin(torch.pi * y)
