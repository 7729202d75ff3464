"""Periodic coordinates: what leaves at one end enters at the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.conditions.condition import Condition, ConditionPoints
from pinn.geometry.base import Geometry
from pinn.names import hint
from training.errors import ConfigurationError


class Periodic(Condition):
    """``∂ᵏu/∂xᵏ (low) = ∂ᵏu/∂xᵏ (high)`` for k = 0 … order.

    Soft: the residuals are the differences between the two ends, at equal other coordinates.

    Hard: the network sees ``cos(2πk (x − low)/L)`` and ``sin(2πk (x − low)/L)`` in place of x, with the period
    L = high − low, so that every derivative is periodic: ``u = N(cos, sin, …)``. This holds for all fields.

    >>> Periodic("x")
    >>> Periodic("x", hard=True)

    Args:
        coordinate: name of a coordinate with two faces.
        order: highest derivative that agrees (soft only); 1 for equations of second order, 3 for fourth order.
        fields: their names; None for all.
        name: of the condition.
        hard: by exact embedding.
        n_points: how many pairs of points; None leaves that to the stage.
    """

    def __init__(
        self,
        coordinate: str,
        order: int = 1,
        *,
        fields: Sequence[str] | None = None,
        name: str | None = None,
        hard: bool = False,
        n_points: int | None = None,
    ) -> None:
        super().__init__(name or f"periodic:{coordinate}", {}, hard, n_points)
        if order < 0:
            raise ConfigurationError(f"{self.name}: the order of the highest derivative is 0 or more; got {order}.")
        self.coordinate = coordinate
        self.order = order
        self._fields = None if fields is None else tuple(fields)

    def __repr__(self) -> str:
        return f"Periodic({self.coordinate!r}{', hard=True' if self.hard else f', order={self.order}'})"

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it was restricted to; empty stands for all of the problem."""
        return self._fields or ()

    def period(self, domain: Geometry) -> float:
        """The length of the coordinate's range."""
        low, high = domain.bounds[self.coordinate]
        return high - low

    def sample(self, domain: Geometry, n: int, generator: torch.Generator, kind: str = "sobol") -> ConditionPoints:
        """Pairs of points: (2n, d), each lower one followed by its partner at the upper end."""
        n = 1 if domain.part_dimension(f"{self.coordinate}=min") == 0 else self.count(n)
        lower, _ = domain.sample_boundary(n, generator, f"{self.coordinate}=min", kind)
        upper = lower.clone()
        upper[:, domain.coordinates.index(self.coordinate)] = domain.bounds[self.coordinate][1]
        return ConditionPoints(torch.stack([lower, upper], 1).reshape(2 * n, -1), group=2)

    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        found = {}
        for name in self.fields or fields:
            for order in range(self.order + 1):
                # adding zero turns a field into the tensor of its values
                both = fields[name].d(*(self.coordinate,) * order) if order else fields[name] + 0.0
                suffix = f"_{self.coordinate * order}" if order else ""
                found[f"{self.name}.{name}{suffix}"] = both[0::2] - both[1::2]
        return found

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        found = [f"there is no field {name!r}; {hint(name, fields)}" for name in self.fields if name not in fields]
        if self.coordinate not in domain.space:
            return [*found, f"there is no space coordinate {self.coordinate!r}; {hint(self.coordinate, domain.space)}"]
        try:
            domain.parts((f"{self.coordinate}=min", f"{self.coordinate}=max"))
        except ConfigurationError:
            found.append(f"{domain!r} has no two faces {self.coordinate}=low and {self.coordinate}=high to connect.")
        if self.hard and self.fields and set(self.fields) != set(fields):
            found.append("the exact embedding is shared by all fields; leave fields= out, or choose hard=False.")
        return found
