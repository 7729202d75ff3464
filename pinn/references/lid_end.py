"""The flow at an end of a sliding lid, where the velocity jumps: its two most singular terms in closed form.

With the distances a from the side wall and b from the lid, ``r² = a² + b²``, and the angle θ from the lid to the wall,

    ``ψ = r F(θ) ± Re r² f(θ)``

with + at the end the lid moves away from and − at the other. The first term is Stokes flow,

    ``F = B sin θ + (C cos θ + E sin θ) θ``,  ``C = 1/(π²/4 − 1)``, ``E = Cπ/2``, ``B = −Cπ²/4``

with ``F(0) = F(π/2) = F'(π/2) = 0`` and ``F'(0) = −1``. The second balances its inertia: with ``q = F'' + F``,

    ``f''' + 4f' = F q + c``,  ``f = f' = 0`` at both walls,

which determines the constant c as well. The pressure is ``∓(2/Re) (C a + E b)/r² − c log r``, up to terms that stay
finite.

Sources: Taylor, "On scraping viscous fluid from a plane surface" (1962); Batchelor, "An Introduction to Fluid
Dynamics", section 4.8; the second term: Gupta, Manohar, Noble, "Nature of viscous flows near sharp corners", Comput.
Fluids 9 (1981) 379.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev

C = 1 / (math.pi**2 / 4 - 1)
E = C * math.pi / 2
B = -C * math.pi**2 / 4

DEGREE = 24
"""Of the Chebyshev series for f, which is analytic: its last coefficients are rounding."""


@cache
def inertial_term() -> tuple[Chebyshev, float]:
    """The function f and the constant c."""
    theta = np.pi / 4 * (1 - np.cos(np.pi * np.arange(1, DEGREE - 1) / (DEGREE - 1)))
    basis = [Chebyshev.basis(k, domain=[0, np.pi / 2]) for k in range(DEGREE + 1)]
    stokes = B * np.sin(theta) + (C * np.cos(theta) + E * np.sin(theta)) * theta
    q = 2 * (E * np.cos(theta) - C * np.sin(theta))
    inside = np.stack([b.deriv(3)(theta) + 4 * b.deriv(1)(theta) for b in basis], 1)
    rows = [np.concatenate([inside, -np.ones((len(theta), 1))], 1)]
    for end in (0.0, np.pi / 2):
        rows += [np.array([[*(b(end) for b in basis), 0.0]]), np.array([[*(b.deriv(1)(end) for b in basis), 0.0]])]
    right = np.concatenate([stokes * q, np.zeros(4)])
    matrix = np.concatenate(rows)
    # rows of one size, so that the walls are met as closely as the equation
    size = np.abs(matrix).max(1)
    solution = np.linalg.solve(matrix / size[:, None], right / size)
    return Chebyshev(solution[:-1], domain=[0, np.pi / 2]), float(solution[-1])


class LidEnd:
    """The singular flow at one end of the lid of the unit square, as functions of x and y.

    Args:
        side: 1 for the end at x = 0, which the lid moves away from; −1 for the one at x = 1.
        reynolds: Re.
    """

    def __init__(self, side: int, reynolds: float) -> None:
        self.side = side
        self.reynolds = reynolds
        self.inertia = side * reynolds
        self._f, self._c = inertial_term()

    def stream(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """ψ"""
        a, b, square, theta = self._local(x, y)
        return B * b + (C * a + E * b) * theta + self.inertia * square * self._f(theta)

    def slopes(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``ψ_x, ψ_y``; at the end of the lid itself those of the lid."""
        a, b, square, theta = self._local(x, y)
        swept = (C * a + E * b) / square
        f, f1 = self._f(theta), self._f.deriv(1)(theta)
        by_a = C * theta - swept * b + self.inertia * (2 * a * f - b * f1)
        by_b = B + E * theta + np.where((a == 0) & (b == 0), C, swept * a) + self.inertia * (2 * b * f + a * f1)
        return self.side * by_a, -by_b

    def second_slopes(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``ψ_xx, ψ_xy, ψ_yy``"""
        a, b, square, theta = self._local(x, y)
        # with θ_a = −b/r², θ_b = a/r², θ_aa = 2ab/r⁴ = −θ_bb, θ_ab = (b² − a²)/r⁴
        swept = (C * a + E * b) / square**2
        f, f1, f2 = (self._f.deriv(k)(theta) if k else self._f(theta) for k in range(3))
        aa = -2 * C * b / square + 2 * a * b * swept
        ab = (C * a - E * b) / square + (b * b - a * a) * swept
        bb = 2 * E * a / square - 2 * a * b * swept
        aa = aa + self.inertia * (2 * f + (-2 * a * b * f1 + b * b * f2) / square)
        ab = ab + self.inertia * ((a * a - b * b) * f1 - a * b * f2) / square
        bb = bb + self.inertia * (2 * f + (2 * a * b * f1 + a * a * f2) / square)
        return aa, -self.side * ab, bb

    def laplacian_slopes(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``Δψ_x, Δψ_y``"""
        a, b, square, theta = self._local(x, y)
        q = 2 * (E * a - C * b) / square
        turned = self.inertia * (self._f.deriv(3)(theta) + 4 * self._f.deriv(1)(theta))
        by_a = (2 * E - 2 * a * q - b * turned) / square
        by_b = (-2 * C - 2 * b * q + a * turned) / square
        return self.side * by_a, -by_b

    def bilaplacian(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``Δ²ψ``"""
        _, _, square, theta = self._local(x, y)
        return self.inertia * (self._f.deriv(4)(theta) + 4 * self._f.deriv(2)(theta)) / square

    def pressure(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The singular part of the pressure; infinite at the end of the lid, where 0 is returned."""
        a, b, square, _ = self._local(x, y)
        return -2 * self.side * (C * a + E * b) / square / self.reynolds - self._c * np.log(square) / 2

    def pressure_slopes(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``p_x, p_y`` of the singular part."""
        a, b, square, _ = self._local(x, y)
        level = -2 * self.side / self.reynolds
        pull = 2 * level * (C * a + E * b) / square + self._c
        return self.side * (level * C - pull * a) / square, -(level * E - pull * b) / square

    def _local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        a, b = (x if self.side > 0 else 1 - x), 1 - y
        square = a * a + b * b
        return a, b, np.where(square == 0, 1.0, square), np.arctan2(b, a)
