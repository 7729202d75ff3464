"""Advection at high speed: a sine travels eight times around a ring.

``u_t + c u_x = 0`` for x in (0, 2π) and t in (0, 1), periodic, with ``u(x, 0) = sin x`` and c = 50; the solution is
``sin(x − ct)``.

Benchmark of Krishnapriyan et al., "Characterizing possible failure modes in physics-informed neural networks", NeurIPS
2021, and, at higher speeds, of later work.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Initial, Periodic
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.reference import Exact


class Advection(Problem):
    """``u_t + c u_x = 0`` from ``sin x``, periodic.

    Args:
        speed: c.
        hard: whether start and periodicity hold exactly, ``u = sin x + t N(cos x, sin x, …, t)``, or enter the loss.
    """

    formula = r"u_t + c\,u_x = 0"

    def __init__(self, speed: float = 50.0, hard: bool = True) -> None:
        self.title = f"Advection, c = {speed:g}"
        self.speed = speed
        self.domain = Interval(x=(0, 2 * math.pi)) * Time(0, 1)
        self.conditions = [Initial(u=lambda x: torch.sin(x), hard=hard), Periodic("x", order=0, hard=hard)]
        self.reference = Exact(
            self.coordinates,
            {"u": self.solution},
            floor=1e-15 * max(1.0, abs(speed)),
            note="closed form in double precision; the phase ct loses digits in proportion to c",
        )

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"transport": u.t + self.speed * u.x}

    def solution(self, x: Tensor, t: Tensor) -> Tensor:
        """``sin(x − ct)``"""
        return torch.sin(x - self.speed * t)
