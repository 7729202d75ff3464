"""The Kuramoto–Sivashinsky equation in its regular regime: instability at long waves against damping at short ones.

``u_t + α u u_x + β u_xx + γ u_xxxx = 0`` for x in (−1, 1) and t in (0, 1), periodic, with ``u(x, 0) = −sin πx``,
α = 5, β = 0.5 and γ = 0.005.

Benchmark of Wang, Sankaran, Perdikaris, "Respecting causality for training physics-informed neural networks", Comput.
Methods Appl. Mech. Eng. 421 (2024) 116813. Reference: Fourier series and ETDRK4.
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


class KuramotoSivashinsky(Problem):
    """``u_t + α u u_x + β u_xx + γ u_xxxx = 0`` from ``−sin πx``, periodic.

    Args:
        alpha: of the steepening.
        beta: of the instability.
        gamma: of the damping.
        hard: whether start and periodicity hold exactly, ``u = −sin πx + t N(cos πx, sin πx, …, t)``, or enter the
            loss.
    """

    formula = r"u_t + \alpha\,u\,u_x + \beta\,u_{xx} + \gamma\,u_{xxxx} = 0"
    title = "Kuramoto–Sivashinsky equation"

    def __init__(self, alpha: float = 5.0, beta: float = 0.5, gamma: float = 0.005, hard: bool = True) -> None:
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.domain = Interval(x=(-1, 1)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: -torch.sin(torch.pi * x), hard=hard),
            Periodic("x", order=3, hard=hard),
        ]
        self.reference = KuramotoSivashinskyReference(alpha, beta, gamma)

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"wave": u.t + self.alpha * u * u.x + self.beta * u.xx + self.gamma * u.xxxx}


class KuramotoSivashinskyReference(Evolution):
    """The solution of `KuramotoSivashinsky`.

    Args:
        alpha, beta, gamma: of the equation.
        modes: waves in the series.
        refinement: divides the time step.
    """

    fields = ("u",)

    def __init__(self, alpha: float, beta: float, gamma: float, modes: int = 96, refinement: float = 1) -> None:
        segments = [Segment(until=1.0, step=2e-4 / refinement, keep=round(20 * refinement))]
        super().__init__({"alpha": alpha, "beta": beta, "gamma": gamma}, modes, segments)

    def basis(self, modes: int) -> FourierBasis:
        return FourierBasis(-1.0, 1.0, modes)

    def linear(self, basis: FourierBasis) -> np.ndarray:
        return self.parameters["beta"] * basis.kappa**2 - self.parameters["gamma"] * basis.kappa**4

    def nonlinear(self, coefficients: np.ndarray, basis: FourierBasis) -> np.ndarray:
        u = basis.values(coefficients)
        return -0.5j * self.parameters["alpha"] * basis.kappa * basis.coefficients(u * u)

    def initial(self, basis: FourierBasis) -> np.ndarray:
        return basis.coefficients(-np.sin(np.pi * basis.grid))
