"""A reaction without diffusion: every place follows its own logistic curve, and a steep front appears.

``u_t = ρ u (1 − u)`` for x in (0, 2π) and t in (0, 1), periodic, with ``u(x, 0) = h(x) = exp(−½ ((x − π)/(π/4))²)`` and
ρ = 5; the solution is ``h/(h + (1 − h) e^(−ρt))``.

Benchmark of Krishnapriyan et al., "Characterizing possible failure modes in physics-informed neural networks", NeurIPS
2021.
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


class Reaction(Problem):
    """``u_t = ρ u (1 − u)`` from a Gaussian, periodic.

    The Gaussian's slope does not fit at the ends of the interval (by 2e-3), so periodicity holds for the value only.

    Args:
        rate: ρ, positive.
        hard: whether the start holds exactly, ``u = h + t N``, or enters the loss; the values at both ends then agree
            because the same equation starts from the same value there.
    """

    formula = r"u_t = \rho\,u\,(1 - u)"

    def __init__(self, rate: float = 5.0, hard: bool = True) -> None:
        self.title = f"Logistic reaction, ρ = {rate:g}"
        self.rate = rate
        self.domain = Interval(x=(0, 2 * math.pi)) * Time(0, 1)
        self.conditions = [Initial(u=start, hard=hard), Periodic("x", order=0)]
        self.reference = Exact(self.coordinates, {"u": self.solution})

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"reaction": u.t - self.rate * u * (1 - u)}

    def solution(self, x: Tensor, t: Tensor) -> Tensor:
        """``h/(h + (1 − h) e^(−ρt))``"""
        h = start(x)
        return h / (h + (1 - h) * torch.exp(-self.rate * t))


def start(x: Tensor) -> Tensor:
    """A Gaussian in the middle, of standard deviation π/4."""
    return torch.exp(-0.5 * ((x - math.pi) / (math.pi / 4)) ** 2)
