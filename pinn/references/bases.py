"""Expansions in space: Fourier series on a periodic interval, and Chebyshev polynomials with fixed ends.

Both turn a solution into coefficients in which the stiff linear part of its equation is diagonal.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy import fft
from scipy.fft import next_fast_len


class Basis(Protocol):
    """Functions ``φ_k(x)`` whose coefficients ``c_k`` describe a solution: ``u(x) = Re Σ_k c_k φ_k(x) + offset``."""

    def functions(self, x: np.ndarray) -> np.ndarray:
        """The basis at any places: (n_places,) to (n_places, n_functions)."""
        ...


class FourierBasis:
    """Waves on a periodic interval, with nonlinear terms computed free of aliasing.

    ``u(x) = Σ_k c_k exp(iκ_k (x − low))`` with ``κ_k = 2πk/length``. A real solution keeps ``k ≥ 0`` only, and the
    functions of ``k > 0`` count twice.

    Args:
        low: left end of the interval.
        high: right end.
        modes: number of waves of positive sign that are kept, so ``|k| ≤ modes``.
        real: whether the solution is real.
        degree: degree of the nonlinear term; the grid is fine enough that its products alias onto no wave kept.
    """

    def __init__(self, low: float, high: float, modes: int, real: bool = True, degree: int = 2) -> None:
        self.low, self.high, self.modes, self.real = low, high, modes, real
        self.length = high - low
        self.size = next_fast_len((degree + 1) * modes + 1, real=real)
        ones = np.arange(modes + 1)
        self.k = ones if real else np.concatenate([ones, -ones[:0:-1]])
        self.kappa = 2 * np.pi * self.k / self.length

    @property
    def grid(self) -> np.ndarray:
        """Places at which `values` gives the solution: (size,)."""
        return self.low + self.length * np.arange(self.size) / self.size

    def values(self, coefficients: np.ndarray) -> np.ndarray:
        """From coefficients to values on the grid."""
        if self.real:
            return fft.irfft(coefficients, n=self.size) * self.size
        padded = np.zeros(self.size, dtype=complex)
        padded[: self.modes + 1] = coefficients[: self.modes + 1]
        padded[-self.modes :] = coefficients[self.modes + 1 :]
        return fft.ifft(padded) * self.size

    def coefficients(self, values: np.ndarray) -> np.ndarray:
        """From values on the grid to coefficients; waves beyond those kept are cut off."""
        if self.real:
            return fft.rfft(values)[: self.modes + 1] / self.size
        spectrum = fft.fft(values) / self.size
        return np.concatenate([spectrum[: self.modes + 1], spectrum[-self.modes :]])

    def functions(self, x: np.ndarray) -> np.ndarray:
        waves = np.exp(1j * np.outer(x - self.low, self.kappa))
        if self.real:
            waves[:, 1:] *= 2
        return waves


class EvenChebyshevBasis:
    """Even functions on ``[−1, 1]`` that vanish at both ends, in the eigenvectors of the second derivative.

    The second derivative acts on the values at the Chebyshev points ``x_j = cos(πj/n)``; by symmetry only those
    with ``0 < x_j < 1``, and the middle one, are unknown. Its eigenvalues are real and negative.

    Args:
        intervals: ``n``, an even number.
    """

    low, high = -1.0, 1.0

    def __init__(self, intervals: int) -> None:
        if intervals % 2:
            raise ValueError(f"An even number of Chebyshev intervals has a point in the middle; got {intervals}.")
        self.intervals = intervals
        self.nodes, first = chebyshev_differentiation(intervals)
        half = intervals // 2
        second = (first @ first)[1 : half + 1, 1:-1]
        # the values left of the middle equal their mirror images
        folded = second[:, :half].copy()
        folded[:, : half - 1] += second[:, : half - 1 : -1]
        eigenvalues, vectors = np.linalg.eig(folded)
        order = np.argsort(-eigenvalues.real)
        self.eigenvalues = eigenvalues.real[order]
        self.vectors = np.ascontiguousarray(vectors.real[:, order])
        self.inverse = np.linalg.inv(self.vectors)

    @property
    def grid(self) -> np.ndarray:
        """Places at which `values` gives the solution, from the right end to the middle: (n/2,)."""
        return self.nodes[1 : self.intervals // 2 + 1]

    def values(self, coefficients: np.ndarray) -> np.ndarray:
        """From coefficients to values on the grid."""
        return self.vectors @ coefficients

    def coefficients(self, values: np.ndarray) -> np.ndarray:
        """From values on the grid to coefficients."""
        return self.inverse @ values

    def functions(self, x: np.ndarray) -> np.ndarray:
        matrix = chebyshev_interpolation(self.nodes, x)
        half = self.intervals // 2
        folded = matrix[:, 1 : half + 1].copy()
        folded[:, : half - 1] += matrix[:, -2:half:-1]
        return folded @ self.vectors


def chebyshev_differentiation(intervals: int) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev points ``cos(πj/n)`` and the matrix of the first derivative of their interpolant.

    The diagonal is the negative sum of each row, which keeps rounding small. Source: Trefethen, "Spectral Methods in
    MATLAB", SIAM 2000, chapter 6.

    Returns:
        Points (n + 1,) from 1 to −1, and matrix (n + 1, n + 1).
    """
    j = np.arange(intervals + 1)
    # the sine form is exactly antisymmetric about the middle
    nodes = np.sin(np.pi * (intervals - 2 * j) / (2 * intervals))
    scale = np.where((j == 0) | (j == intervals), 2.0, 1.0) * (-1.0) ** j
    # differences of cosines as products of sines do not cancel
    angle = np.pi * j / (2 * intervals)
    difference = 2 * np.sin(angle[:, None] + angle) * np.sin(angle - angle[:, None])
    np.fill_diagonal(difference, 1.0)
    matrix = np.outer(scale, 1 / scale) / difference
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(1))
    return nodes, matrix


def chebyshev_interpolation(nodes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Matrix from values at Chebyshev points to values at other places, by the barycentric formula.

    Source: Berrut, Trefethen, "Barycentric Lagrange interpolation", SIAM Review 46 (2004) 501.

    Args:
        nodes: (n + 1,) Chebyshev points, on any interval.
        x: (n_places,) in the same interval.

    Returns:
        (n_places, n + 1)
    """
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] /= 2
    return barycentric(nodes, weights, x)


def barycentric(nodes: np.ndarray, weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values of the Lagrange polynomials of the nodes at other places.

    Args:
        nodes: (n_nodes,), or (n_places, n_nodes) for each place its own.
        weights: the barycentric weights, of the same shape.
        x: (n_places,)

    Returns:
        (n_places, n_nodes)
    """
    difference = x[:, None] - nodes
    hit = difference == 0
    terms = weights / np.where(hit, 1.0, difference)
    matrix = terms / terms.sum(1, keepdims=True)
    rows = hit.any(1)
    matrix[rows] = hit[rows]
    return matrix
