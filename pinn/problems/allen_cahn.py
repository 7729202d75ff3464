"""The Allen–Cahn equation: a mixture separates into phases with thin fronts between them.

``u_t = D u_xx + 5 (u − u³)`` for x in (−1, 1) and t in (0, 1), periodic, with ``u(x, 0) = x² cos πx`` and D = 1e-4:
fronts of width 0.006.

Benchmark of Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", J. Comput. Phys. 378 (2019) 686.
Reference: Fourier series and ETDRK4. The start has kinks at x = ±1 when continued periodically, so that its
coefficients fall only with k⁻²; they are taken from their closed form, and those beyond the series, which only
diffuse and relax, are added by theirs.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pinn.conditions import Initial, Periodic
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.bases import FourierBasis
from pinn.references.etdrk4 import Segment
from pinn.references.evolution import Evolution, KnownWaves

SMALLEST = 1e-20
"""Square of the smallest width of a smoothed kink, so that nothing is divided by zero at t = 0."""


class AllenCahn(Problem):
    """``u_t = D u_xx + 5 (u − u³)`` from ``x² cos πx``, periodic.

    Args:
        diffusion: D, positive; the reference resolves fronts down to D = 5e-5.
        hard: whether start and periodicity hold exactly, ``u = lift + t N(cos πx, sin πx, …, t)``, or enter the loss.

    The start has kinks ``2ξ`` at a distance ξ from the ends, which diffusion smooths at once. So does the lift, with
    ``s = √(4Dt)`` and the rate 10 at which differences from −1 decay:

        ``lift = −1 + e^(−10t) (1 + x² cos πx + 2c(1 − x) + 2c(1 + x))``
        ``c(ξ) = s/√π e^(−ξ²/s²) − ξ (1 − erf(ξ/s))``
    """

    formula = r"u_t = D\,u_{xx} + 5\,(u - u^3)"

    def __init__(self, diffusion: float = 1e-4, hard: bool = True) -> None:
        self.title = f"Allen–Cahn equation, D = {diffusion:g}"
        self.diffusion = diffusion
        self.domain = Interval(x=(-1, 1)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: x**2 * torch.cos(torch.pi * x), hard=hard),
            Periodic("x", hard=hard),
        ]
        self.reference = AllenCahnReference(diffusion)

        if hard:
            self.lift = self.smoothed_start

    def smoothed_start(self, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        """The lift of the hard conditions: periodic with its first two derivatives for t > 0."""
        s = torch.sqrt(4 * self.diffusion * t + SMALLEST)
        kinks = 2 * (_smoothing(1 - x, s) + _smoothing(1 + x, s))
        return {"u": -1 + torch.exp(-10 * t) * (1 + x**2 * torch.cos(torch.pi * x) + kinks)}

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"balance": u.t - self.diffusion * u.xx - 5 * (u - u**3)}

    def evaluation_points(self) -> Tensor:
        """401 places, which resolve the fronts, at 101 times."""
        return torch.cartesian_prod(torch.linspace(-1, 1, 401).double(), torch.linspace(0, 1, 101).double())


def _smoothing(distance: Tensor, width: Tensor) -> Tensor:
    """``|ξ|`` after diffusion over a width, minus ``|ξ|``, for ξ ≥ 0."""
    ratio = distance / width
    return width * torch.exp(-(ratio**2)) / math.sqrt(math.pi) - distance * (1 - torch.erf(ratio))


class AllenCahnReference(Evolution):
    """The solution of `AllenCahn`.

    Args:
        diffusion: D.
        modes: waves in the series.
        refinement: divides all time steps.
    """

    fields = ("u",)

    def __init__(self, diffusion: float, modes: int = 512, refinement: int = 1) -> None:
        segments = [
            Segment(until=1e-3, step=2.5e-5 / refinement, keep=4 * refinement),
            Segment(until=1e-2, step=1.25e-4 / refinement, keep=8 * refinement),
            Segment(until=1.0, step=0.99 / 2400 / refinement, keep=12 * refinement),
        ]
        super().__init__({"diffusion": diffusion}, modes, segments)

    def basis(self, modes: int) -> FourierBasis:
        return FourierBasis(-1.0, 1.0, modes, degree=3)

    def linear(self, basis: FourierBasis) -> np.ndarray:
        return 5 - self.parameters["diffusion"] * basis.kappa**2

    def nonlinear(self, coefficients: np.ndarray, basis: FourierBasis) -> np.ndarray:
        u = basis.values(coefficients)
        return -5 * basis.coefficients(u * u * u)

    def initial(self, basis: FourierBasis) -> np.ndarray:
        return start(basis.k)

    def beyond(self, basis: FourierBasis) -> KnownWaves:
        k = np.arange(basis.modes + 1, 8 * basis.modes)
        kappa = np.pi * k
        # they make up the kink, where u is −1 and 5 (u − u³) has the slope −10
        return KnownWaves(kappa, start(k), self.parameters["diffusion"] * kappa**2 + 10)


def start(k: np.ndarray) -> np.ndarray:
    """Fourier coefficients of ``x² cos πx`` on [−1, 1] for ``exp(iπk (x + 1))``, exactly.

    Those of x², shifted by one to both sides.
    """
    return (-1.0) ** k * (_square(k - 1) + _square(k + 1)) / 2


def _square(k: np.ndarray) -> np.ndarray:
    """Fourier coefficients of x² on [−1, 1] for ``exp(iπkx)``: 1/3 and ``2 (−1)^k/(πk)²``."""
    nonzero = np.where(k == 0, 1, k)
    return np.where(k == 0, 1 / 3, 2 * (-1.0) ** nonzero / (np.pi * nonzero) ** 2)
