"""The flow in a square cavity whose lid slides, by Chebyshev collocation without the singular ends of the lid.

Unit square, lid at y = 1 with u = 1, all other walls at rest. With the stream function, ``u = ψ_y`` and ``v = −ψ_x``,
the steady flow obeys ``ν Δ²ψ = ψ_y Δψ_x − ψ_x Δψ_y`` with ν = 1/Re. At the ends of the lid the velocity jumps. There
``ψ = ψ_s + φ`` with the two most singular terms of both ends (`pinn.references.lid_end`), so that φ is smoother than ψ
by two powers of the distance; Newton's method finds ``φ = lift + clamped polynomial``, which holds values and slopes on
the walls exactly.

The pressure follows from ``∇p = ν Δ(u, v) − (u ∂_x + v ∂_y)(u, v)``, in closed form for its singular terms, by least
squares for the rest; it is zero at the corner (0, 0).

Source of the method: Botella, Peyret, "Benchmark spectral results on the lid-driven cavity flow", Comput. Fluids 27
(1998) 421; of the clamped polynomials: Trefethen, "Spectral Methods in MATLAB", program 38.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import eigh, lu_factor, lu_solve
from torch import Tensor

from pinn.references.cache import cached
from pinn.references.clamped import ClampedGrid, Orders, hermite, interpolate
from pinn.references.lid_end import LidEnd
from pinn.references.reference import Reference

CORNER_RADIUS = 0.05
"""Within this distance of the ends of the lid, where the pressure is infinite, two resolutions are not compared."""

NEWTON_STEPS = 15
CONVERGED = 1e-10
"""Largest change of the stream function, whose own size is 0.1, in the last Newton step."""

BY_X: Orders = {(1, 0): 1}
BY_Y: Orders = {(0, 1): 1}
LAPLACIAN_BY_X: Orders = {(3, 0): 1, (1, 2): 1}
LAPLACIAN_BY_Y: Orders = {(2, 1): 1, (0, 3): 1}
BILAPLACIAN: Orders = {(4, 0): 1, (2, 2): 2, (0, 4): 1}
OPERATORS = (BY_X, BY_Y, LAPLACIAN_BY_X, LAPLACIAN_BY_Y, BILAPLACIAN)

EASY = 150.0
"""Reynolds number up to which Newton's method converges from nothing."""


class Cavity(Reference):
    """Velocity and pressure in the lid-driven cavity.

    Args:
        reynolds: Re, positive; the default number of intervals resolves up to about 400.
        intervals: of the Chebyshev grid in each direction.
    """

    fields = ("u", "v", "p")
    coordinates = ("x", "y")
    version = 1

    def __init__(self, reynolds: float, intervals: int = 40) -> None:
        self.reynolds = reynolds
        self.intervals = intervals

    def values(self, points: Tensor) -> dict[str, Tensor]:
        columns = self.columns(points.detach().cpu())
        found = evaluate(self._kept, self.reynolds, columns["x"].numpy(), columns["y"].numpy())
        return {name: torch.from_numpy(values).to(points.device) for name, values in found.items()}

    @property
    def floors(self) -> dict[str, float]:
        return dict(zip(self.fields, self._kept["floors"].tolist(), strict=True))

    @property
    def floor(self) -> float:
        return max(self.floors.values())

    @property
    def floor_note(self) -> str:
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.floors.items())
        return (
            f"Chebyshev collocation ({self.intervals}²), singular ends of the lid in closed form; relative L2 "
            f"difference to three quarters of the polynomials, beyond {CORNER_RADIUS} from the ends of the lid: {each}"
        )

    @cached_property
    def _kept(self) -> dict[str, np.ndarray]:
        settings = {"version": self.version, "reynolds": self.reynolds, "intervals": self.intervals}
        return cached("Cavity", settings, self._compute)

    def _compute(self) -> dict[str, np.ndarray]:
        fine, coarse = (solve(self.reynolds, n) for n in (self.intervals, 2 * (3 * self.intervals // 8)))
        x, y = (c.ravel() for c in np.meshgrid(*[np.linspace(0, 1, 81)] * 2, indexing="ij"))
        apart = np.hypot(np.minimum(x, 1 - x), 1 - y) > CORNER_RADIUS
        a, b = (evaluate(found, self.reynolds, x[apart], y[apart]) for found in (fine, coarse))
        floors = [np.linalg.norm(a[name] - b[name]) / np.linalg.norm(a[name]) for name in self.fields]
        return {**fine, "floors": np.array(floors)}


def solve(reynolds: float, intervals: int) -> dict[str, np.ndarray]:
    """The regular part of the flow.

    Returns:
        u, v on the Chebyshev grid, (n + 1, n + 1) each, first index along x; p at its inner points, (n − 1, n − 1).

    Raises:
        FloatingPointError: if Newton's method does not converge.
    """
    grid = ClampedGrid.of(intervals)
    matrices = [grid.matrix(operator) for operator in OPERATORS]
    x, y = grid.inner
    # Newton's method finds its way from the flow at a Reynolds number three times smaller
    steps = max(0, math.ceil(math.log(reynolds / EASY) / math.log(3.0)))
    stream = None
    for number in (reynolds / 3.0**k for k in range(steps, -1, -1)):
        lift = _lift(grid, number)
        known = lift[1:-1, 1:-1] + sum(end.stream(x, y) for end in _ends(number))
        inner = _newton(grid, number, lift, matrices, np.zeros_like(x) if stream is None else stream - known)
        stream = inner + known
    return _velocity_and_pressure(grid, reynolds, lift, inner)


def _newton(
    grid: ClampedGrid, reynolds: float, lift: np.ndarray, matrices: list[np.ndarray], inner: np.ndarray
) -> np.ndarray:
    """The clamped polynomial that solves the equation, by its inner values, from a first guess."""
    nu = 1 / reynolds
    base = [
        grid.free(operator, lift) + known for operator, known in zip(OPERATORS, _singular(grid, reynolds), strict=True)
    ]
    for _ in range(NEWTON_STEPS):
        px, py, lx, ly, bi = (
            known + grid.clamped(operator, inner) for known, operator in zip(base, OPERATORS, strict=True)
        )
        matrix = nu * matrices[4]
        for factor, index in ((ly, 0), (-lx, 1), (-py, 2), (px, 3)):
            matrix += factor.reshape(-1, 1) * matrices[index]
        residual = nu * bi - (py * lx - px * ly)
        change = lu_solve(lu_factor(matrix, overwrite_a=True), -residual.ravel()).reshape(inner.shape)
        inner = inner + change
        if np.abs(change).max() < CONVERGED:
            return inner
    raise FloatingPointError(f"The cavity at Re = {reynolds:g} did not converge in {NEWTON_STEPS} Newton steps.")


def evaluate(found: dict[str, np.ndarray], reynolds: float, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Velocity and pressure at points (n_points,) of the square."""
    grid = ClampedGrid.of(len(found["u"]) - 1)
    ends = _ends(reynolds)
    slopes = [end.slopes(x, y) for end in ends]
    u = interpolate(found["u"], grid.whole, x, y) + sum(by_y for _, by_y in slopes)
    v = interpolate(found["v"], grid.whole, x, y) - sum(by_x for by_x, _ in slopes)
    # the last point sets the level
    x, y = np.append(x, 0.0), np.append(y, 0.0)
    p = interpolate(found["p"], grid.within, x, y) + sum(end.pressure(x, y) for end in ends)
    return {"u": u, "v": v, "p": p[:-1] - p[-1]}


def _ends(reynolds: float) -> tuple[LidEnd, LidEnd]:
    return LidEnd(1, reynolds), LidEnd(-1, reynolds)


def _singular(grid: ClampedGrid, reynolds: float) -> list[np.ndarray]:
    """``ψ_x, ψ_y, Δψ_x, Δψ_y, Δ²ψ`` of both ends at the inner points."""
    x, y = grid.inner
    each = [(*end.slopes(x, y), *end.laplacian_slopes(x, y), end.bilaplacian(x, y)) for end in _ends(reynolds)]
    return [first + second for first, second in zip(*each, strict=True)]


def _lift(grid: ClampedGrid, reynolds: float) -> np.ndarray:
    """A polynomial with the values and slopes that φ has on the walls, (n + 1, n + 1).

    They are those of ψ (zero, but for the slope 1 at the lid) minus those of ψ_s; cubics continue them across the
    square in both directions, and what both directions give is taken off once.
    """
    s = grid.nodes
    zero, one = np.zeros_like(s), np.ones_like(s)

    def missing(x: np.ndarray, y: np.ndarray, direction: int) -> tuple[np.ndarray, np.ndarray]:
        ends = _ends(reynolds)
        values, slopes = zip(*((end.stream(x, y), end.slopes(x, y)[direction]) for end in ends), strict=True)
        return -np.sum(values, axis=0), -np.sum(slopes, axis=0)

    sides_x = (*missing(zero, s, 0), *missing(one, s, 0))
    lid_value, lid_slope = missing(s, one, 1)
    sides_y = (*missing(s, zero, 1), lid_value, 1 + lid_slope)
    h = hermite(s)
    in_x = sum(np.outer(f, side) for f, side in zip(h, sides_x, strict=True))
    in_y = sum(np.outer(side, f) for f, side in zip(h, sides_y, strict=True))
    both = sum(np.outer(_along(grid, side), g) for side, g in zip(sides_y, h, strict=True))
    return np.asarray(in_x + in_y - both)


def _along(grid: ClampedGrid, side: np.ndarray) -> np.ndarray:
    """The cubic with the values and slopes that a function on the grid has at its ends."""
    slope = grid.first @ side
    ends = (side[0], slope[0], side[-1], slope[-1])
    return np.asarray(sum(f * end for f, end in zip(hermite(grid.nodes), ends, strict=True)))


def _velocity_and_pressure(
    grid: ClampedGrid, reynolds: float, lift: np.ndarray, inner: np.ndarray
) -> dict[str, np.ndarray]:
    phi = lift.copy()
    phi[1:-1, 1:-1] += inner
    u, v = phi @ grid.first.T, -grid.first @ phi
    x, y = grid.inner
    singular = _singular(grid, reynolds)
    xx, xy, yy = (sum(parts) for parts in zip(*(end.second_slopes(x, y) for end in _ends(reynolds)), strict=True))
    u_all, v_all = u[1:-1, 1:-1] + singular[1], v[1:-1, 1:-1] - singular[0]
    laplacian: Orders = {(2, 0): 1, (0, 2): 1}
    # the closed form of the singular pressure has its gradient taken off
    gx = (grid.free(laplacian, u) + singular[3]) / reynolds
    gx -= u_all * (grid.free(BY_X, u) + xy) + v_all * (grid.free(BY_Y, u) + yy)
    gy = (grid.free(laplacian, v) - singular[2]) / reynolds
    gy -= u_all * (grid.free(BY_X, v) - xx) + v_all * (grid.free(BY_Y, v) - xy)
    for end in _ends(reynolds):
        by_x, by_y = end.pressure_slopes(x, y)
        gx, gy = gx - by_x, gy - by_y
    return {"u": u, "v": v, "p": _potential(grid, gx, gy)}


def _potential(grid: ClampedGrid, gx: np.ndarray, gy: np.ndarray) -> np.ndarray:
    """The polynomial whose gradient is nearest to (gx, gy) in the mean over the square, by its inner values."""
    d, mass = grid.inner_first, np.diag(grid.fejer)
    eigenvalues, vectors = eigh(d.T @ mass @ d, mass)
    sums = eigenvalues[:, None] + eigenvalues
    # the constant is free
    sums[0, 0] = np.inf
    return vectors @ (vectors.T @ (d.T @ mass @ gx @ mass + mass @ gy @ mass @ d) @ vectors / sums) @ vectors.T
