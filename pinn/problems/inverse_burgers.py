"""Burgers' equation backwards: both coefficients from noisy measurements of the solution.

``u_t + λ₁ u u_x = λ₂ u_xx`` for x in (−1, 1) and t in (0, 1), where u is measured at 2,000 random points with Gaussian
noise of 1 % of its standard deviation; the truth is λ₁ = 1 and λ₂ = 0.01/π.

Benchmark of Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", J. Comput. Phys. 378 (2019) 686. The
measurements are taken from the Cole–Hopf solution, see `pinn.references.cole_hopf`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.conditions import Condition, Data, Dirichlet, Initial
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.cole_hopf import ColeHopf
from pinn.references.measurements import measured
from pinn.unknown import Unknown

VISCOSITY = 0.01 / math.pi


class InverseBurgers(Problem):
    """``u_t + λ₁ u u_x = λ₂ u_xx`` with unknown λ₁ and λ₂, from measurements of u.

    Args:
        measurements: how many.
        noise: standard deviation of their error, as a share of the solution's.
        seed: of the places and of the noise.
        initial_lambda1: where the search for λ₁ begins; it may become any number.
        initial_lambda2: where the search for λ₂ begins; it stays positive.
        known_ends: whether start and ends are known as well; they then hold exactly,
            ``u = −sin πx + t (1 − x²) N``. Otherwise the measurements are all there is.
    """

    formula = r"u_t + \lambda_1\,u\,u_x = \lambda_2\,u_{xx}"

    def __init__(
        self,
        measurements: int = 2000,
        noise: float = 0.01,
        seed: int = 0,
        initial_lambda1: float = 0.5,
        initial_lambda2: float = 0.01,
        known_ends: bool = False,
    ) -> None:
        self.title = f"Inverse Burgers, {measurements} points, {100 * noise:g} % noise"
        self.domain = Interval(x=(-1, 1)) * Time(0, 1)
        self.reference = ColeHopf(VISCOSITY)
        self.parameters = {
            "lambda1": Unknown(initial_lambda1),
            "lambda2": Unknown(initial_lambda2, positive=True),
        }
        self.truth = {"lambda1": 1.0, "lambda2": VISCOSITY}
        points, values = measured(self.reference, self.domain, measurements, noise, seed)
        self.conditions: list[Condition] = [Data(points, u=values)]
        if known_ends:
            self.conditions += [
                Initial(u=lambda x: -torch.sin(torch.pi * x), hard=True),
                Dirichlet(u=0.0, hard=True),
            ]

    def equations(self, u: Field, lambda1: Tensor, lambda2: Tensor) -> dict[str, Tensor]:
        return {"momentum": u.t + lambda1 * u * u.x - lambda2 * u.xx}

    def evaluation_points(self) -> Tensor:
        """401 places, which resolve the shock, at 101 times."""
        return torch.cartesian_prod(torch.linspace(-1, 1, 401).double(), torch.linspace(0, 1, 101).double())
