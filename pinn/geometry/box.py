"""Intervals, rectangles and boxes in any number of named dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.base import Geometry, Parts, Piece, checked_range, part_names
from training.errors import ConfigurationError


class Box(Geometry):
    """All points with ``low ≤ coordinate ≤ high`` for each named coordinate.

    >>> Box(x=(0, 1), y=(0, 2)).boundary_parts
    ('x=0', 'x=1', 'y=0', 'y=2')

    Args:
        prefix: put before the names of the parts (``plate:x=0``), to tell two boxes apart.
        ranges: lower and upper bound of each coordinate, in the order of the columns.

    Raises:
        ConfigurationError: if a range is empty or not finite.
    """

    def __init__(self, prefix: str = "", **ranges: tuple[float, float]) -> None:
        if not ranges:
            raise ConfigurationError("A box needs at least one coordinate with its range, such as Box(x=(0, 1)).")
        self._ranges = {name: checked_range(name, *ends) for name, ends in ranges.items()}
        self.prefix = prefix
        self.coordinates = self.space = tuple(self._ranges)
        self._low = torch.tensor([low for low, _ in self._ranges.values()], dtype=torch.float64)
        self._high = torch.tensor([high for _, high in self._ranges.values()], dtype=torch.float64)

    @classmethod
    def cube(cls, dimensions: int, low: float = 0.0, high: float = 1.0, name: str = "x") -> Box:
        """The cube with coordinates ``x1 … xd``, each from low to high."""
        return cls("", **{f"{name}{index}": (low, high) for index in range(1, dimensions + 1)})

    def __repr__(self) -> str:
        ranges = ", ".join(f"{name}=({low:g}, {high:g})" for name, (low, high) in self._ranges.items())
        return f"{type(self).__name__}({ranges})"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return dict(self._ranges)

    @property
    def volume(self) -> float:
        return prod(high - low for low, high in self._ranges.values())

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        self.columns(points)
        low, high = self._low.to(points), self._high.to(points)
        return ((points >= low - tolerance) & (points <= high + tolerance)).all(1)

    def faces(self) -> dict[str, tuple[str, float, int]]:
        """Coordinate, value and side (-1 low, +1 high) of each part."""
        found = {}
        for name, ends in self._ranges.items():
            for side, part in zip((-1, 1), part_names(name, ends), strict=True):
                found[f"{self.prefix}:{part}" if self.prefix else part] = (name, ends[side == 1], side)
        return found

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """``Π (c − low)/(high − low)`` over single faces and ``4 (c − low)(high − c)/(high − low)²`` over pairs."""
        faces = self.faces()
        chosen: dict[str, set[int]] = {}
        for name in self.parts(part):
            coordinate, _, side = faces[name]
            chosen.setdefault(coordinate, set()).add(side)
        factors = []
        for coordinate, sides in chosen.items():
            low, high = self._ranges[coordinate]
            rising = (coordinates[coordinate] - low) / (high - low)
            falling = (high - coordinates[coordinate]) / (high - low)
            factors.append(4 * rising * falling if len(sides) == 2 else rising if -1 in sides else falling)
        return prod(factors[1:], start=factors[0])

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        # rounding may not carry a point onto the boundary
        inner_low = torch.nextafter(self._low, self._high)
        inner_high = torch.nextafter(self._high, self._low)
        points = (self._low + (self._high - self._low) * unit).clamp(inner_low, inner_high)
        return points, torch.ones(len(unit), dtype=torch.bool)

    def _boundary(self) -> tuple[Piece, ...]:
        pieces = []
        for part, (coordinate, value, side) in self.faces().items():
            column = self.coordinates.index(coordinate)
            low, high = self._ranges[coordinate]
            place = partial(self._place_on_face, column, value, side)
            pieces.append(Piece(part, self.volume / (high - low), len(self.coordinates) - 1, place))
        return tuple(pieces)

    def _place_on_face(self, column: int, value: float, side: int, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        others = [index for index in range(len(self.coordinates)) if index != column]
        points = torch.full((len(unit), len(self.coordinates)), value, dtype=torch.float64)
        points[:, others] = self._low[others] + (self._high - self._low)[others] * unit
        normals = torch.zeros_like(points)
        normals[:, column] = side
        return points, normals, torch.ones(len(unit), dtype=torch.bool)


class Interval(Box):
    """The points of one coordinate between two ends.

    >>> Interval(x=(-1, 1)).boundary_parts
    ('x=-1', 'x=1')

    Raises:
        ConfigurationError: if not exactly one coordinate is given, or its range is empty.
    """

    def __init__(self, prefix: str = "", **ranges: tuple[float, float]) -> None:
        if len(ranges) != 1:
            raise ConfigurationError(f"An interval has one coordinate; got {', '.join(ranges) or 'none'}. Use Box.")
        super().__init__(prefix, **ranges)
