"""Radial functions as splines: piecewise polynomials of fifth degree on equal intervals, with four continuous
derivatives.

Energy and slope come from one spline, so forces are the exact derivative of the tabulated energy, and dynamics conserve
it as they do without tables. A degree this high needs few intervals, so that the tables of all channels stay in the
processor's caches; the error falls with the sixth power of their number.

Source: de Boor, "A Practical Guide to Splines", Springer 1978, chapters IX to XIII.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.interpolate import BSpline
from scipy.sparse.linalg import splu

DEGREE = 5
SMALLEST_INTERVALS, LARGEST_INTERVALS = 32, 4096

Sampled = Callable[[ndarray], tuple[ndarray, ndarray]]
"""From distances (n,) Å to the functions (n, size) and their slopes (n, size) in 1/Å, all float64."""


@dataclass(frozen=True, eq=False)
class RadialTable:
    """Functions of the distance on ``[start, cutoff]``.

    Attributes:
        start, cutoff: Å.
        coefficients: (intervals + 5, size) of the B-splines, float64.
        error: largest error of a slope between the knots, as a part of the largest slope of that function.
    """

    start: float
    cutoff: float
    coefficients: ndarray
    error: float

    @property
    def intervals(self) -> int:
        return len(self.coefficients) - DEGREE

    @property
    def spacing(self) -> float:
        """Å."""
        return (self.cutoff - self.start) / self.intervals

    def values(self, distance: ndarray, derivative: int = 0) -> ndarray:
        """The tabulated functions, or a derivative of them: (n, size)."""
        spline = BSpline(_knots(self.start, self.cutoff, self.intervals), self.coefficients, DEGREE)
        return spline(distance, nu=derivative)


def tabulate(functions: Sampled, start: float, cutoff: float, tolerance: float) -> RadialTable:
    """A table with as few intervals as the tolerance allows, among the powers of two.

    Args:
        functions: smooth on ``[start, cutoff]``, zero with zero slope at the cutoff.
        start, cutoff: Å.
        tolerance: largest error of a slope, relative to the largest slope of that function.

    Raises:
        ValueError: if the largest table does not reach the tolerance.
    """
    intervals = SMALLEST_INTERVALS
    while intervals <= LARGEST_INTERVALS:
        table = _interpolate(functions, start, cutoff, intervals)
        if table.error <= tolerance:
            return table
        intervals *= 2
    raise ValueError(f"A table of {LARGEST_INTERVALS} intervals has slopes off by {table.error:.1e}, not {tolerance}.")


def _knots(start: float, cutoff: float, intervals: int) -> ndarray:
    return start + (cutoff - start) / intervals * np.arange(-DEGREE, intervals + DEGREE + 1)


def _interpolate(functions: Sampled, start: float, cutoff: float, intervals: int) -> RadialTable:
    """Through the knots and the middles of both end intervals, with the right slopes at both ends."""
    knots = _knots(start, cutoff, intervals)
    inner = knots[DEGREE:-DEGREE].copy()
    inner[-1] = cutoff
    middle = 0.5 * (inner[1:] + inner[:-1])
    points = np.sort(np.concatenate([inner, middle[[0, -1]]]))
    values, _ = functions(points)
    ends = inner[[0, -1]]
    _, end_slopes = functions(ends)
    unit = BSpline(knots, np.eye(intervals + DEGREE), DEGREE)
    rows = BSpline.design_matrix(points, knots, DEGREE).tolil()
    matrix = rows.copy()
    matrix.resize((intervals + DEGREE, intervals + DEGREE))
    matrix[-2:] = unit(ends, nu=1)
    values[-1] = 0.0
    end_slopes[-1] = 0.0
    coefficients = splu(matrix.tocsc()).solve(np.concatenate([values, end_slopes]))
    table = RadialTable(start, cutoff, coefficients, 0.0)
    between = np.concatenate([inner[:-1] + part * table.spacing for part in (0.25, 0.5, 0.75, 0.0)])
    _, slopes = functions(between)
    error = np.abs(table.values(between, 1) - slopes).max(axis=0) / np.abs(slopes).max(axis=0)
    return RadialTable(start, cutoff, coefficients, float(error.max()))
