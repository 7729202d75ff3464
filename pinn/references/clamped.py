"""Polynomials on the unit square by their values at Chebyshev points, and those that are clamped on its walls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pinn.references.bases import barycentric, chebyshev_differentiation

Orders = Mapping[tuple[int, int], float]
"""A differential operator with constant coefficients: orders in x and y, and the factor of each."""

POINTS_AT_ONCE = 2048


@dataclass(frozen=True)
class ClampedGrid:
    """Chebyshev points on (0, 1) in both directions, ascending, first index along x.

    Attributes:
        nodes: (n + 1,)
        first: (n + 1, n + 1), derivative of a polynomial by its values.
        clamp: for the orders 0 to 4, derivative of a polynomial ``x (1 − x) q`` with ``q(0) = q(1) = 0``, which
            vanishes with its slope at both ends, by its values at the inner points, (n − 1, n − 1) each.
    """

    nodes: np.ndarray
    first: np.ndarray
    clamp: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, intervals: int) -> ClampedGrid:
        """The grid with a number of intervals in each direction."""
        xi, derivative = chebyshev_differentiation(intervals)
        nodes, first = ((1 + xi) / 2)[::-1], 2 * derivative[::-1, ::-1]
        w, slope = nodes * (1 - nodes), 1 - 2 * nodes
        powers = [np.linalg.matrix_power(first, k) for k in range(5)]
        clamp = []
        for k in range(5):
            # the product rule for w q, whose second derivative of w is −2
            matrix = w[:, None] * powers[k]
            matrix += k * slope[:, None] * powers[k - 1] if k else 0.0
            matrix -= k * (k - 1) * powers[k - 2] if k > 1 else 0.0
            clamp.append((matrix[:, 1:-1] / w[1:-1])[1:-1])
        return cls(nodes, first, tuple(clamp))

    @property
    def inner(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the inner points, (n − 1, n − 1) each."""
        x, y = np.meshgrid(self.nodes[1:-1], self.nodes[1:-1], indexing="ij")
        return x, y

    def clamped(self, orders: Orders, values: np.ndarray) -> np.ndarray:
        """An operator on the clamped polynomial with inner values, at the inner points."""
        terms = [factor * self.clamp[i] @ values @ self.clamp[j].T for (i, j), factor in orders.items()]
        return np.sum(terms, axis=0)

    def matrix(self, orders: Orders) -> np.ndarray:
        """The same as a matrix on the flattened values."""
        return np.sum([factor * np.kron(self.clamp[i], self.clamp[j]) for (i, j), factor in orders.items()], axis=0)

    def free(self, orders: Orders, values: np.ndarray) -> np.ndarray:
        """An operator on the polynomial with values on the whole grid, at the inner points."""
        power = [np.linalg.matrix_power(self.first, k) for k in range(5)]
        terms = [factor * power[i] @ values @ power[j].T for (i, j), factor in orders.items()]
        return np.sum(terms, axis=0)[1:-1, 1:-1]

    @cached_property
    def fejer(self) -> np.ndarray:
        """Weights of the inner points in a quadrature over (0, 1), exact for polynomials: Fejér's second rule."""
        n = len(self.nodes) - 1
        angles = np.pi * np.arange(1, n) / n
        j = np.arange(1, n // 2 + 1)
        return 2 * np.sin(angles) / n * (np.sin(np.outer(angles, 2 * j - 1)) / (2 * j - 1)).sum(1)

    def whole(self, x: np.ndarray) -> np.ndarray:
        """Interpolation from all points of one direction: (n_places, n + 1)."""
        weights = (-1.0) ** np.arange(len(self.nodes))
        weights[[0, -1]] /= 2
        return barycentric(self.nodes, weights, x)

    def within(self, x: np.ndarray) -> np.ndarray:
        """Interpolation from the inner points of one direction: (n_places, n − 1)."""
        return barycentric(self.nodes[1:-1], self._inner_weights, x)

    @cached_property
    def inner_first(self) -> np.ndarray:
        """Derivative of a polynomial by its values at the inner points only."""
        inner, weights = self.nodes[1:-1], self._inner_weights
        difference = inner[:, None] - inner
        np.fill_diagonal(difference, 1.0)
        matrix = weights / weights[:, None] / difference
        np.fill_diagonal(matrix, 0.0)
        np.fill_diagonal(matrix, -matrix.sum(1))
        return matrix

    @property
    def _inner_weights(self) -> np.ndarray:
        n = len(self.nodes) - 1
        j = np.arange(1, n)
        return (-1.0) ** j * np.sin(np.pi * j / n) ** 2


def hermite(s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cubics with unit value at 0, unit slope at 0, unit value at 1, unit slope at 1, and nothing else there."""
    return (1 + 2 * s) * (1 - s) ** 2, s * (1 - s) ** 2, s**2 * (3 - 2 * s), -(s**2) * (1 - s)


def interpolate(
    values: np.ndarray, rule: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """A polynomial of both coordinates at points (n_points,), by the interpolation of one direction."""
    places_x, at_x = np.unique(x, return_inverse=True)
    places_y, at_y = np.unique(y, return_inverse=True)
    if len(places_x) * len(places_y) <= 4 * len(x):
        return (rule(places_x) @ values @ rule(places_y).T)[at_x, at_y]
    chunks = [slice(begin, begin + POINTS_AT_ONCE) for begin in range(0, len(x), POINTS_AT_ONCE)]
    return np.concatenate([((rule(x[chunk]) @ values) * rule(y[chunk])).sum(1) for chunk in chunks])
