"""Poisson's equation with unit load on an L-shape, by rational functions with poles crowded at the corners.

The L-shape is the square (−1, 1)² without its quarter x > 0, y < 0. With ``z = x + iy``,

    ``u = −|z|²/4 + Re f(z)``,  ``f(z) = Σ_j a_j/(z − p_j) + Σ_k b_k z^k``

satisfies ``−Δu = 1`` for any coefficients; they make u vanish on the boundary, in least squares. The poles p_j lie
outside, exponentially close to each corner, and so reproduce its singularity: r^(2/3) at the re-entrant corner,
r² log r at the others. By the maximum principle, u is nowhere wrong by more than on the boundary.

Source: Gopal, Trefethen, "Solving Laplace problems with corner singularities via rational functions", SIAM J. Numer.
Anal. 57 (2019) 2074.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import lstsq
from torch import Tensor

from pinn.references.reference import Reference

CORNERS = np.array([0, 1, 1 + 1j, -1 + 1j, -1 - 1j, -1j])
"""Counter-clockwise, from the re-entrant one."""

OUTWARDS = np.exp(0.25j * np.pi * np.array([-1, -1, 1, 3, 5, -1]))
"""Directions of the poles from the corners, into the outside."""

CROWDING = 4.0
"""σ in the distances ``exp(−σ(√n − √k))`` of the poles from their corner."""

POINTS_AT_ONCE = 4096


class LShape(Reference):
    """``−Δu = 1`` on the L-shape, zero on its boundary.

    Args:
        poles: at each corner; the re-entrant one has twice as many.
        degree: of the polynomial.
    """

    fields = ("u",)
    coordinates = ("x", "y")

    def __init__(self, poles: int = 50, degree: int = 30) -> None:
        self.poles = poles
        self.degree = degree
        distances = [np.exp(-CROWDING * (math.sqrt(n) - np.sqrt(np.arange(1, n + 1)))) for n in (2 * poles, poles)]
        where = [c + d * distances[min(i, 1)] for i, (c, d) in enumerate(zip(CORNERS, OUTWARDS, strict=True))]
        self._places = np.concatenate(where)
        # residues of the size of the distance make the columns comparable
        self._scales = np.concatenate([distances[0], *[distances[1]] * 5])

    def values(self, points: Tensor) -> dict[str, Tensor]:
        columns = self.columns(points)
        pairs = zip(columns["x"].split(POINTS_AT_ONCE), columns["y"].split(POINTS_AT_ONCE), strict=True)
        return {"u": torch.cat([self.solution(x, y) for x, y in pairs])}

    def solution(self, x: Tensor, y: Tensor) -> Tensor:
        """The solution at points (n_points,), differentiable by autograd."""
        z = torch.complex(x, y)
        functions = self._functions(z)
        return -(x**2 + y**2) / 4 + torch.cat([functions.real, -functions.imag], 1) @ self._coefficients.to(x.device)

    @property
    def floor(self) -> float:
        return self._floor

    @property
    def floor_note(self) -> str:
        return (
            f"rational functions with {len(self._places)} poles; the largest value on the boundary, between the points "
            "where it was fitted, bounds the error everywhere by the maximum principle"
        )

    @cached_property
    def _coefficients(self) -> Tensor:
        z = torch.from_numpy(_boundary(3 * self.poles))
        functions = self._functions(z)
        matrix = torch.cat([functions.real, -functions.imag], 1).numpy()
        size = np.linalg.norm(matrix, axis=0)
        size[size == 0] = 1.0
        solution = lstsq(matrix / size, (z.abs() ** 2).numpy() / 4, cond=1e-15, lapack_driver="gelsy")[0]
        return torch.from_numpy(solution / size)

    @cached_property
    def _floor(self) -> float:
        z = torch.from_numpy(_boundary(17 * self.poles + 5))
        largest = torch.cat([self.solution(part.real, part.imag).abs() for part in z.split(POINTS_AT_ONCE)]).max()
        grid = torch.linspace(-1, 1, 61).double()
        x, y = torch.meshgrid(grid, grid, indexing="ij")
        inside = (x <= 0) | (y >= 0)
        return float(largest / (self.solution(x[inside], y[inside]) ** 2).mean().sqrt())

    def _functions(self, z: Tensor) -> Tensor:
        places, scales = torch.from_numpy(self._places).to(z.device), torch.from_numpy(self._scales).to(z.device)
        powers = torch.cumprod((z / math.sqrt(2))[:, None].expand(-1, self.degree), 1)
        return torch.cat([scales / (z[:, None] - places), torch.ones_like(z)[:, None], powers], 1)


def _boundary(n: int) -> np.ndarray:
    """About n points on each half of each edge, exponentially denser towards the corners: (n_points,) complex."""
    s = np.concatenate([[0.0], 0.5 * 10 ** np.linspace(-15, 0, n)])
    ends = np.roll(CORNERS, -1)
    halves = [(a, b) for a, b in zip(CORNERS, ends, strict=True)] + [(b, a) for a, b in zip(CORNERS, ends, strict=True)]
    even = np.linspace(0.02, 0.5, n // 4)
    return np.concatenate([a + (b - a) * np.concatenate([s, even]) for a, b in halves])
