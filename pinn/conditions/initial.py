"""Conditions at the start of time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pinn.conditions.condition import Condition, ConditionPoints, Value, prescribed, wrong_value
from pinn.geometry.base import Geometry
from pinn.names import hint


class Initial(Condition):
    """``u = u₀`` at the start of time; for equations of second order in time ``∂u/∂t = v₀`` as well.

    Soft: the residuals are ``u − u₀`` and ``u_t − v₀``.

    Hard: ``u = u₀ + τ N`` with ``τ = (t − start)/duration``; with both given, ``u = u₀ + (t − start) v₀ + τ² N``. With
    a ``ramp`` ``τ = tanh((t − start)/ramp)``, which soon is one: then N is as large as the solution at all times, where
    ``τ²`` of a fast wave asks for a hundred times more at the start.

    >>> Initial(u=lambda x: -torch.sin(torch.pi * x), hard=True)
    >>> Initial(u=lambda x: torch.sin(x), u_t=0.0)

    Args:
        name: of the condition.
        hard: build the condition into the solution.
        n_points: how many points; None leaves that to the stage.
        values: by field, or by field and the name of the time (``u_t``, ``u_tt``); a number or a function of named
            coordinates and unknown parameters.
        time: name of the time coordinate.
        ramp: of a hard condition: time after which the solution is free of its start; None: the whole duration, and
            ``τ`` without tanh.
    """

    def __init__(
        self,
        *,
        name: str = "initial",
        hard: bool = False,
        n_points: int | None = None,
        time: str = "t",
        ramp: float | None = None,
        **values: Value,
    ) -> None:
        self.time = time
        self.ramp = ramp
        super().__init__(name, values, hard, n_points)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names as given, without the orders in time."""
        return tuple(dict.fromkeys(name for name, _ in map(self._split, self.values)))

    def orders(self, field: str) -> dict[int, Value]:
        """The values prescribed for a field, by the order of the time derivative."""
        return {order: self.values[key] for key in self.values for name, order in [self._split(key)] if name == field}

    def sample(self, domain: Geometry, n: int, generator: torch.Generator, kind: str = "sobol") -> ConditionPoints:
        n = 1 if domain.part_dimension(f"{domain.time}=min") == 0 else self.count(n)
        points, _ = domain.sample_boundary(n, generator, f"{domain.time}=min", kind)
        return ConditionPoints(points)

    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        points: ConditionPoints,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        found = {}
        for key, value in self.values.items():
            name, order = self._split(key)
            left = fields[name].d(*(self.time,) * order) if order else fields[name]
            found[f"{self.name}.{key}"] = left - prescribed(value, coordinates, parameters)
        return found

    def complaints(self, domain: Geometry, fields: tuple[str, ...], parameters: tuple[str, ...]) -> list[str]:
        if domain.time is None:
            return [f"{domain!r} has no time; multiply it by Time(start, end)."]
        if domain.time != self.time:
            return [f"the time is called {domain.time}; write Initial(time={domain.time!r}, …)."]
        names = [*fields, *(f"{name}_{self.time}" for name in fields)]
        found = [] if self.values else [f"no field is given a value; write for example {fields[0]}=0."]
        for key, value in self.values.items():
            if self._split(key)[0] not in fields:
                found.append(f"there is no field {key!r}; {hint(key, names)}")
            found += wrong_value(key, value, (*domain.space, *parameters))
        if self.ramp is not None and not (self.hard and self.ramp > 0):
            found.append(f"ramp={self.ramp}: a positive time, and for a hard condition only.")
        for name in self.fields:
            orders = sorted(self.orders(name))
            if self.hard and orders != list(range(len(orders))):
                found.append(f"a hard condition on a derivative of {name} in time needs {name} itself as well.")
        return found

    def _split(self, key: str) -> tuple[str, int]:
        """``u_tt`` to ("u", 2)."""
        match = re.fullmatch(f"(.+)_((?:{re.escape(self.time)})+)", key)
        return (match[1], len(match[2]) // len(self.time)) if match else (key, 0)
