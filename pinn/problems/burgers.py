"""Burgers' equation: a sine wave steepens into a shock.

``u_t + u u_x = ν u_xx`` for x in (−1, 1) and t in (0, 1), with ``u(x, 0) = −sin πx``, ``u(±1, t) = 0`` and
ν = 0.01/π, for which the slope at the origin reaches −152 at t = 0.51.

Benchmark of Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", J. Comput. Phys. 378 (2019) 686.
Reference: Cole–Hopf, see `pinn.references.cole_hopf`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.cole_hopf import ColeHopf


class Burgers(Problem):
    """``u_t + u u_x = ν u_xx`` from ``−sin πx`` between fixed ends.

    Args:
        viscosity: ν, positive.
        duration: the time solved for.
        hard: whether start and ends hold exactly, ``u = −sin πx + t (1 − x²) N``, or enter the loss.
    """

    formula = r"u_t + u\,u_x = \nu\,u_{xx}"

    def __init__(self, viscosity: float = 0.01 / math.pi, duration: float = 1.0, hard: bool = True) -> None:
        self.title = f"Burgers' equation, ν = {viscosity:.4g}"
        self.viscosity = viscosity
        self.domain = Interval(x=(-1, 1)) * Time(0, duration)
        self.conditions = [
            Initial(u=lambda x: -torch.sin(torch.pi * x), hard=hard),
            Dirichlet(u=0.0, hard=hard),
        ]
        self.reference = ColeHopf(viscosity)

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"momentum": u.t + u * u.x - self.viscosity * u.xx}

    def evaluation_points(self) -> Tensor:
        """401 places, which resolve the shock, at 101 times."""
        end = self.domain.bounds["t"][1]
        x, t = torch.linspace(-1, 1, 401).double(), torch.linspace(0, end, 101).double()
        return torch.cartesian_prod(x, t)
