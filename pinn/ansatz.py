"""The form of a solution that satisfies its hard conditions whatever the network says: ``u = lift + factor·N``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from pinn.conditions.boundary import BoundaryCondition, Dirichlet, Robin
from pinn.conditions.data import Data
from pinn.conditions.initial import Initial
from pinn.geometry.base import Geometry
from pinn.geometry.box import Box
from pinn.geometry.time import SpaceTime
from pinn.lift import (
    Axis,
    Coordinates,
    Face,
    Lift,
    across,
    along_axes,
    blended,
    everywhere,
    from_start,
    same,
    through_points,
)
from pinn.names import call_by_name

if TYPE_CHECKING:
    from pinn.problem import Problem

__all__ = ["Ansatz", "box_faces"]


def box_faces(domain: Geometry) -> dict[str, tuple[str, float, int]]:
    """Coordinate, value and side (-1 low, +1 high) of each flat face of a domain that is a box in space; else empty."""
    space = domain.base if isinstance(domain, SpaceTime) else domain
    return space.faces() if isinstance(space, Box) else {}


class Ansatz:
    """Lift, factor and network inputs that follow from the hard conditions of a problem.

    Args:
        problem: with conditions that agree with its domain.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.domain = problem.domain
        self.faces = box_faces(problem.domain)
        self._flat = self._flat_ends()
        self._lifts = {name: self._lift(name) for name in problem.fields}

    def terms(
        self, fields: Sequence[str], coordinates: Coordinates, parameters: Mapping[str, Any] | None
    ) -> dict[str, tuple[Any, Any]]:
        """Lift and factor by field; None where there is none."""
        given = self.problem.lift
        own = {} if given is None else dict(call_by_name(given, {**coordinates, **(parameters or {})}))
        found = {}
        for name in fields:
            automatic = self._lifts[name]
            lift = own[name] if name in own else automatic(coordinates, parameters) if automatic else None
            found[name] = (lift, self._factor(name, coordinates))
        return found

    @staticmethod
    def compose(terms: tuple[Any, Any], network: Any) -> Any:
        """``lift + factor·N``."""
        lift, factor = terms
        product = network if factor is None else factor * network
        return product if lift is None else lift + product

    def network_coordinates(self, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """The coordinates, with those that end in a hard Neumann or Robin face replaced by two that are flat there.

        At one face, with δ the scaled distance from it: δ² and δ³; between two: s²(3 − 2s) and s²(1 − s)². Every
        smooth function that is flat at the faces is a smooth function of the two.
        """
        found: dict[str, Any] = {}
        for name, value in coordinates.items():
            if name not in self._flat:
                found[name] = value
                continue
            for suffix, image in zip(("flat", "bend"), self._flat_images(name, value), strict=True):
                found[f"{name}_{suffix}"] = image
        return found

    def network_bounds(self) -> dict[str, tuple[float, float]]:
        """Range of each of the network's inputs."""
        found: dict[str, tuple[float, float]] = {}
        for name, ends in self.domain.bounds.items():
            if name not in self._flat:
                found[name] = ends
                continue
            found[f"{name}_flat"] = (0.0, 1.0)
            found[f"{name}_bend"] = (0.0, 1.0)
        return found

    def _flat_images(self, name: str, value: Any) -> tuple[Any, Any]:
        low, high = self.domain.bounds[name]
        s = (value - low) / (high - low)
        ends = self._flat[name]
        if len(ends) == 2:
            return s * s * (3 - 2 * s), 16 * (s * s) * ((1 - s) * (1 - s))
        distance = s if -1 in ends else 1 - s
        return distance * distance, distance * distance * distance

    def _flat_ends(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for condition in self._sloped():
            for part in self.domain.parts(condition.part):
                coordinate, _, side = self.faces[part]
                found.setdefault(coordinate, set()).add(side)
        return found

    def _sloped(self) -> list[BoundaryCondition]:
        hard = self.problem.hard_conditions
        return [c for c in hard if isinstance(c, BoundaryCondition) and not isinstance(c, Dirichlet)]

    def _dirichlet(self, field: str) -> list[Dirichlet]:
        return [c for c in self.problem.hard_conditions if isinstance(c, Dirichlet) and field in c.fields]

    def _initial(self, field: str) -> Initial | None:
        found = [c for c in self.problem.hard_conditions if isinstance(c, Initial) and field in c.fields]
        return found[0] if found else None

    def _data(self, field: str) -> Data | None:
        found = [c for c in self.problem.hard_conditions if isinstance(c, Data) and field in c.fields]
        return found[0] if found else None

    def _factor(self, field: str, coordinates: Coordinates) -> Any:
        """The product of all factors; None if the field has no hard condition."""
        factor = self._factor_without_data(field, coordinates)
        data = self._data(field)
        if data is None:
            return factor
        name, places = self.domain.coordinates[0], data.points[:, 0].tolist()

        def gaps(coordinates: Coordinates) -> Any:
            return prod([coordinates[name] - place for place in places[1:]], start=coordinates[name] - places[0])

        product = gaps(coordinates) / self.domain.largest(lambda c: gaps(c).abs(), ("gaps", data.name))
        return product if factor is None else factor * product

    def _factor_without_data(self, field: str, coordinates: Coordinates) -> Any:
        factors = []
        parts = [part for condition in self._dirichlet(field) for part in self.domain.parts(condition.part)]
        opposed = [part for part in parts if part in self.faces and self.faces[part][0] in self._flat]
        rest = [part for part in parts if part not in opposed]
        if rest:
            factors.append(self.domain.distance(coordinates, rest))
        for part in opposed:
            coordinate, value, side = self.faces[part]
            low, high = self.domain.bounds[coordinate]
            inward = (value - coordinates[coordinate]) * side / (high - low)
            factors.append(inward * (2 - inward))
        factors += [self._robin(condition, coordinates) for condition in self._sloped() if isinstance(condition, Robin)]
        initial = self._initial(field)
        if initial is not None:
            start = self._departure(initial, coordinates)
            factors.append(prod([start] * max(initial.orders(field)), start=start))
        return prod(factors[1:], start=factors[0]) if factors else None

    def _departure(self, initial: Initial, coordinates: Coordinates) -> Any:
        """``τ`` of `Initial`."""
        assert self.domain.time is not None
        elapsed = self.domain.distance(coordinates, f"{self.domain.time}=min")
        if initial.ramp is None:
            return elapsed
        low, high = self.domain.bounds[self.domain.time]
        return torch.tanh(elapsed * ((high - low) / initial.ramp))

    def _robin(self, condition: Robin, coordinates: Coordinates) -> Any:
        """``exp(−ψ α/β)`` with a ψ that vanishes on the face and has the slope 1 outwards."""
        exponents = []
        for part in self.domain.parts(condition.part):
            coordinate, value, side = self.faces[part]
            low, high = self.domain.bounds[coordinate]
            outward = (coordinates[coordinate] - value) * side
            if len(self._flat[coordinate]) == 2:
                # flat at the opposite face
                outward = outward * (1 + outward / (high - low)) ** 2
            exponents.append(outward * (-float(condition.alpha) / float(condition.beta)))  # type: ignore[arg-type]
        return torch.exp(sum(exponents[1:], start=exponents[0]))

    def _lift(self, field: str) -> Lift | None:
        lift = self._lift_in_space_and_time(field)
        data = self._data(field)
        if data is None:
            return lift
        places, values = data.points[:, 0], data.measured[field]
        return through_points(
            self.domain.coordinates[0], places, values, lift, partial(self._factor_without_data, field)
        )

    def _lift_in_space_and_time(self, field: str) -> Lift | None:
        lift = self._lift_in_space(field)
        initial = self._initial(field)
        time = self.domain.time
        if time is None:
            return lift
        axis = Axis(time, *self.domain.bounds[time])
        at_end = [c for c in self._dirichlet(field) if self._end_of_time() in self.domain.parts(c.part)]
        end = Face(at_end[0].values[field]) if at_end else None
        if initial is not None:
            return from_start(axis, initial.orders(field), lift, end)
        return lift if end is None else across(Axis(time, axis.low, axis.high, upper=end), lift)

    def _end_of_time(self) -> str:
        return self.domain.parts(f"{self.domain.time}=max")[0]

    def _lift_in_space(self, field: str) -> Lift | None:
        walls = set(self.domain.whole_boundary)
        pieces = []
        for condition in self._dirichlet(field):
            parts = tuple(part for part in self.domain.parts(condition.part) if part in walls)
            if parts:
                pieces.append((parts, condition.values[field]))
        if self.faces:
            return self._lift_in_box(field, pieces)
        if not pieces:
            return None
        if same([value for _, value in pieces]):
            return everywhere(pieces[0][1])
        return blended(self.domain, [(parts, everywhere(value)) for parts, value in pieces])

    def _lift_in_box(self, field: str, pieces: Sequence[tuple[tuple[str, ...], Any]]) -> Lift | None:
        prescribed_at: dict[tuple[str, int], Face] = {}
        for parts, value in pieces:
            for part in parts:
                coordinate, _, side = self.faces[part]
                prescribed_at[coordinate, side] = Face(value)
        for condition in self._sloped():
            for part in self.domain.parts(condition.part):
                coordinate, _, side = self.faces[part]
                prescribed_at[coordinate, side] = Face.sloped(condition, condition.values[field])
        axes = []
        for coordinate in dict.fromkeys(coordinate for coordinate, _ in prescribed_at):
            lower, upper = prescribed_at.get((coordinate, -1)), prescribed_at.get((coordinate, 1))
            axes.append(Axis(coordinate, *self.domain.bounds[coordinate], lower=lower, upper=upper))
        zero = torch.zeros((), dtype=torch.float64)
        at_start = {name: unknown.value(zero) for name, unknown in self.problem.parameters.items()}
        return along_axes(self.domain, axes, at_start)
