"""Exponential time differencing of fourth order: the stiff linear part exactly, the rest by Runge–Kutta.

Sources: Cox, Matthews, "Exponential time differencing for stiff systems", J. Comput. Phys. 176 (2002) 430; the
coefficients by contour integrals from Kassam, Trefethen, "Fourth-order time stepping for stiff PDEs", SIAM J. Sci.
Comput. 26 (2005) 1214.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CONTOUR_POINTS = 64
"""On the unit circle around each ``L h``; the mean over them converges geometrically, 32 reach rounding."""


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one step size.

    Args:
        until: time at which it ends.
        step: size of a step.
        keep: every how many steps the solution is kept; the stretch is a whole number of them.
    """

    until: float
    step: float
    keep: int

    def rounds(self, begin: float) -> int:
        """How many times the solution is kept if the stretch begins at a time.

        Raises:
            ValueError: if that is no whole number.
        """
        rounds = (self.until - begin) / (self.step * self.keep)
        if rounds < 0.5 or abs(rounds - round(rounds)) > 1e-6:
            raise ValueError(
                f"From {begin:g} to {self.until:g} there are {rounds:.2f} stretches of {self.keep} steps of "
                f"{self.step:g}; choose a step that gives a whole number."
            )
        return round(rounds)

    def refined(self, factor: float, spacing: float) -> Segment:
        """The same stretch with the step multiplied by a factor and the times kept by another."""
        return Segment(self.until, self.step * factor, round(self.keep * spacing / factor))


@dataclass(frozen=True)
class Step:
    """The coefficients of one step ``h`` of ``c' = L c + N(c)`` with diagonal ``L``."""

    exponential: np.ndarray
    half: np.ndarray
    q: np.ndarray
    f1: np.ndarray
    f2: np.ndarray
    f3: np.ndarray

    @classmethod
    def of(cls, linear: np.ndarray, h: float) -> Step:
        """Coefficients for a step of size ``h``.

        Args:
            linear: (n,) diagonal of ``L``, real or complex.
            h: step size.
        """
        z = h * linear
        circle = np.exp(2j * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS)
        r = z[:, None] + circle
        e = np.exp(r)
        mean: Callable[[np.ndarray], np.ndarray] = lambda f: f.mean(1) if np.iscomplexobj(linear) else f.mean(1).real  # noqa: E731
        return cls(
            exponential=np.exp(z),
            half=np.exp(z / 2),
            q=h * mean((np.exp(r / 2) - 1) / r),
            f1=h * mean((-4 - r + e * (4 - 3 * r + r**2)) / r**3),
            f2=h * mean((2 + r + e * (r - 2)) / r**3),
            f3=h * mean((-4 - 3 * r - r**2 + e * (4 - r)) / r**3),
        )

    def advance(self, c: np.ndarray, nonlinear: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The coefficients one step later."""
        n0 = nonlinear(c)
        a = self.half * c + self.q * n0
        na = nonlinear(a)
        b = self.half * c + self.q * na
        nb = nonlinear(b)
        d = self.half * a + self.q * (2 * nb - n0)
        nd = nonlinear(d)
        return self.exponential * c + self.f1 * n0 + 2 * self.f2 * (na + nb) + self.f3 * nd


def integrate(
    linear: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    segments: Sequence[Segment],
) -> tuple[np.ndarray, np.ndarray]:
    """Integrate ``c' = L c + N(c)`` from time zero.

    Args:
        linear: (n,) diagonal of ``L``.
        nonlinear: ``N``.
        start: (n,) coefficients at time zero.
        segments: stretches of time with their step sizes, one after the other.

    Returns:
        Times kept (n_times,) with zero first, and coefficients (n_times, n).

    Raises:
        FloatingPointError: if the solution overflows; the step is too large.
    """
    times, kept = [0.0], [start]
    c, begin = start, 0.0
    for segment in segments:
        step = Step.of(linear, segment.step)
        rounds = segment.rounds(begin)
        for index in range(1, rounds + 1):
            for _ in range(segment.keep):
                c = step.advance(c, nonlinear)
            if not np.isfinite(c).all():
                raise FloatingPointError(f"The solution overflows before time {begin + index * segment.step:g}.")
            times.append(begin + (segment.until - begin) * index / rounds)
            kept.append(c)
        begin = segment.until
    return np.array(times), np.array(kept)
