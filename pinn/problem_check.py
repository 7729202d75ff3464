"""Finding the mistakes in a problem before any training."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinn.ansatz_check import hard_complaints, located, mismatches
from pinn.conditions.condition import Condition, ConditionPoints
from pinn.fields import checked, record, trace
from pinn.geometry.base import Geometry
from pinn.trial_fields import parameters_at_start, trial_fields
from pinn.unknown import Unknown
from training.errors import LimbeckError

if TYPE_CHECKING:
    from pinn.problem import Problem

_POINTS = 16


def complaints(problem: Problem) -> list[str]:
    """Everything that is wrong with a problem, one line each; empty if it can be trained."""
    found = _about_names(problem)
    if found:
        # whatever comes next relies on the names
        return found
    found = _about_conditions(problem)
    found += _about_equations(problem)
    if found:
        return found
    try:
        return mismatches(problem) or _about_trial(problem)
    except Exception as error:
        return [_in_words(error)]


def _about_names(problem: Problem) -> list[str]:
    domain = getattr(problem, "domain", None)
    if not isinstance(domain, Geometry):
        return [f"domain is missing: set self.domain, for example to Interval(x=(0, 1)) * Time(0, 1); got {domain!r}."]
    found = []
    if isinstance(problem.fields, str) or not problem.fields:
        found.append(f'fields is a tuple of names such as ("u",); got {problem.fields!r}.')
    if not callable(getattr(problem, "equations", None)):
        found.append("equations is missing: write a method that returns the residuals by name.")
    if found:
        return found
    names = [*domain.coordinates, *problem.fields, *problem.parameters]
    found += [f"{name!r} names two things; names are unique." for name in dict.fromkeys(names) if names.count(name) > 1]
    found += [f"{name!r} is no name of a Python variable." for name in names if not str(name).isidentifier()]
    for name, unknown in problem.parameters.items():
        if not isinstance(unknown, Unknown):
            found.append(f"the parameter {name} is an Unknown(initial, …); got {unknown!r}.")
    conditions = list(problem.conditions)
    found += [f"conditions contain {c!r}, which is no condition." for c in conditions if not isinstance(c, Condition)]
    given = [c.name for c in conditions if isinstance(c, Condition)]
    for name in dict.fromkeys(given):
        if given.count(name) > 1:
            found.append(f"{given.count(name)} conditions are called {name!r}; give them different name=….")
    return found


def _about_conditions(problem: Problem) -> list[str]:
    found = []
    for condition in problem.conditions:
        try:
            lines = condition.complaints(problem.domain, problem.fields, tuple(problem.parameters))
        except LimbeckError as error:
            lines = [str(error)]
        found += [f"{condition.name}: {line}" for line in lines]
    return found or hard_complaints(problem)


def _about_equations(problem: Problem) -> list[str]:
    """Names and derivatives that the equations ask for and that do not exist, and wrong shapes."""
    try:
        trace(problem.equations, problem.coordinates, problem.fields, problem.parameters, problem.space)
    except Exception as error:
        return [f"equations: {_in_words(error)}"]
    return []


def _about_trial(problem: Problem) -> list[str]:
    """What goes wrong when equations and soft conditions meet smooth fields at points of the domain."""
    generator = torch.Generator().manual_seed(0)
    parameters = parameters_at_start(problem)

    def equations(fields: Mapping[str, Any], columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return problem.residuals(fields, columns, parameters)

    found = _tried(problem, "equations", equations, problem.domain.sample(_POINTS, generator))
    for condition in problem.soft_conditions:
        given = condition.sample(problem.domain, _POINTS, generator)

        def residuals(
            fields: Mapping[str, Any],
            columns: Mapping[str, Tensor],
            condition: Condition = condition,
            given: ConditionPoints = given,
        ) -> dict[str, Tensor]:
            return condition.residuals(fields, columns, given, parameters)

        found += _tried(problem, condition.name, residuals, given.points, given.group)
    return found


def _tried(
    problem: Problem,
    name: str,
    function: Callable[[Mapping[str, Any], Mapping[str, Tensor]], dict[str, Tensor]],
    points: Tensor,
    group: int = 1,
) -> list[str]:
    try:
        layouts = record(function, problem.coordinates, problem.fields, problem.space, points)
        layout, *others = layouts.values()
        for other in others:
            layout = layout | other
        fields, _ = trial_fields(problem, points, layout)
        residuals = checked(function(fields, problem.domain.columns(points)))
    except Exception as error:
        return [f"{name}: {_in_words(error)}"]
    found = []
    for term, residual in residuals.items():
        if len(residual) * group != len(points):
            found.append(f"{name}: the residual {term!r} has {len(residual)} values for {len(points) // group} points.")
        elif not residual.isfinite().all():
            row = int((~residual.isfinite()).nonzero()[0])
            place = located(problem, points[row * group])
            value = float(residual[row])
            found.append(f"{name}: the residual {term!r} is {value} for a smooth trial field, at {place}.")
    return found


def _in_words(error: Exception) -> str:
    """An error for the user; one that a user's function ran into gets its type and the line it came from."""
    if isinstance(error, LimbeckError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "torch" not in Path(frame.filename).parts] or list(frames)
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})" if own else ""
    return f"{type(error).__name__}: {error}{where}"
