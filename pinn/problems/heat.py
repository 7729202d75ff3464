"""The heat equation on an interval.

``u_t = D u_xx`` for x in (0, 1) and t in (0, 1), with ``u(x, 0) = sin πx``, ``u(0, t) = u(1, t) = 0`` and D = 1/4; the
solution is ``exp(−D π² t) sin πx``.

Benchmark of Müller, Zeinhofer, "Achieving high accuracy with PINNs via energy natural gradient descent", ICML 2023.
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


class Heat(Problem):
    """``u_t = D u_xx`` from ``sin πx`` between cold ends.

    Args:
        diffusion: D, positive.
        hard: whether start and ends hold exactly, ``u = sin πx + t x (1 − x) N``, or enter the loss.
    """

    formula = r"u_t = D\,u_{xx}"

    def __init__(self, diffusion: float = 0.25, hard: bool = True) -> None:
        self.title = f"Heat equation, D = {diffusion:g}"
        self.diffusion = diffusion
        self.domain = Interval(x=(0, 1)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: torch.sin(torch.pi * x), hard=hard),
            Dirichlet(u=0.0, hard=hard),
        ]
        self.reference = Exact(self.coordinates, {"u": self.solution})

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"heat": u.t - self.diffusion * u.xx}

    def solution(self, x: Tensor, t: Tensor) -> Tensor:
        """``exp(−D π² t) sin πx``"""
        return torch.exp(-self.diffusion * math.pi**2 * t) * torch.sin(torch.pi * x)
