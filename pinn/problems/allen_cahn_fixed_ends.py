"""The Allen–Cahn equation between fixed ends, with wider fronts.

``u_t = D u_xx + 5 (u − u³)`` for x in (−1, 1) and t in (0, 1), with ``u(x, 0) = x² cos πx``, ``u(±1, t) = −1`` and
D = 1e-3.

Benchmark of Wu, Zhu, Tan, Kartha, Lu, "A comprehensive study of non-adaptive and residual-based adaptive sampling",
Comput. Methods Appl. Mech. Eng. 403 (2023) 115671. Reference: Chebyshev collocation and ETDRK4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pinn.conditions import Dirichlet, Initial
from pinn.fields import Field
from pinn.geometry import Interval, Time
from pinn.problem import Problem
from pinn.references.bases import EvenChebyshevBasis
from pinn.references.etdrk4 import Segment
from pinn.references.evolution import Evolution


class AllenCahnFixedEnds(Problem):
    """``u_t = D u_xx + 5 (u − u³)`` from ``x² cos πx``, with −1 at both ends.

    Args:
        diffusion: D, positive; the reference resolves fronts down to D = 5e-4.
        hard: whether start and ends hold exactly, ``u = x² cos πx + t (1 − x²) N``, or enter the loss.
    """

    formula = r"u_t = D\,u_{xx} + 5\,(u - u^3)"

    def __init__(self, diffusion: float = 1e-3, hard: bool = True) -> None:
        self.title = f"Allen–Cahn equation between fixed ends, D = {diffusion:g}"
        self.diffusion = diffusion
        self.domain = Interval(x=(-1, 1)) * Time(0, 1)
        self.conditions = [
            Initial(u=lambda x: x**2 * torch.cos(torch.pi * x), hard=hard),
            Dirichlet(u=-1.0, hard=hard),
        ]
        self.reference = AllenCahnFixedEndsReference(diffusion)

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"balance": u.t - self.diffusion * u.xx - 5 * (u - u**3)}


class AllenCahnFixedEndsReference(Evolution):
    """The solution of `AllenCahnFixedEnds`, as ``w = u + 1``, which vanishes at the ends:
    ``w_t = D w_xx − 10 w + 15 w² − 5 w³``.

    Args:
        diffusion: D.
        intervals: between the Chebyshev points.
        refinement: divides all time steps.
    """

    fields = ("u",)

    def __init__(self, diffusion: float, intervals: int = 640, refinement: int = 1) -> None:
        segments = [
            Segment(until=1e-3, step=2.5e-5 / refinement, keep=4 * refinement),
            Segment(until=1e-2, step=1.25e-4 / refinement, keep=8 * refinement),
            Segment(until=1.0, step=0.99 / 2400 / refinement, keep=12 * refinement),
        ]
        super().__init__({"diffusion": diffusion}, intervals, segments)

    def basis(self, modes: int) -> EvenChebyshevBasis:
        return EvenChebyshevBasis(modes)

    def linear(self, basis: EvenChebyshevBasis) -> np.ndarray:
        return self.parameters["diffusion"] * basis.eigenvalues - 10

    def nonlinear(self, coefficients: np.ndarray, basis: EvenChebyshevBasis) -> np.ndarray:
        w = basis.values(coefficients)
        return basis.coefficients((15 - 5 * w) * w * w)

    def initial(self, basis: EvenChebyshevBasis) -> np.ndarray:
        return basis.coefficients(basis.grid**2 * np.cos(np.pi * basis.grid) + 1)

    def fields_of(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {"u": values - 1}
