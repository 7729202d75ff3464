"""The Korteweg–de Vries equation: a cosine breaks up into a train of solitons.

``u_t + η u u_x + μ² u_xxx = 0`` for x in (−1, 1) and t in (0, 1), periodic, with ``u(x, 0) = cos πx``, η = 1 and
μ = 0.022.

Benchmark of Zabusky, Kruskal, "Interaction of solitons in a collisionless plasma and the recurrence of initial
states", Phys. Rev. Lett. 15 (1965) 240. Reference: Fourier series and ETDRK4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pinn.conditions import Initial, Periodic
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.bases import FourierBasis
from pinn.references.etdrk4 import Segment
from pinn.references.evolution import Evolution


class KortewegDeVries(Problem):
    """``u_t + η u u_x + μ² u_xxx = 0`` from ``cos πx``, periodic.

    Args:
        steepening: η.
        dispersion: μ; the reference resolves solitons down to μ = 0.02.
        hard: whether start and periodicity hold exactly, ``u = cos πx + t N(cos πx, sin πx, …, t)``, or enter the
            loss.
    """

    formula = r"u_t + \eta\,u\,u_x + \mu^2\,u_{xxx} = 0"

    def __init__(self, steepening: float = 1.0, dispersion: float = 0.022, hard: bool = True) -> None:
        self.title = f"Korteweg–de Vries equation, η = {steepening:g}, μ = {dispersion:g}"
        self.steepening = steepening
        self.dispersion = dispersion
        self.domain = Interval(x=(-1, 1)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: torch.cos(torch.pi * x), hard=hard),
            Periodic("x", order=2, hard=hard),
        ]
        self.reference = KortewegDeVriesReference(steepening, dispersion)

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"wave": u.t + self.steepening * u * u.x + self.dispersion**2 * u.xxx}


class KortewegDeVriesReference(Evolution):
    """The solution of `KortewegDeVries`.

    Args:
        steepening: η.
        dispersion: μ.
        modes: waves in the series.
        refinement: divides the time step.
    """

    fields = ("u",)

    def __init__(self, steepening: float, dispersion: float, modes: int = 192, refinement: float = 1) -> None:
        segments = [Segment(until=1.0, step=1.25e-4 / refinement, keep=round(16 * refinement))]
        super().__init__({"steepening": steepening, "dispersion": dispersion}, modes, segments)

    def basis(self, modes: int) -> FourierBasis:
        return FourierBasis(-1.0, 1.0, modes)

    def linear(self, basis: FourierBasis) -> np.ndarray:
        return 1j * self.parameters["dispersion"] ** 2 * basis.kappa**3

    def nonlinear(self, coefficients: np.ndarray, basis: FourierBasis) -> np.ndarray:
        u = basis.values(coefficients)
        return -0.5j * self.parameters["steepening"] * basis.kappa * basis.coefficients(u * u)

    def initial(self, basis: FourierBasis) -> np.ndarray:
        return basis.coefficients(np.cos(np.pi * basis.grid))
