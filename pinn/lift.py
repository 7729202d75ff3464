"""Functions that satisfy hard conditions by themselves, made from the prescribed values: the lift of the ansatz."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from pinn.conditions.boundary import Robin
from pinn.conditions.condition import Value, prescribed
from pinn.geometry.base import Geometry

Coordinates = Mapping[str, Any]
Lift = Callable[[Coordinates, Mapping[str, Any] | None], Any]
"""Coordinates (tensors or jets) and unknown parameters to the value of the lift."""

_MOST_AXES = 3
"""Each axis with prescribed faces triples the cost of evaluating the lift; beyond this, weights are used."""

_PROBES = 32
_ROUNDING = 1e-11


@dataclass(frozen=True)
class Face:
    """What one end of a coordinate prescribes: ``u = g``, or ``α u + β ∂u/∂n = g`` where beta is not None."""

    value: Value
    alpha: float = 0.0
    beta: float | None = None

    @classmethod
    def sloped(cls, condition: Any, value: Value) -> Face:
        """The face of a hard Neumann or Robin condition."""
        if isinstance(condition, Robin):
            return cls(value, float(condition.alpha), float(condition.beta))  # type: ignore[arg-type]
        return cls(value, 0.0, 1.0)


@dataclass(frozen=True)
class Axis:
    """A coordinate with what is prescribed at its two ends."""

    coordinate: str
    low: float
    high: float
    lower: Face | None = None
    upper: Face | None = None

    @property
    def length(self) -> float:
        return self.high - self.low

    def scaled(self, coordinates: Coordinates) -> Any:
        """``s``, from 0 at the lower to 1 at the upper end."""
        return (coordinates[self.coordinate] - self.low) / self.length

    def at(self, coordinates: Coordinates, value: float) -> dict[str, Any]:
        """The coordinates with this one set to an end."""
        return {**coordinates, self.coordinate: coordinates[self.coordinate] * 0.0 + value}


def across(axis: Axis, before: Lift | None) -> Lift:
    """The lift corrected so that both ends of one coordinate get their values too.

    What earlier coordinates were given is kept where the conditions agree at common corners. A slope is corrected as
    if the lift before had none there.
    """

    def lift(coordinates: Coordinates, parameters: Mapping[str, Any] | None) -> Any:
        total = before(coordinates, parameters) if before else 0.0
        s = axis.scaled(coordinates)
        for face, other, end, inward in (
            (axis.lower, axis.upper, axis.low, s),
            (axis.upper, axis.lower, axis.high, 1 - s),
        ):
            if face is None:
                continue
            there = axis.at(coordinates, end)
            missing = prescribed(face.value, there, parameters)
            if before is not None:
                reached = before(there, parameters)
                missing = missing - (reached if face.beta is None else face.alpha * reached)
            if not (isinstance(missing, int | float) and missing == 0):
                total = total + missing * _shape(face, other, inward, axis.length)
        return total

    return lift


def _shape(face: Face, other: Face | None, inward: Any, length: float) -> Any:
    """A function of the distance from this end that gives it 1, and nothing to the other end."""
    rest = 1 - inward
    if face.beta is not None:
        return -(length / face.beta) * inward * (rest * rest if other is not None else 1.0)
    if other is None:
        return 1.0
    return rest if other.beta is None else rest * rest


def from_start(axis: Axis, values: Mapping[int, Value], before: Lift | None, end: Face | None) -> Lift:
    """The lift corrected so that it starts with the values (order 0) and slopes (order 1) prescribed there.

    The slope is corrected as if the lift before had none at the start.
    """

    def lift(coordinates: Coordinates, parameters: Mapping[str, Any] | None) -> Any:
        total = before(coordinates, parameters) if before else 0.0
        s = axis.scaled(coordinates)
        start = axis.at(coordinates, axis.low)
        second = 1 in values
        missing = prescribed(values[0], start, parameters) - (before(start, parameters) if before else 0.0)
        total = total + missing * (1.0 if end is None else 1 - s * s if second else 1 - s)
        if second:
            slope = prescribed(values[1], start, parameters)
            total = total + slope * axis.length * s * (1.0 if end is None else 1 - s)
        if end is not None:
            finish = axis.at(coordinates, axis.high)
            missing = prescribed(end.value, finish, parameters) - (before(finish, parameters) if before else 0.0)
            total = total + missing * (s * s if second else s)
        return total

    return lift


def blended(domain: Geometry, pieces: Sequence[tuple[tuple[str, ...], Lift]]) -> Lift:
    """Values on any parts of the boundary: ``Σ_i w_i g_i`` with ``w_i = Π_{j≠i} d_j / Σ_k Π_{j≠k} d_j``.

    Each g is continued into the inside by its own formula, each d vanishes on the parts of its piece. Where two
    pieces meet, the weights have no value.

    Source: Rvachev et al., "Transfinite interpolation over implicitly defined sets", CAGD 2001.
    """
    if len(pieces) == 1:
        return pieces[0][1]

    def lift(coordinates: Coordinates, parameters: Mapping[str, Any] | None) -> Any:
        distances = [domain.distance(coordinates, parts) for parts, _ in pieces]
        weights = []
        for index in range(len(pieces)):
            others = distances[:index] + distances[index + 1 :]
            weights.append(prod(others[1:], start=others[0]))
        weighted = [weight * g(coordinates, parameters) for weight, (_, g) in zip(weights, pieces, strict=True)]
        return sum(weighted[1:], start=weighted[0]) / sum(weights[1:], start=weights[0])

    return lift


def through_points(
    coordinate: str, places: Tensor, values: Tensor, before: Lift | None, factor: Callable[[Coordinates], Any]
) -> Lift:
    """The lift corrected to go through data, without touching what earlier hard conditions prescribe.

    ``lift + factor(x) Σ_i c_i exp(−(x − x_i)²/ℓ²)`` with ℓ half the smallest gap between two points.

    Args:
        coordinate: the only one.
        places: (m,) where the data are.
        values: (m,) what they are.
        before: the lift so far.
        factor: of the ansatz so far; None as its result stands for 1.
    """
    ordered = places.sort().values
    width = float((ordered[1:] - ordered[:-1]).min()) / 2 if len(places) > 1 else 1.0
    kernel = torch.exp(-(((places[:, None] - places) / width) ** 2))

    def lift(coordinates: Coordinates, parameters: Mapping[str, Any] | None) -> Any:
        there = {coordinate: places}
        reached = before(there, parameters) if before else 0.0
        given = factor(there)
        weights = torch.linalg.solve(kernel, (values - reached) / (1.0 if given is None else given))
        x = coordinates[coordinate]
        bumps = [weights[i] * torch.exp(((x - float(places[i])) / width) ** 2 * -1.0) for i in range(len(places))]
        total = sum(bumps[1:], start=bumps[0])
        outer = factor(coordinates)
        total = total if outer is None else outer * total
        return before(coordinates, parameters) + total if before else total

    return lift


def everywhere(value: Value) -> Lift:
    """A prescribed value continued into the inside by its own formula."""
    return lambda coordinates, parameters: prescribed(value, coordinates, parameters)


def same(values: Sequence[Value]) -> bool:
    """Whether all values are one number or one function."""
    first = values[0]
    return all(value is first or _equal_numbers(value, first) for value in values)


def along_axes(domain: Geometry, axes: Sequence[Axis], parameters: Mapping[str, Any]) -> Lift | None:
    """The lift from what is prescribed on the faces of a box.

    One coordinate after the other, where the faces agree in their common corners; blended by weights where they do not
    (a lid that moves beside walls that do not), or where there are too many of them.

    Args:
        domain: with these faces.
        axes: those with something prescribed.
        parameters: unknown parameters at their start, to compare the faces with.
    """
    faces = [(axis, upper, axis.upper if upper else axis.lower) for axis in axes for upper in (False, True)]
    present = [(axis, upper, face) for axis, upper, face in faces if face is not None]
    values = [face.value for _, _, face in present]
    if not values or all(_equal_numbers(value, 0.0) for value in values):
        return None
    sloped = [axis for axis in axes if _sloped(axis)]
    if not sloped and not callable(values[0]) and same(values):
        return everywhere(values[0])
    pieces = [
        ((f"{axis.coordinate}={'max' if upper else 'min'}",), _on_face(axis, upper, face))
        for axis, upper, face in present
    ]
    if len(axes) > _MOST_AXES and not sloped:
        return blended(domain, pieces)
    lift: Lift | None = None
    # a slope is only right where nothing has been added yet
    for axis in sorted(axes, key=lambda axis: not _sloped(axis)):
        lift = across(axis, lift)
    assert lift is not None
    return lift if sloped or _reaches(lift, domain, pieces, parameters) else blended(domain, pieces)


def _reaches(
    lift: Lift, domain: Geometry, pieces: Sequence[tuple[tuple[str, ...], Lift]], parameters: Mapping[str, Any]
) -> bool:
    """Whether a lift has the prescribed values on all parts."""
    generator = torch.Generator().manual_seed(0)
    for parts, value in pieces:
        columns = domain.columns(domain.sample_boundary(_PROBES, generator, parts, "sobol")[0])
        wanted = torch.as_tensor(value(columns, parameters), dtype=torch.float64)
        if ((lift(columns, parameters) - wanted).abs() > _ROUNDING * (1 + wanted.abs())).any():
            return False
    return True


def _on_face(axis: Axis, upper: bool, face: Face) -> Lift:
    end = axis.high if upper else axis.low
    return lambda coordinates, parameters: prescribed(face.value, axis.at(coordinates, end), parameters)


def _sloped(axis: Axis) -> bool:
    return any(face is not None and face.beta is not None for face in (axis.lower, axis.upper))


def _equal_numbers(first: Any, second: Any) -> bool:
    return not callable(first) and not callable(second) and float(first) == float(second)
