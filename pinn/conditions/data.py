"""Measured values at given points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.conditions.condition import Condition, ConditionPoints
from pinn.geometry.base import Geometry
from pinn.names import hint
from training.errors import InputError

Column = float | Sequence[float] | np.ndarray | Tensor


class Data(Condition):
    """``u(xᵢ) = yᵢ`` at given points, the first step of every inverse problem.

    Soft: the residuals are ``u(xᵢ) − yᵢ``.

    Hard (domains with one coordinate, at most 50 points without noise): ``u = lift + d·Π_i (x − xᵢ)/c·N`` with the
    factors d of the other hard conditions, c the largest size of the product, and a lift that goes through all points,
    ``lift + d Σ_i w_i exp(−(x − xᵢ)²/ℓ²)``, ℓ half the smallest gap.

    >>> Data({"x": [0.1, 0.7], "t": [0.0, 0.5]}, u=[0.3, -0.2])
    >>> Data({"x": 0.0, "y": 0.0}, name="pressure level", p=0.0)

    Args:
        points: columns by coordinate name, or an (n, d) table in the order of the problem's coordinates.
        name: of the condition.
        hard: build the values into the solution.
        n_points: draw that many of the points each time; None takes all of them.
        values: by field; (n,) each, or one number for all points.

    Raises:
        InputError: if lengths differ, or anything is not finite; names the column and the row.
    """

    def __init__(
        self,
        points: Mapping[str, Column] | Column | Sequence[Sequence[float]],
        *,
        name: str = "data",
        hard: bool = False,
        n_points: int | None = None,
        **values: Column,
    ) -> None:
        super().__init__(name, values, hard, n_points)
        self.columns: tuple[str, ...] | None = None
        if isinstance(points, Mapping):
            self.columns = tuple(points)
            stacked = [_column(name, column, value) for column, value in points.items()]
            length = max((len(column) for column in stacked), default=0)
            self.points = torch.stack([_stretched(name, c, v, length) for c, v in zip(points, stacked, strict=True)], 1)
        else:
            table = torch.as_tensor(np.asarray(points), dtype=torch.float64)
            self.points = table[:, None] if table.ndim == 1 else table
        if self.points.ndim != 2 or len(self.points) == 0:
            shape = tuple(self.points.shape)
            raise InputError(f"{name}: the points are a table (n, d) with at least one row; got the shape {shape}.")
        for row in (~self.points.isfinite().all(1)).nonzero()[:1]:
            raise InputError(f"{name}: row {int(row)} of the points is not finite: {self.points[row[0]].tolist()}.")
        self.measured = {
            field: _stretched(name, field, _column(name, field, value), len(self.points))
            for field, value in values.items()
        }

    def sample(self, domain: Geometry, n: int, generator: torch.Generator, kind: str = "sobol") -> ConditionPoints:
        """All of the points, or ``n_points`` of them drawn without replacement; n and kind are not used."""
        points = self.ordered(domain)
        if self.n_points is None or self.n_points >= len(points):
            return ConditionPoints(points, values=self.measured)
        rows = torch.randperm(len(points), generator=generator)[: self.n_points]
        return ConditionPoints(points[rows], values={name: value[rows] for name, value in self.measured.items()})

    def ordered(self, domain: Geometry) -> Tensor:
        """The points (n, d) with columns in the order of the domain's coordinates."""
        if self.columns is None:
            return self.points
        return self.points[:, [self.columns.index(name) for name in domain.coordinates]]

    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        shape = next(iter(coordinates.values())).shape
        return {f"{self.name}.{name}": fields[name] - points.values[name].reshape(shape) for name in self.fields}

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        found = [f"there is no field {name!r}; {hint(name, fields)}" for name in self.fields if name not in fields]
        if not self.fields:
            found.append(f"no field is given a value; write for example {fields[0]}=….")
        if self.columns is not None and set(self.columns) != set(domain.coordinates):
            wrong = sorted(set(self.columns) ^ set(domain.coordinates))
            return [*found, f"the points have the columns {', '.join(self.columns)}; " + _difference(wrong, domain)]
        if self.points.shape[1] != len(domain.coordinates):
            names = ", ".join(domain.coordinates)
            return [*found, f"the points have {self.points.shape[1]} columns, the coordinates are {names}."]
        points = self.ordered(domain)
        # measured positions carry rounding
        outside = ~domain.contains(points, 1e-9 * domain.extent)
        if outside.any():
            first = points[outside][0]
            place = ", ".join(f"{name}={value:g}" for name, value in zip(domain.coordinates, first, strict=True))
            found.append(f"{int(outside.sum())} of {len(points)} points are outside the domain, the first at {place}.")
        return found


def _column(condition: str, name: str, values: Any) -> Tensor:
    try:
        column = torch.as_tensor(np.asarray(values), dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{condition}: {name} is a column of numbers; got {type(values).__name__}.") from error
    column = column.reshape(1) if column.ndim == 0 else column.squeeze(1) if column.shape[1:] == (1,) else column
    if column.ndim != 1:
        raise InputError(f"{condition}: {name} is one column of numbers; got the shape {tuple(column.shape)}.")
    bad = (~column.isfinite()).nonzero()
    if len(bad):
        row = int(bad[0])
        raise InputError(f"{condition}: row {row} of {name} is {column[row].item()}; leave such rows out.")
    return column


def _stretched(condition: str, name: str, column: Tensor, length: int) -> Tensor:
    if len(column) not in (1, length):
        raise InputError(f"{condition}: {name} has {len(column)} values for {length} points.")
    return column.expand(length).clone()


def _difference(wrong: Sequence[str], domain: Geometry) -> str:
    missing = [name for name in wrong if name in domain.coordinates]
    if missing:
        return f"{', '.join(missing)} is missing."
    return f"{wrong[0]!r} is no coordinate: {hint(wrong[0], domain.coordinates)}"
