"""Whether the hard conditions of a problem can be built in together, and whether they then hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinn.ansatz import box_faces
from pinn.conditions.boundary import BoundaryCondition, Dirichlet, Robin
from pinn.conditions.condition import Condition, ConditionPoints
from pinn.conditions.data import Data
from pinn.conditions.initial import Initial
from pinn.conditions.periodic import Periodic
from pinn.fields import record
from pinn.names import argument_names
from pinn.trial_fields import parameters_at_start, trial_fields

if TYPE_CHECKING:
    from pinn.problem import Problem

TOLERANCE = 1e-10
"""By how much a hard condition may be missed, relative to the size of the fields where that is above 1."""

_POINTS = 64
_INTERIOR_POINTS = 256
_MOST_DATA = 50


def hard_complaints(problem: Problem) -> list[str]:
    """Hard conditions for which no ansatz is known, or that speak about the same thing twice."""
    found = []
    taken: dict[tuple[str, str], str] = {}
    for condition in problem.hard_conditions:
        lines = _not_available(problem, condition)
        for place in [] if lines else _places(problem, condition):
            if place in taken and taken[place] != condition.name:
                lines.append(f"{taken[place]} is a hard condition on {place[0]} at {place[1]} already.")
            taken[place] = condition.name
        found += [f"{condition.name}: {line}" for line in lines]
    return found


def _not_available(problem: Problem, condition: Condition) -> list[str]:
    domain = problem.domain
    if isinstance(condition, Data) and len(domain.coordinates) > 1:
        return [
            "hard data need a domain with one coordinate: in more, a smooth factor that vanishes in a point would fix "
            "the slope there as well. Choose hard=False."
        ]
    if isinstance(condition, Data):
        return _not_for_data(problem, condition)
    if isinstance(condition, Initial) and any(max(condition.orders(name)) > 1 for name in condition.fields):
        return ["a hard condition at the start holds values and first derivatives. Choose hard=False."]
    if not isinstance(condition, BoundaryCondition) or isinstance(condition, Dirichlet):
        return []
    faces = box_faces(domain)
    found = [
        f"a hard {type(condition).__name__} condition needs a face of an interval or box; {part!r} of "
        f"{domain!r} is none. Choose hard=False."
        for part in domain.parts(condition.part)
        if part not in faces
    ]
    if set(condition.fields) != set(problem.fields):
        missing = ", ".join(name for name in problem.fields if name not in condition.fields)
        found.append(f"the flat coordinate is shared by all fields: give {missing} a value too, or choose hard=False.")
    if isinstance(condition, Robin) and (
        callable(condition.alpha) or callable(condition.beta) or float(condition.beta) == 0
    ):
        found.append("a hard Robin condition has numbers for alpha and beta, and beta is not 0. Choose hard=False.")
    return found


def _not_for_data(problem: Problem, data: Data) -> list[str]:
    found = []
    if len(data.points) > _MOST_DATA:
        found.append(f"hard data are at most {_MOST_DATA} points; got {len(data.points)}. Choose hard=False.")
    if len(data.points.unique(dim=0)) < len(data.points):
        found.append("hard data give a value twice at the same point. Choose hard=False.")
    if data.n_points is not None:
        found.append("hard data are built in as a whole; leave n_points out.")
    for other in problem.hard_conditions:
        asked = {name for value in other.values.values() if callable(value) for name in sum(argument_names(value), ())}
        if asked & set(problem.parameters):
            found.append(f"{other.name} depends on an unknown parameter; it and hard data cannot both be built in.")
    ends = [end for bounds in problem.domain.bounds.values() for end in bounds]
    if any(place in ends for place in data.points[:, 0].tolist()):
        found.append("a hard value at an end of the domain is a Dirichlet or Initial condition; move it there.")
    return found


def _places(problem: Problem, condition: Condition) -> list[tuple[str, str]]:
    """What a hard condition speaks for: field and place."""
    if isinstance(condition, BoundaryCondition):
        parts = problem.domain.parts(condition.part)
    elif isinstance(condition, Periodic):
        parts = problem.domain.parts((f"{condition.coordinate}=min", f"{condition.coordinate}=max"))
    elif isinstance(condition, Initial):
        parts = problem.domain.parts(f"{problem.time}=min")
    else:
        return []
    return [(name, part) for name in condition.fields or problem.fields for part in parts]


def mismatches(problem: Problem) -> list[str]:
    """Hard conditions that the ansatz does not satisfy to 1e-10, with the place and the size of the mismatch.

    Each condition is evaluated on the lift alone, and with smooth functions in place of the network. Inside the domain
    the factors must be finite and nowhere zero.
    """
    found = []
    generator = torch.Generator().manual_seed(0)
    for condition in problem.hard_conditions:
        points = condition.sample(problem.domain, _POINTS, generator, "sobol")
        missed = _missed(problem, condition, points, 0.0)
        if missed is not None:
            found.append(
                f"{condition.name}: the lift misses this hard condition by {missed}. Either it contradicts another "
                "condition there (then make one of them soft), or the problem needs a method lift(...) that gives, by "
                "field, a function with the prescribed values."
            )
            continue
        missed = _missed(problem, condition, points, 1.0)
        if missed is not None:
            found.append(
                f"{condition.name}: another hard condition makes the ansatz miss it by {missed}; make one soft."
            )
    return found or _degenerate(problem)


def _missed(problem: Problem, condition: Condition, points: ConditionPoints, amplitude: float) -> str | None:
    """The largest mismatch of a condition and its place in words; None if it is below the tolerance."""
    parameters = parameters_at_start(problem)

    def residuals(fields: Mapping[str, Any], columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return condition.residuals(fields, columns, points, parameters)

    layouts = record(residuals, problem.coordinates, problem.fields, problem.space, points.points)
    layout, *others = layouts.values()
    for other in others:
        layout = layout | other
    fields, _ = trial_fields(problem, points.points, layout, amplitude)
    columns = problem.domain.columns(points.points)
    size = max([1.0, *(float(field.value.abs().max()) for field in fields.values())])
    for term, residual in residuals(fields, columns).items():
        wrong = ~(residual.abs() <= TOLERANCE * size)
        if wrong.any():
            row = int(residual.abs().nan_to_num(nan=float("inf")).argmax())
            # residuals of pairs have half as many rows
            place = points.points[row * points.group]
            return f"{float(residual[row]):.3g} in {term.rpartition('.')[2]} at {located(problem, place)}"
    return None


def _degenerate(problem: Problem) -> list[str]:
    """Factors that are zero or not finite somewhere inside, where they would silence the network."""
    if not problem.hard_conditions:
        return []
    points = problem.domain.sample(_INTERIOR_POINTS, torch.Generator().manual_seed(1), "sobol")
    terms = problem.ansatz_terms(
        {name: column[:, None] for name, column in problem.domain.columns(points).items()}, parameters_at_start(problem)
    )
    found = []
    for name, (_, factor) in terms.items():
        if factor is None:
            continue
        bad = ~(factor.isfinite() & (factor != 0)).reshape(-1)
        if bad.any():
            place = located(problem, points[int(bad.nonzero()[0])])
            found.append(f"the factor of {name} in front of the network is zero or not finite inside, at {place}.")
    return found


def located(problem: Problem, point: Tensor) -> str:
    """A point in words: ``x=0.25, t=0``."""
    return ", ".join(f"{name}={float(value):.6g}" for name, value in zip(problem.coordinates, point, strict=True))
