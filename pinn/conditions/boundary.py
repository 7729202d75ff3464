"""Conditions on parts of the boundary: values (Dirichlet), normal derivatives (Neumann), or both (Robin)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pinn.conditions.condition import Condition, ConditionPoints, Value, prescribed, wrong_value
from pinn.geometry.base import Geometry, Parts
from training.errors import ConfigurationError


class BoundaryCondition(Condition):
    """A condition on named parts of the boundary, at all times.

    Args:
        part: one name, several, or None for the whole boundary of space.
        name: of the condition; made from the part unless given.
        hard: build the condition into the solution.
        n_points: how many points; None leaves that to the stage.
        values: by field; a number, or a function of named coordinates and unknown parameters.
    """

    def __init__(
        self,
        part: Parts = None,
        *,
        name: str | None = None,
        hard: bool = False,
        n_points: int | None = None,
        **values: Value,
    ) -> None:
        kind = type(self).__name__.lower()
        written = part if part is None or isinstance(part, str) else ",".join(part)
        super().__init__(name or (kind if written is None else f"{kind}:{written}"), values, hard, n_points)
        self.part = part

    def sample(self, domain: Geometry, n: int, generator: torch.Generator, kind: str = "sobol") -> ConditionPoints:
        if domain.part_dimension(self.part) == 0:
            # a part is a single point, and every one of them counts
            drawn = [domain.sample_boundary(1, generator, name, kind) for name in domain.parts(self.part)]
            points, normals = (torch.cat(columns) for columns in zip(*drawn, strict=True))
            return ConditionPoints(points, normals)
        n = self.count(n)
        return ConditionPoints(*domain.sample_boundary(n, generator, self.part, kind))

    @abstractmethod
    def left_side(
        self,
        field: Any,
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None,
    ) -> Any:
        """What the prescribed value of a field is subtracted from.

        Args:
            field: with its derivatives, as the equations see it.
            coordinates: of the points, by name.
            points: with outward normals.
            parameters: unknown ones, by name.
        """

    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        return {
            f"{self.name}.{name}": self.left_side(fields[name], coordinates, points, parameters)
            - prescribed(value, coordinates, parameters)
            for name, value in self.values.items()
        }

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        found = super().complaints(domain, fields, parameters)
        try:
            names = domain.parts(self.part)
        except ConfigurationError as error:
            return [*found, str(error)]
        if not names:
            found.append(f"{domain!r} has no boundary in space; use Initial for the start of time.")
        ends = domain.boundary_parts[-2:] if domain.time is not None else ()
        if any(name in ends for name in names) and not isinstance(self, Dirichlet):
            found.append(f"an end of time has no normal in space; use Initial(u_{domain.time}=…).")
        return found


class Dirichlet(BoundaryCondition):
    """``u = g`` on parts of the boundary.

    Soft: the residual is ``u − g``.

    Hard: ``u = lift + d·N`` with a smooth ``d`` that vanishes exactly on the parts and nowhere else, and a lift that
    equals ``g`` on them. ``d`` is ``(c − low)/(high − low)`` at one face of an interval or box,
    ``4 (c − low)(high − c)/(high − low)²`` between two, ``1 − |x − c|²/R²`` in a ball, and a product over the edges of
    a polygon, where an edge whose line meets the inside is ``f − s + √(f² + s²)`` (an R-function of its line f and its
    extent s). Several hard conditions multiply their factors.

    >>> Dirichlet("x=-1", u=0.0)
    >>> Dirichlet(None, hard=True, u=lambda x, y: torch.sin(x) * y)

    Args:
        part, name, hard, n_points, values: as for every `BoundaryCondition`.
    """

    def left_side(
        self,
        field: Any,
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None,
    ) -> Any:
        return field


class Neumann(BoundaryCondition):
    """``∂u/∂n = g`` on parts of the boundary, with the outward unit normal n.

    Soft: the residual is ``n·∇u − g``.

    Hard (faces of an interval or box): the network sees the coordinate c of the face through a map that is flat there,
    ``u = lift + D·N(…, ξ(c), …)`` with ``ξ = high − L (1 − s)²`` at the upper, ``low + L s²`` at the lower face and
    ``low + L (1 − cos πs)/2`` at both, ``s = (c − low)/L``. A hard Dirichlet condition on the opposite face takes
    the factor ``s (2 − s)`` (or ``1 − s²``), which is flat there too; the lift has the slope g.

    Args:
        part, name, hard, n_points, values: as for every `BoundaryCondition`.
    """

    def left_side(
        self,
        field: Any,
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None,
    ) -> Any:
        return normal_derivative(field, points, coordinates)


class Robin(BoundaryCondition):
    """``α u + β ∂u/∂n = g`` on parts of the boundary, with the outward unit normal n.

    Soft: the residual is ``α u + β n·∇u − g``.

    Hard (faces of an interval or box, numbers α and β ≠ 0): as for Neumann, with the further factor ``exp(−ψ α/β)``,
    where ψ vanishes on the face and has the slope 1 along n there (and 0 on an opposite Neumann or Robin face).

    Args:
        part, name, hard, n_points, values: as for every `BoundaryCondition`.
        alpha, beta: numbers, or functions of named coordinates and unknown parameters.
    """

    def __init__(
        self,
        part: Parts = None,
        *,
        alpha: Value = 1.0,
        beta: Value = 1.0,
        name: str | None = None,
        hard: bool = False,
        n_points: int | None = None,
        **values: Value,
    ) -> None:
        super().__init__(part, name=name, hard=hard, n_points=n_points, **values)
        self.alpha = alpha
        self.beta = beta

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        known = (*domain.coordinates, *parameters)
        found = super().complaints(domain, fields, parameters)
        return found + wrong_value("alpha", self.alpha, known) + wrong_value("beta", self.beta, known)

    def left_side(
        self,
        field: Any,
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None,
    ) -> Any:
        alpha = prescribed(self.alpha, coordinates, parameters)
        beta = prescribed(self.beta, coordinates, parameters)
        return alpha * field + beta * normal_derivative(field, points, coordinates)


def normal_derivative(field: Any, points: ConditionPoints, coordinates: Mapping[str, Tensor]) -> Tensor:
    """``n·∇u`` in the shape of the field's values; the space coordinates come first, as the normals' columns do."""
    assert points.normals is not None
    total: Any = 0.0
    for column, name in enumerate(list(coordinates)[: points.normals.shape[1]]):
        slope = field.d(name)
        total = total + points.normals[:, column].reshape(slope.shape).to(slope) * slope
    return total
