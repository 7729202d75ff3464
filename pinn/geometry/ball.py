"""Disks and balls in any number of named dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gamma, pi
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.base import Geometry, Parts, Piece
from training.errors import ConfigurationError

_INSIDE = 1 - 2.0**-50
"""Radii are shrunk by this, so that rounding carries no interior point onto the sphere."""


class Ball(Geometry):
    """All points within a radius of a centre.

    Its boundary is one part, named ``sphere`` unless given another name.

    Args:
        center: one number per coordinate.
        radius: positive.
        coordinates: their names.
        name: of the boundary.

    Raises:
        ConfigurationError: if the radius is not positive, or centre and coordinates differ in number.
    """

    def __init__(
        self, center: Sequence[float], radius: float, coordinates: Sequence[str] = ("x", "y", "z"), name: str = "sphere"
    ) -> None:
        self.coordinates = self.space = tuple(coordinates)
        self.center = tuple(float(value) for value in center)
        self.radius = float(radius)
        self.name = name
        if len(self.center) != len(self.coordinates) or len(set(self.coordinates)) != len(self.coordinates):
            raise ConfigurationError(
                f"The centre {self.center} needs one number for each coordinate: {', '.join(self.coordinates)}."
            )
        if not (0 < self.radius < float("inf") and all(abs(value) < float("inf") for value in self.center)):
            raise ConfigurationError(f"A radius is positive and finite; got radius {radius} about {self.center}.")
        self._middle = torch.tensor(self.center, dtype=torch.float64)

    def __repr__(self) -> str:
        center = ", ".join(f"{value:g}" for value in self.center)
        return f"{type(self).__name__}(({center}), {self.radius:g})"

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        middle = zip(self.coordinates, self.center, strict=True)
        return {name: (value - self.radius, value + self.radius) for name, value in middle}

    @property
    def volume(self) -> float:
        d = len(self.coordinates)
        return pi ** (d / 2) / gamma(d / 2 + 1) * self.radius**d

    def contains(self, points: Tensor, tolerance: float = 0.0) -> Tensor:
        self.columns(points)
        return (points - self._middle.to(points)).norm(dim=1) <= self.radius + tolerance

    def distance(self, coordinates: Mapping[str, Any], part: Parts = None) -> Any:
        """``(R² − |x − c|²)/R²``: 1 at the centre, zero on the sphere, negative outside."""
        self.parts(part)
        squares = [(coordinates[name] - value) ** 2 for name, value in zip(self.space, self.center, strict=True)]
        return 1 - sum(squares[1:], start=squares[0]) / self.radius**2

    @property
    def _interior_dimensions(self) -> int:
        d = len(self.coordinates)
        return d if d <= 2 else d + 1

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        d = len(self.coordinates)
        radii = self.radius * _INSIDE * unit[:, :1] ** (1 / d)
        return self._middle + radii * self._directions(unit[:, 1:]), torch.ones(len(unit), dtype=torch.bool)

    def _boundary(self) -> tuple[Piece, ...]:
        d = len(self.coordinates)
        surface = d * self.volume / self.radius
        if d == 1:
            raise ConfigurationError("A ball in one dimension is an Interval.")
        return (Piece(self.name, surface, 1 if d == 2 else d, self._on_sphere),)

    def _on_sphere(self, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normals = self._directions(unit)
        return self._middle + self.radius * normals, normals, torch.ones(len(unit), dtype=torch.bool)

    def _directions(self, unit: Tensor) -> Tensor:
        """Unit vectors (m, d), uniform on the sphere: an angle for d = 2, normalised Gaussians beyond."""
        if len(self.coordinates) == 2:
            angles = 2 * pi * unit[:, 0]
            return torch.stack([angles.cos(), angles.sin()], 1)
        vectors = torch.special.ndtri(unit)
        return vectors / vectors.norm(dim=1, keepdim=True)


class Disk(Ball):
    """All points within a radius of a centre in the plane.

    Its boundary is one part, named ``circle`` unless given another name.

    Args:
        center: two numbers.
        radius: positive.
        coordinates: the names of both coordinates.
        name: of the boundary.

    Raises:
        ConfigurationError: if the radius is not positive, or there are not two coordinates.
    """

    def __init__(
        self, center: Sequence[float], radius: float, coordinates: Sequence[str] = ("x", "y"), name: str = "circle"
    ) -> None:
        if len(tuple(coordinates)) != 2:
            raise ConfigurationError(f"A disk has two coordinates; got {', '.join(coordinates)}. Use Ball.")
        super().__init__(center, radius, coordinates, name)
