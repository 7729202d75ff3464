"""Geometries made of two others: ``a | b``, ``a & b``, ``a − b``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.ball import Ball
from pinn.geometry.base import Geometry, Parts, Piece
from pinn.geometry.box import Box
from pinn.geometry.rfunctions import conjunction, disjunction
from training.errors import ConfigurationError

_PROBES = 2**16
"""Sobol points for volumes without a closed form."""

_PART_PROBES = 4096
"""Points by which a part is found to have survived, and how much of it."""

_STEP = 1e-9
"""A boundary point is probed this far to both sides of the boundary, in units of the extent."""


class Combination(Geometry):
    """What two geometries in the same coordinates make together.

    Its parts are those parts of either boundary that are left, under their names; equal names make one part. A part
    of which less than 1/4096 is left may be missed.

    Raises:
        ConfigurationError: if the coordinates differ, or one of them has a time (multiply the combination by Time).
    """

    sign = ""

    def __init__(self, a: Geometry, b: Geometry) -> None:
        for geometry in (a, b):
            if geometry.time is not None:
                raise ConfigurationError(f"Combine spaces first and multiply by Time then; {geometry!r} has a time.")
        if a.coordinates != b.coordinates:
            raise ConfigurationError(
                f"{a!r} and {b!r} have different coordinates: {', '.join(a.coordinates)}; {', '.join(b.coordinates)}."
            )
        self.a, self.b = a, b
        self.coordinates = self.space = a.coordinates
        if any(low >= high for low, high in self.bounds.values()):
            raise ConfigurationError(f"{self!r} is empty.")

    def __repr__(self) -> str:
        return f"({self.a!r} {self.sign} {self.b!r})"

    @abstractmethod
    def _volume_with(self, common: float) -> float:
        """The volume, from that of the intersection of a and b."""

    @property
    def volume(self) -> float:
        return self._volume_with(self._common[0])

    @property
    def volume_error(self) -> float:  # type: ignore[override]
        return sqrt(self._common[1] ** 2 + self.a.volume_error**2 + self.b.volume_error**2)

    @cached_property
    def _common(self) -> tuple[float, float]:
        """Volume of the intersection of a and b, and its standard error."""
        return common_volume(self.a, self.b)

    @property
    def _box_volume(self) -> float:
        return prod(high - low for low, high in self.bounds.values())

    @cached_property
    def _share(self) -> float:
        """Share of the bounding box that is inside."""
        share = self.volume / self._box_volume
        if share <= 0:
            raise ConfigurationError(f"{self!r} is empty.")
        return min(share, 1.0)

    @property
    def _acceptance(self) -> float:
        return min(self._share, 0.999)

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        low, high = torch.tensor(list(self.bounds.values()), dtype=torch.float64).unbind(1)
        points = low + (high - low) * unit
        return points, self.contains(points, -1e-12 * self.extent)

    def _boundary(self) -> tuple[Piece, ...]:
        return (*self._pieces_of_a, *self._pieces_of_b)

    @cached_property
    def _pieces_of_a(self) -> tuple[Piece, ...]:
        return self._left_of(self.a, None)

    @cached_property
    def _pieces_of_b(self) -> tuple[Piece, ...]:
        return self._left_of(self.b, self.a)

    def _left_of(self, own: Geometry, other: Geometry | None) -> tuple[Piece, ...]:
        """The pieces of one operand of which something is left."""
        found = []
        for piece in own.pieces:
            candidate = replace(piece, place=partial(self._left_over, piece.place, other))
            probes = torch.quasirandom.SobolEngine(max(piece.dimensions, 1), scramble=True, seed=0)
            unit = probes.draw(_PART_PROBES, dtype=torch.float64)[:, : piece.dimensions].clamp(1e-12, 1 - 1e-12)
            if candidate.place(unit)[2].any():
                found.append(candidate)
        return tuple(found)

    def _left_over(
        self, place: Callable[..., Any], other: Geometry | None, unit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates on one boundary, a mask of those that bound the combination, and normals pointing out of it."""
        points, normals, keep = place(unit)
        step = _STEP * self.extent
        behind = self.contains(points - step * normals, 0.0)
        ahead = self.contains(points + step * normals, 0.0)
        keep = keep & (behind != ahead)
        if other is not None:
            # a boundary that both have is drawn from once
            keep = keep & ~(other.contains(points, step) & ~other.contains(points, -step))
        return points, torch.where(ahead[:, None], -normals, normals), keep


class Union(Combination):
    """All points of a or b; ``a | b``. Boundaries inside the other one are gone."""

    sign = "|"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        a, b = self.a.bounds, self.b.bounds
        return {name: (min(a[name][0], b[name][0]), max(a[name][1], b[name][1])) for name in self.coordinates}

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        inside = self.a.contains(points, tolerance) | self.b.contains(points, tolerance)
        if tolerance < 0:
            inside = inside | self._across_seam(points, tolerance)
        return inside

    def _across_seam(self, points: Tensor, tolerance: float) -> Tensor:
        """Points near the boundaries of both that are surrounded by the union, where a and b touch in a face."""
        near = self.a.contains(points, -tolerance) & self.b.contains(points, -tolerance)
        rows = near.nonzero().squeeze(1)
        if len(rows):
            steps = 2 * tolerance * torch.cat([torch.eye(points.shape[1]), -torch.eye(points.shape[1])]).to(points)
            around = (points[rows, None, :] + steps).reshape(-1, points.shape[1])
            inside = self.a.contains(around, 0.0) | self.b.contains(around, 0.0)
            near = near.index_put((rows,), inside.reshape(len(rows), -1).all(1))
        return near

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """For the whole boundary the R-disjunction of the two distances; parts of a union have none."""
        if set(self.parts(part)) != set(self.boundary_parts):
            raise ConfigurationError(
                f"{self!r}: a smooth distance is known from the whole boundary only; make the condition soft, or "
                "describe the shape as one Polygon."
            )

        def either(coordinates: Mapping[str, Any]) -> Any:
            return disjunction(signed(self.a, coordinates), signed(self.b, coordinates))

        return either(coordinates) / self.largest(either, self.boundary_parts)

    def _volume_with(self, common: float) -> float:
        return self.a.volume + self.b.volume - common


class Intersection(Combination):
    """All points of both a and b; ``a & b``."""

    sign = "&"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        a, b = self.a.bounds, self.b.bounds
        return {name: (max(a[name][0], b[name][0]), min(a[name][1], b[name][1])) for name in self.coordinates}

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        return self.a.contains(points, tolerance) & self.b.contains(points, tolerance)

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """The product of the distances from the parts of a and of b that are left."""
        return _product_over(self, coordinates, self.parts(part), lambda b, c, names: b.distance(c, names))

    def _volume_with(self, common: float) -> float:
        return common


class Difference(Combination):
    """All points of a that are not inside b; ``a - b``. The normals of b's boundary point into b."""

    sign = "-"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return self.a.bounds

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        outside = ~self.b.contains(points, -tolerance)
        if tolerance == 0:
            # the boundary of b belongs to the difference
            outside = outside | ~self.b.contains(points, -1e-14 * self.extent)
        return self.a.contains(points, tolerance) & outside

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """The product of the distance from the parts of a and the one from b as seen from outside."""

        def outside(b: Geometry, coordinates: Mapping[str, Any], names: tuple[str, ...]) -> Any:
            left = {piece.part for piece in self._pieces_of_b}
            if set(names) != left:
                raise ConfigurationError(
                    f"{self!r}: a smooth distance is known from all that is left of {b!r} only; make the condition "
                    "soft, or describe the shape as one Polygon."
                )
            return -signed(b, coordinates)

        return _product_over(self, coordinates, self.parts(part), outside)

    def _volume_with(self, common: float) -> float:
        return self.a.volume - common


def _product_over(
    whole: Combination,
    coordinates: Mapping[str, Any],
    names: tuple[str, ...],
    from_b: Callable[[Geometry, Mapping[str, Any], tuple[str, ...]], Any],
) -> Any:
    of_a = tuple(dict.fromkeys(piece.part for piece in whole._pieces_of_a if piece.part in names))
    of_b = tuple(dict.fromkeys(piece.part for piece in whole._pieces_of_b if piece.part in names))

    def product(coordinates: Mapping[str, Any]) -> Any:
        factors = [whole.a.distance(coordinates, of_a)] if of_a else []
        if of_b:
            factors.append(from_b(whole.b, coordinates, of_b))
        return prod(factors[1:], start=factors[0])

    return product(coordinates) / whole.largest(product, names)


def signed(geometry: Geometry, coordinates: Mapping[str, Any]) -> Any:
    """A smooth function that is positive inside, zero on the boundary and negative outside.

    Raises:
        ConfigurationError: if none is known for this geometry.
    """
    if isinstance(geometry, Ball):
        return geometry.distance(coordinates)
    if isinstance(geometry, Box):
        slabs = [geometry.distance(coordinates, (f"{name}=min", f"{name}=max")) for name in geometry.coordinates]
    elif isinstance(geometry, Union):
        return disjunction(signed(geometry.a, coordinates), signed(geometry.b, coordinates))
    elif isinstance(geometry, Intersection):
        slabs = [signed(geometry.a, coordinates), signed(geometry.b, coordinates)]
    elif isinstance(geometry, Difference):
        slabs = [signed(geometry.a, coordinates), -signed(geometry.b, coordinates)]
    else:
        raise ConfigurationError(
            f"No smooth function is known that tells the inside of {geometry!r} from its outside; "
            "make the condition soft."
        )
    total = slabs[0]
    for slab in slabs[1:]:
        total = conjunction(total, slab)
    return total


def common_volume(a: Geometry, b: Geometry) -> tuple[float, float]:
    """Volume of the intersection of two geometries, and one standard error (0.0 where it is known exactly).

    Exact for two boxes, for boxes of bounds that do not meet, and where the bounds of one lie in a box that is the
    other; otherwise by 65,536 points, with the error of independent ones.
    """
    low = [max(a.bounds[name][0], b.bounds[name][0]) for name in a.coordinates]
    high = [min(a.bounds[name][1], b.bounds[name][1]) for name in a.coordinates]
    if any(lower >= upper for lower, upper in zip(low, high, strict=True)):
        return 0.0, 0.0
    if isinstance(a, Box) and isinstance(b, Box):
        return prod(upper - lower for lower, upper in zip(low, high, strict=True)), 0.0
    for inner, outer in ((a, b), (b, a)):
        if _encloses(outer, inner):
            return inner.volume, inner.volume_error
    lower, upper = torch.tensor([low, high], dtype=torch.float64)
    engine = torch.quasirandom.SobolEngine(len(low), scramble=True, seed=0)
    points = lower + (upper - lower) * engine.draw(_PROBES, dtype=torch.float64)
    share = float((a.contains(points) & b.contains(points)).double().mean())
    box = float((upper - lower).prod())
    return share * box, box * sqrt(max(share * (1 - share), 1 / _PROBES) / _PROBES)


def _encloses(outer: Geometry, inner: Geometry) -> bool:
    """Whether inner certainly lies in outer: its bounding box in a box, or in a ball by its farthest corner."""
    if isinstance(outer, Box):
        pairs = [(outer.bounds[name], inner.bounds[name]) for name in outer.space]
        return all(around[0] <= within[0] and within[1] <= around[1] for around, within in pairs)
    if isinstance(outer, Ball):
        if isinstance(inner, Ball):
            gap = sqrt(sum((p - q) ** 2 for p, q in zip(outer.center, inner.center, strict=True)))
            return gap + inner.radius <= outer.radius
        sides = zip(inner.bounds.values(), outer.center, strict=True)
        farthest = [max(abs(low - middle), abs(high - middle)) for (low, high), middle in sides]
        return sum(value**2 for value in farthest) <= outer.radius**2
    return False
