"""A diffusion coefficient that varies in space, from measurements of the solution inside.

``−∇·(a ∇u) = f`` on the unit square with ``u = 0`` on the boundary, a known load f, and u measured at scattered points;
a is a second field that the same equation determines. Here ``u = sin πx sin πy`` and ``a = 1 + ½ sin 2πx sin πy``,
which give f.

The equation transports a along the lines of steepest descent of u. They all start at the top of u, where ∇u = 0 and
hence ``a = −f/Δu``: so a is determined everywhere without a value on the boundary. Manufactured for this project.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Data, Dirichlet
from pinn.fields import Field
from pinn.geometry import Box
from pinn.problem import Problem
from pinn.references.measurements import measured
from pinn.references.reference import Exact


class InverseDiffusionCoefficient(Problem):
    """``−∇·(a ∇u) = f`` for u and a, from measurements of u.

    Args:
        measurements: how many.
        noise: standard deviation of their error, as a share of the solution's.
        seed: of the places and of the noise.
        hard: whether the boundary of u holds exactly, ``u = x (1 − x) y (1 − y) N``, or enters the loss.
    """

    fields = ("u", "a")
    formula = r"-\nabla \cdot (a\,\nabla u) = f"

    def __init__(self, measurements: int = 400, noise: float = 0.0, seed: int = 0, hard: bool = True) -> None:
        self.title = f"Diffusion coefficient from {measurements} points, {100 * noise:g} % noise"
        self.domain = Box(x=(0, 1), y=(0, 1))
        self.reference = Exact(self.coordinates, {"u": solution, "a": coefficient})
        points, values = measured(self.reference, self.domain, measurements, noise, seed)
        self.conditions = [Dirichlet(u=0.0, hard=hard), Data(points, u=values)]

    def equations(self, u: Field, a: Field, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"diffusion": -(a.x * u.x + a.y * u.y + a * (u.xx + u.yy)) - load(x, y)}


def solution(x: Tensor, y: Tensor) -> Tensor:
    """``u = sin πx sin πy``"""
    return torch.sin(torch.pi * x) * torch.sin(torch.pi * y)


def coefficient(x: Tensor, y: Tensor) -> Tensor:
    """``a = 1 + ½ sin 2πx sin πy``"""
    return 1 + 0.5 * torch.sin(2 * torch.pi * x) * torch.sin(torch.pi * y)


def load(x: Tensor, y: Tensor) -> Tensor:
    """``f = 2π² a u − a_x u_x − a_y u_y``"""
    sx, cx, sy, cy = (f(torch.pi * c) for c in (x, y) for f in (torch.sin, torch.cos))
    along_x = math.pi * torch.cos(2 * torch.pi * x) * sy * math.pi * cx * sy
    along_y = 0.5 * math.pi * torch.sin(2 * torch.pi * x) * cy * math.pi * sx * cy
    return 2 * math.pi**2 * coefficient(x, y) * sx * sy - along_x - along_y
