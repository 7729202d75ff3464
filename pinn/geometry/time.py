"""Time, alone or with a space: ``Interval(x=(-1, 1)) * Time(0, 1)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.base import Geometry, Parts, Piece, checked_range, part_names
from training.errors import ConfigurationError


class Time(Geometry):
    """The time from start to end; by itself the domain of an ordinary differential equation.

    Its parts are its two ends, ``t=0`` and ``t=1``; it has no boundary in space.

    Args:
        start: where the initial conditions are given.
        end: later than the start.
        name: of the coordinate.

    Raises:
        ConfigurationError: if the end is not later than the start.
    """

    space = ()

    def __init__(self, start: float = 0.0, end: float = 1.0, name: str = "t") -> None:
        self.start, self.end = checked_range(name, start, end)
        self.time = name
        self.coordinates = (name,)

    def __repr__(self) -> str:
        return f"Time({self.start:g}, {self.end:g}" + ("" if self.time == "t" else f", name={self.time!r}") + ")"

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {self.coordinates[0]: (self.start, self.end)}

    @property
    def volume(self) -> float:
        return self.duration

    @property
    def whole_boundary(self) -> tuple[str, ...]:
        return ()

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        (moments,) = self.columns(points).values()
        return (moments >= self.start - tolerance) & (moments <= self.end + tolerance)

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """``(t − start)/duration`` from the start, ``(end − t)/duration`` from the end, their product from both."""
        names = self.parts(part)
        if not names:
            raise ConfigurationError("Time has no boundary in space; name one of its ends.")
        t = coordinates[self.coordinates[0]]
        factors = {self.boundary_parts[0]: (t - self.start) / self.duration}
        factors[self.boundary_parts[1]] = (self.end - t) / self.duration
        chosen = [factors[name] for name in names]
        return prod(chosen[1:], start=chosen[0])

    def moments(self, unit: Tensor) -> Tensor:
        """Unit points (m,) to times strictly between start and end, (m,)."""
        ends = torch.tensor([self.start, self.end], dtype=torch.float64)
        inner = torch.nextafter(ends, ends.flip(0))
        return (self.start + self.duration * unit).clamp(inner[0], inner[1])

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        return self.moments(unit[:, 0])[:, None], torch.ones(len(unit), dtype=torch.bool)

    def _boundary(self) -> tuple[Piece, ...]:
        names = part_names(self.coordinates[0], (self.start, self.end))
        return tuple(
            Piece(name, 1.0, 0, partial(_at_moment, moment))
            for name, moment in zip(names, (self.start, self.end), strict=True)
        )


class SpaceTime(Geometry):
    """A space that stays the same over a time; ``space * Time(0, 1)``.

    Its parts are those of the space, over the whole time, and the ends of time with the whole space
    (``t=0``, ``t=1``). The whole boundary (``part=None``) is that of the space, over the whole time.

    Raises:
        ConfigurationError: if the space has a time already, or the name of the time is one of its coordinates.
    """

    def __init__(self, space: Geometry, time: Time) -> None:
        if not isinstance(time, Time):
            raise ConfigurationError(f"A space is multiplied by Time(start, end); got {time!r}.")
        if space.time is not None:
            raise ConfigurationError(f"{space!r} has a time already.")
        if time.coordinates[0] in space.coordinates:
            raise ConfigurationError(f"{time.coordinates[0]} is a space coordinate already; give Time another name=.")
        self.base = space
        self.duration = time
        self.space = space.space
        self.time = time.time
        self.coordinates = space.coordinates + time.coordinates

    def __repr__(self) -> str:
        return f"{self.base!r} * {self.duration!r}"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {**self.base.bounds, **self.duration.bounds}

    @property
    def volume(self) -> float:
        return self.base.volume * self.duration.volume

    @property
    def volume_error(self) -> float:  # type: ignore[override]
        return self.base.volume_error * self.duration.volume

    @property
    def whole_boundary(self) -> tuple[str, ...]:
        return self.base.whole_boundary

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        self.columns(points)
        return self.base.contains(points[:, :-1], tolerance) & self.duration.contains(points[:, -1:], tolerance)

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """The product of the distance from the space's parts and that from the ends of time."""
        names = self.parts(part)
        ends = self.duration.boundary_parts
        walls = [name for name in names if name not in ends]
        factors = [self.base.distance(coordinates, walls)] if walls else []
        factors += [self.duration.distance(coordinates, name) for name in names if name in ends]
        return prod(factors[1:], start=factors[0])

    @property
    def _interior_dimensions(self) -> int:
        return self.base._interior_dimensions + 1

    @property
    def _acceptance(self) -> float:
        return self.base._acceptance

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        points, keep = self.base._interior(unit[:, :-1])
        return torch.cat([points, self.duration.moments(unit[:, -1])[:, None]], 1), keep

    def _boundary(self) -> tuple[Piece, ...]:
        duration = self.duration.volume
        walls = [
            Piece(piece.part, piece.size * duration, piece.dimensions + 1, partial(self._on_wall, piece.place))
            for piece in self.base.pieces
        ]
        names = self.duration.boundary_parts
        taken = set(names) & {piece.part for piece in walls}
        if taken:
            raise ConfigurationError(f"The name {taken.pop()!r} is both a part of space and an end of time; rename it.")
        ends = [
            Piece(name, self.base.volume, self.base._interior_dimensions, partial(self._at_end, moment))
            for name, moment in zip(names, (self.duration.start, self.duration.end), strict=True)
        ]
        return (*walls, *ends)

    def _on_wall(self, place: Callable[..., Any], unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points, normals, keep = place(unit[:, :-1])
        return torch.cat([points, self.duration.moments(unit[:, -1])[:, None]], 1), normals, keep

    def _at_end(self, moment: float, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points, keep = self.base._interior(unit)
        moments = torch.full((len(points), 1), moment, dtype=torch.float64)
        return torch.cat([points, moments], 1), torch.zeros_like(points), keep


def _at_moment(moment: float, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.full((len(unit), 1), moment, dtype=torch.float64)
    return points, torch.zeros(len(unit), 0, dtype=torch.float64), torch.ones(len(unit), dtype=torch.bool)
