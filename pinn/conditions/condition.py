"""What every condition can do: draw the points where it holds, and say by how much it is missed there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pinn.geometry.base import Geometry
from pinn.names import argument_names, call_by_name, described, hint
from training.errors import ConfigurationError

Value = float | Callable[..., Any]
"""A number, or a function of named coordinates and unknown parameters, written with torch functions."""

Values = Callable[[Tensor], Mapping[str, Tensor]]
"""Fields by name, (n,) each, at points (n, d)."""


@dataclass(frozen=True)
class ConditionPoints:
    """The points on which a condition is enforced.

    Attributes:
        points: (n, d), columns in the order of the domain's coordinates.
        normals: outward unit normals (n, d_space), or None where the condition has no use for them.
        values: what was measured at the points, (n,) per field; empty unless the condition is made of data.
        group: that many rows following each other belong together (2 for periodic pairs); chunks are multiples of it.
    """

    points: Tensor
    normals: Tensor | None = None
    values: Mapping[str, Tensor] = field(default_factory=dict)
    group: int = 1

    def __len__(self) -> int:
        return len(self.points)

    def rows(self, start: int, stop: int) -> ConditionPoints:
        """The rows from start to stop; both are multiples of ``group`` (or stop is the end)."""
        chosen = slice(start, stop)
        normals = None if self.normals is None else self.normals[chosen]
        values = {name: value[chosen] for name, value in self.values.items()}
        return ConditionPoints(self.points[chosen], normals, values, self.group)

    def to(self, like: torch.device | torch.dtype | Tensor) -> ConditionPoints:
        """The same points on another device or in another precision."""
        normals = None if self.normals is None else self.normals.to(like)
        values = {name: value.to(like) for name, value in self.values.items()}
        return ConditionPoints(self.points.to(like), normals, values, self.group)


class Condition(ABC):
    """A condition on named fields.

    Attributes:
        name: unique among the conditions of a problem; the loss terms are ``<name>.<field>``.
        hard: satisfied exactly by the form of the solution, so that it has no loss term.
        n_points: how many points it is enforced on; None leaves that to the stage.
        values: what is prescribed, by the name it was given under.
    """

    def __init__(self, name: str, values: Mapping[str, Any], hard: bool, n_points: int | None) -> None:
        if n_points is not None and n_points < 1:
            raise ConfigurationError(f"{name}: n_points is at least 1; got {n_points}.")
        self.name = name
        self.values = dict(values)
        self.hard = hard
        self.n_points = n_points

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields the condition speaks about."""
        return tuple(self.values)

    @abstractmethod
    def sample(self, domain: Geometry, n: int, generator: torch.Generator, kind: str = "sobol") -> ConditionPoints:
        """Points on which to enforce the condition.

        Args:
            domain: of the problem.
            n: how many, unless the condition has its own ``n_points``.
            generator: the only source of randomness.
            kind: ``uniform``, ``sobol`` or ``latin_hypercube``.
        """

    def follow(self, domain: Geometry, points: ConditionPoints, values: Values) -> ConditionPoints | None:
        """Other points, for a condition whose points go where the solution is; None, as for most: they stay.

        Asked when the points of the equations move.

        Args:
            domain: of the problem.
            points: as they are.
            values: the fields at any points (n, d) by name, (n,) each, without graph.
        """
        return None

    @abstractmethod
    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """By how much the fields miss the condition at each point.

        Args:
            fields: the problem's fields at the points, by name (`pinn.fields.Field`).
            coordinates: each coordinate at the points, in the shape of a field's values.
            points: where; as given by `sample`.
            parameters: unknown parameters of the problem, which values may depend on.

        Returns:
            One residual per prescribed value, named ``<name>.<field>``.
        """

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        """What is wrong with the condition in this problem; empty if nothing is."""
        found = [f"there is no field {name!r}; {hint(name, fields)}" for name in self.fields if name not in fields]
        if not self.values:
            found.append(f"no field is given a value; write for example {fields[0] if fields else 'u'}=0.")
        for name, value in self.values.items():
            found += wrong_value(name, value, (*domain.coordinates, *parameters))
        return found

    def count(self, n: int) -> int:
        """The number of points to draw."""
        return self.n_points or n

    def __repr__(self) -> str:
        values = "".join(f", {name}={_short(value)}" for name, value in self.values.items())
        return f"{type(self).__name__}({self.name!r}{values}{', hard=True' if self.hard else ''})"


def prescribed(value: Value, coordinates: Mapping[str, Any], parameters: Mapping[str, Any] | None) -> Any:
    """A prescribed value at points (or jets of them): the number, or the function called by names."""
    return call_by_name(value, {**coordinates, **(parameters or {})}) if callable(value) else value


def wrong_value(name: str, value: Any, known: tuple[str, ...]) -> list[str]:
    """What is wrong with a prescribed number or function, before it is called."""
    if callable(value):
        try:
            needed, _ = argument_names(value)
        except ConfigurationError as error:
            return [str(error)]
        return [
            f"the function for {name} asks for {unknown!r}; {hint(unknown, known)}"
            for unknown in needed
            if unknown not in known
        ]
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [f"{name} is a number or a function of {', '.join(known)}; got {_short(value)}."]
    if not abs(value) < float("inf"):
        return [f"{name} is {value}; it must be finite."]
    return []


def _short(value: Any) -> str:
    if callable(value):
        return described(value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) < 40 else f"{text[:37]}…"
