"""The wave equation: two standing waves of different frequency on a string.

``u_tt = c² u_xx`` for x in (0, 1) and t in (0, 1), with ``u(x, 0) = sin πx + ½ sin 4πx``, ``u_t(x, 0) = 0``,
``u(0, t) = u(1, t) = 0`` and c = 2; the solution is ``sin πx cos πct + ½ sin 4πx cos 4πct``.

Benchmark of Wu, Zhu, Tan, Kartha, Lu, "A comprehensive study of non-adaptive and residual-based adaptive sampling",
Comput. Methods Appl. Mech. Eng. 403 (2023) 115671.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.reference import Exact


class Wave(Problem):
    """``u_tt = c² u_xx`` from rest between fixed ends.

    Args:
        speed: c, positive.
        hard: whether start and ends hold exactly, ``u = sin πx + ½ sin 4πx + tanh²(t/ramp) x (1 − x) N``, or enter the
            loss.
        ramp: of the hard form; None: ``t²`` for ``tanh²(t/ramp)``.
    """

    formula = r"u_{tt} = c^2\,u_{xx}"

    def __init__(self, speed: float = 2.0, hard: bool = True, ramp: float | None = 0.3) -> None:
        self.title = f"Wave equation, c = {speed:g}"
        self.speed = speed
        self.domain = Interval(x=(0, 1)) * Time(0, 1)
        self.conditions = [
            Initial(
                u=lambda x: torch.sin(torch.pi * x) + 0.5 * torch.sin(4 * torch.pi * x),
                u_t=0.0,
                hard=hard,
                ramp=ramp if hard else None,
            ),
            Dirichlet(u=0.0, hard=hard),
        ]
        self.reference = Exact(self.coordinates, {"u": self.solution})

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"wave": u.tt - self.speed**2 * u.xx}

    def solution(self, x: Tensor, t: Tensor) -> Tensor:
        """``sin πx cos πct + ½ sin 4πx cos 4πct``"""
        first = torch.sin(torch.pi * x) * torch.cos(torch.pi * self.speed * t)
        fourth = torch.sin(4 * torch.pi * x) * torch.cos(4 * torch.pi * self.speed * t)
        return first + 0.5 * fourth
