"""The nonlinear Schrödinger equation: a breather, two solitons bound to each other.

``i h_t + ½ h_xx + |h|² h = 0`` for x in (−5, 5) and t in (0, π/2), with ``h(x, 0) = 2 sech x``. With ``h = u + iv``:

    u_t + ½ v_xx + (u² + v²) v = 0
    v_t − ½ u_xx − (u² + v²) u = 0

On the whole line the solution is Satsuma and Yajima's breather,
``h = 4 (cosh 3x + 3 e^(4it) cosh x) e^(it/2) / (cosh 4x + 4 cosh 2x + 3 cos 4t)``. Between −5 and 5 there are two ways
to close the problem: with the breather's own values at both ends, or periodically as in the benchmark. Periodic images
overlap, so that the second solution differs from the breather by 7e-3 (relative L2); it has a reference of its own, by
Fourier series and ETDRK4.

Benchmark of Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", J. Comput. Phys. 378 (2019) 686. The
breather: Satsuma, Yajima, "Initial value problems of one-dimensional self-modulation of nonlinear waves
in dispersive media", Suppl. Prog. Theor. Phys. 55 (1974) 284.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial, Periodic
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.bases import FourierBasis
from pinn.references.etdrk4 import Segment
from pinn.references.evolution import Evolution
from pinn.references.reference import Exact, Reference

HALF_WIDTH = 5.0
DURATION = math.pi / 2


class Schrodinger(Problem):
    """``i h_t + ½ h_xx + |h|² h = 0`` from ``2 sech x``, with ``h = u + iv``.

    Args:
        periodic: whether the ends are connected; otherwise they take the values of the breather on the line.
        hard: whether start and ends hold exactly, ``lift + t (25 − x²) N``, or enter the loss. Where the ends are
            connected, 2 sech x has a kink that no periodic form keeps: the start enters the loss, and the network is
            periodic by itself, ``N(cos πx/5, sin πx/5, …, t)``.
    """

    fields = ("u", "v")
    formula = r"i\,h_t + \frac{1}{2}\,h_{xx} + |h|^2 h = 0,\quad h = u + i v"

    def __init__(self, periodic: bool = False, hard: bool = True) -> None:
        self.title = "Nonlinear Schrödinger equation" + (", periodic" if periodic else "")
        self.domain = Interval(x=(-HALF_WIDTH, HALF_WIDTH)) * Time(0, DURATION)
        start = Initial(u=lambda x: 2 / torch.cosh(x), v=0.0, hard=hard and not periodic)
        if periodic:
            self.conditions = [start, Periodic("x", hard=hard)]
            self.reference: Reference = PeriodicSchrodingerReference()
        else:
            self.conditions = [start, Dirichlet(u=at_the_ends(real), v=at_the_ends(imaginary), hard=hard)]
            self.reference = Exact(self.coordinates, {"u": real, "v": imaginary})

    def equations(self, u: Field, v: Field) -> dict[str, Tensor]:
        density = u**2 + v**2
        return {
            "real": u.t + 0.5 * v.xx + density * v,
            "imaginary": v.t - 0.5 * u.xx - density * u,
        }


def real(x: Tensor, t: Tensor) -> Tensor:
    """Real part of the breather."""
    numerator = torch.cosh(3 * x) * torch.cos(t / 2) + 3 * torch.cosh(x) * torch.cos(4.5 * t)
    return 4 * numerator / _denominator(x, t)


def imaginary(x: Tensor, t: Tensor) -> Tensor:
    """Imaginary part of the breather."""
    numerator = torch.cosh(3 * x) * torch.sin(t / 2) + 3 * torch.cosh(x) * torch.sin(4.5 * t)
    return 4 * numerator / _denominator(x, t)


def _denominator(x: Tensor, t: Tensor) -> Tensor:
    return torch.cosh(4 * x) + 4 * torch.cosh(2 * x) + 3 * torch.cos(4 * t)


def at_the_ends(part: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A part of the breather at x = ±5, where it is the same, as a function of time."""
    return lambda t: part(0 * t + HALF_WIDTH, t)


class PeriodicSchrodingerReference(Evolution):
    """The periodic solution of `Schrodinger`.

    Args:
        modes: waves of each sign in the series.
        refinement: divides the time step.
    """

    fields = ("u", "v")

    def __init__(self, modes: int = 384, refinement: float = 1) -> None:
        step = DURATION / 4000 / refinement
        super().__init__({}, modes, [Segment(until=DURATION, step=step, keep=round(8 * refinement))])

    def basis(self, modes: int) -> FourierBasis:
        return FourierBasis(-HALF_WIDTH, HALF_WIDTH, modes, real=False, degree=3)

    def linear(self, basis: FourierBasis) -> np.ndarray:
        return -0.5j * basis.kappa**2

    def nonlinear(self, coefficients: np.ndarray, basis: FourierBasis) -> np.ndarray:
        h = basis.values(coefficients)
        return 1j * basis.coefficients((h.real**2 + h.imag**2) * h)

    def carrier(self, basis: FourierBasis) -> np.ndarray:
        # the solitons live at small κ; beyond there are free waves from the kinks at the ends
        return np.where(np.abs(basis.kappa) > 25.0, self.linear(basis), 0.0)

    def initial(self, basis: FourierBasis) -> np.ndarray:
        fine = FourierBasis(basis.low, basis.high, 2**14, real=False)
        spectrum = fine.coefficients(2 / np.cosh(fine.grid) + 0j)
        return np.concatenate([spectrum[: basis.modes + 1], spectrum[-basis.modes :]])

    def fields_of(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {"u": values.real, "v": values.imag}
