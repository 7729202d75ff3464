"""What every geometry can do: say what is inside, and draw points from its interior and its boundary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinn.geometry.unit_cube import draw_exactly
from pinn.names import hint
from training.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from pinn.geometry.combination import Difference, Intersection, Union
    from pinn.geometry.time import SpaceTime, Time

_SCALE_POINTS = 2000

_SAME_NUMBER = 1e-5
"""Relative difference up to which a number in a part's name counts as the one a user wrote."""

Parts = str | Sequence[str] | None
"""Names of boundary parts; None is the whole boundary of space."""


@dataclass(frozen=True)
class Piece:
    """A piece of the boundary on which points can be drawn with uniform density.

    Attributes:
        part: name of the boundary part it belongs to.
        size: its measure (length, area, …; 1 for a single point), before rejection.
        dimensions: of the unit cube that ``place`` maps from.
        place: unit points (m, dimensions) to points (m, d), outward unit normals (m, d_space) and a mask (m,) of those
            that are on the boundary.
    """

    part: str
    size: float
    dimensions: int
    place: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


class Geometry(ABC):
    """A bounded set in named coordinates.

    Attributes:
        coordinates: names of all coordinates, the columns of every (n, d) tensor of points.
        space: names of the space coordinates, the columns of every (n, d_space) tensor of normals.
        time: name of the time coordinate, or None.
        volume_error: one standard error of ``volume``; 0.0 where a closed form is known.
    """

    coordinates: tuple[str, ...]
    space: tuple[str, ...]
    time: str | None = None
    volume_error: float = 0.0

    @property
    @abstractmethod
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each coordinate."""

    @property
    @abstractmethod
    def volume(self) -> float:
        """Length, area, volume, … of the set (in space-time: times the duration)."""

    @abstractmethod
    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        """Which points are inside or on the boundary.

        Args:
            points: (n, d), columns in the order of ``coordinates``.
            tolerance: points up to this far outside count as inside; negative: points closer than this to the
                boundary count as outside.

        Returns:
            (n,) bool.
        """

    @abstractmethod
    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """A smooth function that is zero exactly on a part of the boundary and positive elsewhere inside.

        It grows linearly from the part and is at most about 1; written with torch functions, so it takes tensors of
        any one shape as well as jets.

        Args:
            coordinates: value of each coordinate by name.
            part: one name, several, or None for the whole boundary of space.

        Raises:
            ConfigurationError: if a part does not exist, or no such function is known for this geometry.
        """

    @abstractmethod
    def _boundary(self) -> tuple[Piece, ...]:
        """All pieces of the boundary."""

    @abstractmethod
    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Unit points (m, ``_interior_dimensions``) to candidates (m, d), uniform inside, and the mask to keep."""

    @property
    def _interior_dimensions(self) -> int:
        return len(self.coordinates)

    @property
    def _acceptance(self) -> float:
        """Expected share of interior candidates that are inside."""
        return 1.0

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The pieces the boundary is made of; several may belong to one named part."""
        return self._boundary()

    @property
    def boundary_parts(self) -> tuple[str, ...]:
        """Names of the parts of the boundary, such as ``x=-1`` or ``t=0``."""
        return tuple(dict.fromkeys(piece.part for piece in self.pieces))

    @property
    def whole_boundary(self) -> tuple[str, ...]:
        """What ``part=None`` stands for: every part of the boundary of space (without the ends of time)."""
        return self.boundary_parts

    @property
    def extent(self) -> float:
        """The longest side of the bounding box; lengths are small or large compared with it."""
        return max(high - low for low, high in self.bounds.values())

    def parts(self, part: Parts) -> tuple[str, ...]:
        """The exact names of parts, from what a user wrote: one, several, or None for the whole boundary of space.

        Numbers in names are compared as numbers (``x = 1.0`` is ``x=1``), and ``x=min``, ``x=max`` are the ends of a
        coordinate.

        Raises:
            ConfigurationError: if a part does not exist; names the nearest one.
        """
        if part is None:
            return self.whole_boundary
        given = (part,) if isinstance(part, str) else tuple(part)
        return tuple(dict.fromkeys(self._resolve(name) for name in given))

    def _resolve(self, name: str) -> str:
        known = self.boundary_parts
        if name in known:
            return name
        coordinate, _, value = (word.strip() for word in str(name).partition("="))
        if coordinate in self.bounds and value in ("min", "max"):
            value = repr(self.bounds[coordinate][value == "max"])
        # a box may have been given a prefix: "plate:x=0"
        gaps = {part: _gap(part.rpartition(":")[2], coordinate, value) for part in known}
        nearest = min(gaps.values(), default=inf)
        if nearest < _SAME_NUMBER and list(gaps.values()).count(nearest) == 1:
            return min(gaps, key=lambda part: gaps[part])
        raise ConfigurationError(f"{self!r} has no boundary part {name!r}; {hint(str(name), known)}")

    def sample(self, n: int, generator: torch.Generator, kind: str = "uniform") -> Tensor:
        """Points strictly inside, with uniform density.

        Args:
            n: number of points, kept exactly.
            generator: the only source of randomness; its state decides the points.
            kind: ``uniform``, ``sobol`` or ``latin_hypercube``.

        Returns:
            (n, d) float64.
        """
        (points,) = draw_exactly(n, self._interior_dimensions, generator, kind, self._interior, self._acceptance)
        return points

    def sample_boundary(
        self, n: int, generator: torch.Generator, part: Parts = None, kind: str = "uniform"
    ) -> tuple[Tensor, Tensor]:
        """Points on the boundary, with uniform density over all the parts asked for.

        Args:
            n: number of points, kept exactly.
            generator: the only source of randomness; its state decides the points.
            part: one name, several, or None for the whole boundary of space.
            kind: ``uniform``, ``sobol`` or ``latin_hypercube``.

        Returns:
            Points (n, d) float64 and outward unit normals (n, d_space); the normals at an end of time are zero.

        Raises:
            ConfigurationError: if a part does not exist.
        """
        names = self.parts(part)
        pieces = [piece for piece in self.pieces if piece.part in names]
        if not pieces:
            known = ", ".join(self.boundary_parts)
            raise ConfigurationError(f"{self!r} has no boundary in space; name a part: {known}")
        dimensions = max(piece.dimensions for piece in pieces)
        sizes = torch.tensor([piece.size for piece in pieces], dtype=torch.float64)
        ends = (sizes / sizes.sum()).cumsum(0)

        def place(unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            if len(pieces) == 1:
                return pieces[0].place(unit)
            # the first column chooses the piece, so that one sequence covers all of them in proportion to their size
            chosen = torch.searchsorted(ends, unit[:, 0].contiguous(), right=True).clamp(max=len(pieces) - 1)
            points = torch.empty(len(unit), len(self.coordinates), dtype=torch.float64)
            normals = torch.empty(len(unit), len(self.space), dtype=torch.float64)
            keep = torch.empty(len(unit), dtype=torch.bool)
            for index, piece in enumerate(pieces):
                rows = (chosen == index).nonzero().squeeze(1)
                points[rows], normals[rows], keep[rows] = piece.place(unit[rows, 1 : 1 + piece.dimensions])
            return points, normals, keep

        points, normals = draw_exactly(n, dimensions + (len(pieces) > 1), generator, kind, place)
        return points, normals

    def largest(self, function: Callable[[Mapping[str, Tensor]], Tensor], key: tuple[str, ...]) -> float:
        """The largest value of a function on fixed points inside, remembered under its key."""
        if key not in self._maxima:
            points = self.sample(_SCALE_POINTS, torch.Generator().manual_seed(0), "sobol")
            self._maxima[key] = float(function(self.columns(points)).max())
        return self._maxima[key]

    @cached_property
    def _maxima(self) -> dict[tuple[str, ...], float]:
        return {}

    def part_dimension(self, part: Parts) -> int:
        """Dimension of a part of the boundary: 0 is a single point, on which one sample says everything."""
        self.parts(part)
        return len(self.coordinates) - 1

    def columns(self, points: Tensor) -> dict[str, Tensor]:
        """The columns of points (n, d) by name, each (n,).

        Raises:
            InputError: if the number of columns is not the number of coordinates.
        """
        if points.ndim != 2 or points.shape[1] != len(self.coordinates):
            raise InputError(
                f"Points have the columns {', '.join(self.coordinates)}, so the shape (n, {len(self.coordinates)}); "
                f"got {tuple(points.shape)}."
            )
        return {name: points[:, column] for column, name in enumerate(self.coordinates)}

    def __mul__(self, time: Time) -> SpaceTime:
        from pinn.geometry.time import SpaceTime

        return SpaceTime(self, time)

    def __or__(self, other: Geometry) -> Union:
        from pinn.geometry.combination import Union

        return Union(self, other)

    def __and__(self, other: Geometry) -> Intersection:
        from pinn.geometry.combination import Intersection

        return Intersection(self, other)

    def __sub__(self, other: Geometry) -> Difference:
        from pinn.geometry.combination import Difference

        return Difference(self, other)


def part_names(coordinate: str, values: Sequence[float]) -> list[str]:
    """Names such as ``x=-1`` for the ends of a coordinate; with all digits where short ones would coincide."""
    # adding zero turns -0.0 into 0.0
    short = [f"{coordinate}={value + 0.0:g}" for value in values]
    return short if len(set(short)) == len(short) else [f"{coordinate}={value!r}" for value in values]


def checked_range(name: str, low: float, high: float) -> tuple[float, float]:
    """A coordinate's range as floats.

    Raises:
        ConfigurationError: if the name is no identifier, a bound is not finite, or the range is empty.
    """
    if not name.isidentifier():
        raise ConfigurationError(f"A coordinate is named like a Python variable (x, y, r1); got {name!r}.")
    low, high = float(low), float(high)
    if not (torch.isfinite(torch.tensor([low, high])).all() and low < high):
        raise ConfigurationError(f"{name} runs from a finite lower to a higher finite bound; got ({low:g}, {high:g}).")
    return low, high


def _gap(part: str, coordinate: str, value: str) -> float:
    """Relative difference between a face such as ``x=1`` and a coordinate's value; infinite if it is no such face."""
    name, _, number = part.partition("=")
    try:
        a, b = float(number), float(value)
    except ValueError:
        return inf
    return abs(a - b) / max(abs(a), abs(b), 1e-300) if name == coordinate else inf
