"""Diffusion of two waves for all diffusion coefficients of a range at once: the coefficient is a coordinate.

``u_t = D u_xx`` for x in (0, 1), t in (0, 1) and D between two values, with ``u(x, 0) = sin πx + ½ sin 3πx`` and cold
ends; the solution is ``e^(−Dπ²t) sin πx + ½ e^(−9Dπ²t) sin 3πx``.

One network then holds the solutions of every specimen, and measurements of a specimen are fitted by moving D in it.
Manufactured for this project.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial
from pinn.fields import Field
from pinn.geometry import Box, Time
from pinn.problem import Problem
from pinn.references.reference import Exact
from training.errors import ConfigurationError


class ParametricDiffusion(Problem):
    """``u_t = D u_xx`` as a function of x, D and t.

    Args:
        lowest: of the coefficients, positive.
        highest: of the coefficients.
        hard: whether start and ends hold exactly, ``u = sin πx + ½ sin 3πx + t x (1 − x) N``, or enter the loss.

    Raises:
        ConfigurationError: if the range is empty or reaches to zero.
    """

    formula = r"u_t = D\,u_{xx}"

    def __init__(self, lowest: float = 0.02, highest: float = 0.2, hard: bool = True) -> None:
        if not 0 < lowest < highest:
            raise ConfigurationError(f"D from {lowest} to {highest} is no range of diffusion coefficients.")
        self.title = f"Diffusion with D from {lowest:g} to {highest:g}"
        self.domain = Box(x=(0, 1), D=(lowest, highest)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: torch.sin(torch.pi * x) + 0.5 * torch.sin(3 * torch.pi * x), hard=hard),
            Dirichlet(["x=0", "x=1"], u=0.0, hard=hard),
        ]
        self.reference = Exact(self.coordinates, {"u": solution})

    def equations(self, u: Field, D: Tensor) -> dict[str, Tensor]:
        return {"diffusion": u.t - D * u.xx}


def solution(x: Tensor, D: Tensor, t: Tensor) -> Tensor:
    """``e^(−Dπ²t) sin πx + ½ e^(−9Dπ²t) sin 3πx``"""
    slow = torch.exp(-(math.pi**2) * D * t) * torch.sin(torch.pi * x)
    return slow + 0.5 * torch.exp(-9 * math.pi**2 * D * t) * torch.sin(3 * torch.pi * x)
