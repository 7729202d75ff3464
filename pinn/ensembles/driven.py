"""Equations with a coefficient that follows a path, written for one member and solved for all."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial
from pinn.ensembles.paths import Paths
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem


class DrivenProblem(Problem):
    """A problem whose equations read ``self.drive(t)``: the value of a path at the time of every point.

    All conditions are hard. The path is constant until an ensemble sets ``paths``; then ``t`` holds the times of all
    members one after another, and each gets values of its own path.

    Attributes:
        paths: frozen, one for each member.
        steady: value of the path where there is none.
    """

    paths: Paths | None = None
    steady: float = 1.0

    def drive(self, t: Tensor) -> Tensor:
        """Values of the paths at the times of points."""
        return torch.full_like(t, self.steady) if self.paths is None else self.paths.at(t)

    def exact(self, paths: Paths, x: Tensor, t: Tensor) -> Tensor | None:
        """The solution under given paths at points of all members one after another; None where it is not known."""
        return None


class Decay(DrivenProblem):
    """``u_t = D u_xx − a(t) u`` from ``sin πx`` between cold ends: diffusion with a decay rate that follows a path.

    The solution is ``sin πx · exp(−D π² t − ∫₀ᵗ a)``, exact for the straight lines of a path. Averaged over paths its
    middle is a bond price: of Vasicek for an Ornstein-Uhlenbeck rate, of Cox, Ingersoll and Ross for theirs.

    Args:
        diffusion: D.
        end: last time.
    """

    title = "Diffusion with a random decay rate"
    formula = r"u_t = D\,u_{xx} - a(t)\,u"

    def __init__(self, diffusion: float = 0.05, end: float = 1.0) -> None:
        self.diffusion = diffusion
        self.domain = Interval(x=(0, 1)) * Time(0, end)
        self.conditions = [Initial(u=lambda x: torch.sin(torch.pi * x), hard=True), Dirichlet(u=0.0, hard=True)]

    def equations(self, u: Field, t: Tensor) -> dict[str, Tensor]:
        return {"decay": u.t - self.diffusion * u.xx + self.drive(t) * u}

    def exact(self, paths: Paths, x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(torch.pi * x) * torch.exp(-self.diffusion * torch.pi**2 * t - paths.integral(t))
