"""Polygons in the plane, convex or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.base import Geometry, Parts, Piece
from pinn.geometry.rfunctions import disjunction
from training.errors import ConfigurationError


class Polygon(Geometry):
    """The inside of a closed chain of straight edges that do not cross.

    >>> corner = Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])
    >>> corner.boundary_parts
    ('edge 1', 'edge 2', 'edge 3', 'edge 4', 'edge 5', 'edge 6')

    Args:
        vertices: (n, 2), clockwise or counter-clockwise; edge k runs from vertex k to vertex k + 1.
        coordinates: names of the two coordinates.
        edges: names of the edges, in the order of the vertices; equal names make one part.

    Raises:
        ConfigurationError: if there are fewer than three vertices, edges cross or touch, or the area is zero.
    """

    def __init__(
        self,
        vertices: Sequence[Sequence[float]],
        coordinates: Sequence[str] = ("x", "y"),
        edges: Sequence[str] | None = None,
    ) -> None:
        corners = torch.as_tensor(vertices, dtype=torch.float64)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not corners.isfinite().all():
            raise ConfigurationError(f"A polygon has three or more finite vertices (x, y); got {vertices}.")
        if len(tuple(coordinates)) != 2:
            raise ConfigurationError(f"A polygon has two coordinates; got {', '.join(coordinates)}.")
        names = list(edges) if edges is not None else [f"edge {index}" for index in range(1, len(corners) + 1)]
        if len(names) != len(corners):
            raise ConfigurationError(f"The polygon has {len(corners)} edges; {len(names)} names were given.")
        self.coordinates = self.space = tuple(coordinates)
        if _signed_area(corners) < 0:
            # edge k keeps its two ends
            corners = corners.flip(0)
            names = [*names[-2::-1], names[-1]]
        self.vertices = corners
        self.edges = tuple(names)
        following = corners.roll(-1, 0)
        self.lengths = (following - corners).norm(dim=1)
        self._check_edges(following)
        self._tangents = (following - corners) / self.lengths[:, None]
        self.normals = torch.stack([self._tangents[:, 1], -self._tangents[:, 0]], 1)

    def __repr__(self) -> str:
        corners = ", ".join(f"({x:g}, {y:g})" for x, y in self.vertices.tolist())
        return f"Polygon([{corners}])"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        low, high = self.vertices.min(0).values, self.vertices.max(0).values
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(self.coordinates)}

    @property
    def volume(self) -> float:
        return float(_signed_area(self.vertices))

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        self.columns(points)
        inside, gap = self._winding(points), self._gap(points)
        # the sign of a rounded product decides nothing on an edge
        near = gap <= abs(tolerance) + 1e-14 * self.extent
        return (inside | near) if tolerance >= 0 else (inside & ~near)

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """The product over the edges of their distances, scaled to a maximum of about 1.

        An edge counts by its line ``f = n·(x − vertex)`` where that line meets the polygon in the edge only; otherwise
        by the R-disjunction ``f − s + √(f² + s²)``, which vanishes for ``f = 0, s ≥ 0`` only, with the extent
        ``s = (ℓ²/4 − τ²)/ℓ + c f`` of the edge along its tangent τ: positive between its ends, in a lens so flat that
        no other edge reaches into it.
        """
        chosen = self.parts(part)
        places = [index for index, name in enumerate(self.edges) if name in chosen]

        def product(coordinates: Mapping[str, Any]) -> Any:
            factors = [self._edge_distance(index, coordinates) for index in places]
            return prod(factors[1:], start=factors[0])

        return product(coordinates) / self.largest(product, chosen)

    def _edge_distance(self, index: int, coordinates: Mapping[str, Any]) -> Any:
        x, y = (coordinates[name] for name in self.coordinates)
        (nx, ny), (tx, ty) = self.normals[index].tolist(), self._tangents[index].tolist()
        length = float(self.lengths[index])
        ax, ay = self.vertices[index].tolist()
        line = (ax - x) * nx + (ay - y) * ny
        flatness = self._flatness[index]
        if flatness is None:
            return line / length
        along = (x - ax) * tx + (y - ay) * ty - length / 2
        extent = (length**2 / 4 - along * along) / length + flatness * line
        return disjunction(line / length, -extent / length)

    @cached_property
    def _flatness(self) -> list[float | None]:
        """For each edge None if its line meets the polygon nowhere else, or the number c of its lens.

        The lens of an edge is where its extent is positive beyond its line; its sides leave the ends at a slope 1/c.
        """
        found: list[float | None] = []
        tiny = 1e-12 * self.extent
        for index in range(len(self.edges)):
            ends = {index, (index + 1) % len(self.edges)}
            others = [i for i in range(len(self.edges)) if i not in ends]
            inward = -(self.vertices - self.vertices[index]) @ self.normals[index]
            found.append(None if all(inward[i] > tiny for i in others) else self._lens(index))
        return found

    def _lens(self, index: int) -> float:
        """The least c = 1, 2, 4, … for which the lens beyond an edge holds no other part of the polygon."""
        length = float(self.lengths[index])
        for power in range(40):
            flatness = 2.0**power
            along = torch.linspace(-1, 1, 401, dtype=torch.float64)[1:-1] * length / 2
            depth = (length**2 / 4 - along**2) / (length * flatness)
            middle = self.vertices[index] + self._tangents[index] * length / 2
            # the farthest points of the lens, and others between them and the edge
            layers = [
                middle + along[:, None] * self._tangents[index] + share * depth[:, None] * self.normals[index]
                for share in (1.02, 0.7, 0.4, 0.1)
            ]
            if not self._winding(torch.cat(layers)).any():
                return flatness
        raise ConfigurationError(f"{self!r}: {self.edges[index]} is folded onto another edge.")

    @property
    def _acceptance(self) -> float:
        return self.volume / prod(high - low for low, high in self.bounds.values())

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.vertices.min(0).values, self.vertices.max(0).values
        points = low + (high - low) * unit
        return points, self.contains(points, -1e-12 * self.extent)

    def _boundary(self) -> tuple[Piece, ...]:
        return tuple(
            Piece(name, float(self.lengths[index]), 1, partial(self._on_edge, index))
            for index, name in enumerate(self.edges)
        )

    def _on_edge(self, index: int, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points = self.vertices[index] + self.lengths[index] * unit * self._tangents[index]
        return points, self.normals[index].expand_as(points), torch.ones(len(unit), dtype=torch.bool)

    def _winding(self, points: Tensor) -> Tensor:
        """Whether a ray from each point to the right crosses the boundary an odd number of times; (n,) bool."""
        a, b = self.vertices.to(points), self.vertices.roll(-1, 0).to(points)
        x, y = points[:, :1], points[:, 1:]
        spans = (a[:, 1] > y) != (b[:, 1] > y)
        rise = torch.where(a[:, 1] == b[:, 1], torch.ones_like(a[:, 1]), b[:, 1] - a[:, 1])
        crossing = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise
        return (spans & (x < crossing)).sum(1) % 2 == 1

    def _gap(self, points: Tensor) -> Tensor:
        """Distance of each point from the nearest edge, (n,)."""
        offset = points[:, None, :] - self.vertices.to(points)
        along = (offset * self._tangents.to(points)).sum(2).clamp(torch.zeros(()).to(points), self.lengths.to(points))
        return (offset - along[:, :, None] * self._tangents.to(points)).norm(dim=2).min(1).values

    def _check_edges(self, following: Tensor) -> None:
        tiny = 1e-12 * self.extent
        if (self.lengths <= tiny).any():
            index = int((self.lengths <= tiny).nonzero()[0])
            raise ConfigurationError(f"{self!r}: {self.edges[index]} has no length; a vertex is given twice.")
        n = len(self.vertices)
        for i in range(n):
            for j in range(i + 1, n):
                neighbours = j - i in (1, n - 1)
                if _meet(self.vertices[i], following[i], self.vertices[j], following[j], neighbours):
                    raise ConfigurationError(f"{self!r}: {self.edges[i]} and {self.edges[j]} cross or overlap.")
        if self.volume <= tiny * self.extent:
            raise ConfigurationError(f"{self!r} has no area.")


def _signed_area(corners: Tensor) -> Tensor:
    x, y = corners.unbind(1)
    return (x * y.roll(-1) - x.roll(-1) * y).sum() / 2


def _meet(a: Tensor, b: Tensor, c: Tensor, d: Tensor, neighbours: bool) -> bool:
    """Whether two segments have a point in common, other than the common end of neighbours."""

    def side(p: Tensor, q: Tensor, r: Tensor) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    if neighbours:
        shared = b if bool((b == c).all()) else a
        first, second = (a if shared is b else b) - shared, (d if bool((c == shared).all()) else c) - shared
        product = float(first[0] * second[1] - first[1] * second[0])
        straight = abs(product) <= 1e-14 * float(first.norm() * second.norm())
        return straight and float(first @ second) > 0
    s1, s2, s3, s4 = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
    if s1 * s2 < 0 and s3 * s4 < 0:
        return True

    def on(p: Tensor, q: Tensor, r: Tensor, s: float) -> bool:
        low, high = torch.minimum(p, q), torch.maximum(p, q)
        return s == 0 and bool(((r >= low) & (r <= high)).all())

    return on(a, b, c, s1) or on(a, b, d, s2) or on(c, d, a, s3) or on(c, d, b, s4)
