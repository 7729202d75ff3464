"""Problems small enough for tests: one with everything built in, one in which everything is learned."""

from __future__ import annotations

import math

import numpy as np
import torch

from pinn.conditions import Data, Dirichlet, Initial, Periodic
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.cache import cached
from pinn.references.reference import Exact, Reference
from pinn.unknown import Unknown


class Bump(Problem):
    """``−u'' = π² sin πx``: the solution is ``sin πx``."""

    title = "A bump"
    formula = r"-u_{xx} = \pi^2 \sin \pi x"

    def __init__(self, height: float = 1.0) -> None:
        self.height = height
        self.domain = Interval(x=(0, 1))
        self.conditions = [Dirichlet(u=0.0, hard=True)]
        self.reference = Exact(("x",), {"u": lambda x: height * torch.sin(torch.pi * x)})

    def equations(self, u, x):
        return {"bump": u.xx + self.height * torch.pi**2 * torch.sin(torch.pi * x)}


class Breaking(Bump):
    """The same with a second equation that is satisfied until the loss has been evaluated so many times."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def equations(self, u, x):
        self.left -= torch.is_grad_enabled() and u.value.requires_grad
        return super().equations(u, x) | {"second": u * (torch.nan if self.left < 0 else 0.0)}


class Unseen(Bump):
    """The same with a second equation that is a number where it is learned, and none where it is only looked at."""

    def equations(self, u, x):
        return super().equations(u, x) | {"second": u * (0.0 if torch.is_grad_enabled() else torch.nan)}


class Kept(Reference):
    """Two fields that are computed once and kept, each with a floor of its own."""

    fields, coordinates = ("u", "v"), ("x",)
    floors = {"u": 1e-3, "v": 1e-6}  # noqa: RUF012
    floor, floor_note = 1e-3, "as it is for a test"

    def values(self, points):
        height = cached("Kept", {"version": 1}, lambda: {"height": np.ones(1)})["height"][0]
        return {name: height * torch.sin(torch.pi * points[:, 0]) for name in self.fields}


class Pair(Problem):
    """Two bumps that know nothing of each other."""

    title = "Two bumps"
    formula = r"-u_{xx} = -v_{xx} = \pi^2 \sin \pi x"
    fields = ("u", "v")

    def __init__(self) -> None:
        self.domain = Interval(x=(0, 1))
        self.conditions = [Dirichlet(u=0.0, v=0.0, hard=True)]
        self.reference = Kept()

    def equations(self, u, v, x):
        load = torch.pi**2 * torch.sin(torch.pi * x)
        return {"u": u.xx + load, "v": v.xx + load}


class Decay(Problem):
    """``u_t = κ u_xx`` with an unknown κ, periodic in x, from ``sin 2πx``; every condition is learned."""

    title = "A decaying wave"
    formula = r"u_t = \kappa u_{xx}"
    truth = {"kappa": 0.05}  # noqa: RUF012

    def __init__(self) -> None:
        self.domain = Interval(x=(0, 1)) * Time(0, 1)
        x = torch.linspace(0.05, 0.95, 12, dtype=torch.float64)
        rate = 0.05 * (2 * math.pi) ** 2
        self.conditions = [
            Periodic("x"),
            Initial(u=lambda x: torch.sin(2 * torch.pi * x)),
            Data({"x": x, "t": 0.5}, u=torch.sin(2 * torch.pi * x) * math.exp(-0.5 * rate)),
        ]
        self.parameters = {"kappa": Unknown(0.1, positive=True)}
        self.reference = Exact(("x", "t"), {"u": lambda x, t: torch.sin(2 * torch.pi * x) * torch.exp(-rate * t)})

    def equations(self, u, kappa):
        return {"heat": u.t - kappa * u.xx}
