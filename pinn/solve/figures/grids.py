"""From a list of points to what can be drawn: full grids, grids with holes, scattered points."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

SAME = 1e-9
"""Coordinates closer than this part of their range are one line of a grid."""

LEAST_FILLED = 0.1
"""A grid of which less is filled is no grid but scattered points; a disk fills 0.79, an L 0.75 of its box."""


@dataclass(frozen=True)
class Grid:
    """Points that lie on the crossings of lines.

    Attributes:
        axes: per coordinate, the sorted values of its lines.
        place: (n_points,) where each point stands in the flattened grid.
    """

    axes: tuple[np.ndarray, ...]
    place: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    def fill(self, values: np.ndarray) -> np.ndarray:
        """The values (n_points,) on the grid, NaN where there is no point."""
        filled = np.full(prod(self.shape), np.nan)
        filled[self.place] = values
        return filled.reshape(self.shape)


def find_grid(points: np.ndarray) -> Grid | None:
    """The grid the points lie on; None if they are scattered.

    Args:
        points: (n_points, n_coordinates).
    """
    axes, places = [], []
    for column in points.T:
        axis, place = _lines(column)
        axes.append(axis)
        places.append(place)
    shape = tuple(len(axis) for axis in axes)
    if prod(shape) * LEAST_FILLED > len(points):
        return None
    return Grid(tuple(axes), np.ravel_multi_index(tuple(places), shape))


def _lines(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, sorted, and the number of each point's own."""
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    reach = SAME * max(float(ordered[-1] - ordered[0]), np.finfo(float).tiny)
    number = np.concatenate([[0], np.cumsum(np.diff(ordered) > reach)])
    place = np.empty(len(column), dtype=np.int64)
    place[order] = number
    return ordered[np.concatenate([[True], np.diff(number) > 0])], place


def coarsened(grid: np.ndarray, limit: int, largest: bool) -> tuple[np.ndarray, tuple[int, ...]]:
    """A grid with at most ``limit`` lines along each axis.

    Args:
        grid: values, NaN in holes.
        limit: lines.
        largest: whether a cell shows the largest of its values, so that no peak is lost, or the first.

    Returns:
        The coarser grid, and how many lines of each axis went into one.
    """
    steps = tuple(-(-length // limit) for length in grid.shape)
    if all(step == 1 for step in steps):
        return grid, steps
    if not largest:
        return grid[tuple(slice(None, None, step) for step in steps)], steps
    for axis, step in enumerate(steps):
        starts = np.arange(0, grid.shape[axis], step)
        # fmax passes over holes as long as a cell holds any value
        grid = np.fmax.reduceat(grid, starts, axis=axis)
    return grid, steps


def evenly(count: int, wanted: int, with_first: bool = True) -> list[int]:
    """Up to ``wanted`` different indices spread evenly over ``count``, the last among them."""
    wanted = min(wanted, count)
    if with_first or wanted == count:
        return [int(i) for i in np.unique(np.linspace(0, count - 1, wanted).round())]
    return [int(i) for i in np.unique(np.linspace(0, count - 1, wanted + 1).round())][1:]
