"""What a finished solution is measured by: errors, residuals and parameters on the evaluation points."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pinn.problem import Problem
from pinn.solve.collocation import Collocation
from pinn.solve.judgement import Judge
from pinn.solve.module import SolveModule
from pinn.solve.results import (
    Evaluated,
    FieldError,
    FoundParameter,
    PointSnapshot,
    Results,
    StageCost,
    field_error,
)
from pinn.solve.solution import Solution
from pinn.solve.system import System
from pinn.solve.trial import Trial
from training.errors import InputError

LINE = 401
"""Points of a line through the domain, where it has too many coordinates for maps."""


def examine(
    solution: Solution,
    module: SolveModule,
    snapshots: tuple[PointSnapshot, ...],
    residual_before: Mapping[str, float],
    chunk: int,
) -> Results:
    """Measure a solution.

    Args:
        solution: as exported.
        module: what is known of its training.
        snapshots: collocation points over time.
        residual_before: root mean square of each equation before the first step.
        chunk: points evaluated together, at most.
    """
    judge, problem = module.judge, solution.problem
    floors = {} if problem.reference is None else problem.reference.floors
    evaluation = evaluate(solution, judge.system, judge.points, judge.reference, chunk)
    record = module.record
    return Results(
        evaluation=evaluation,
        errors={
            name: field_error(evaluation.solution[name], exact, floors.get(name))
            for name, exact in evaluation.reference.items()
            if np.any(exact)
        },
        floor_note="" if problem.reference is None else problem.reference.floor_note,
        residual_rms={name: _rms(values) for name, values in evaluation.residual.items()},
        residual_rms_before=dict(residual_before),
        condition_rms=_conditions(judge.system, solution.network, module.collocation),
        parameters=_parameters(solution),
        maps=_maps(solution, judge, chunk),
        slices=_slices(solution, judge, chunk),
        stages={name: StageCost(**entry) for name, entry in record.items()},
        snapshots=snapshots,
        seconds=sum(entry["seconds"] for entry in record.values()),
        peak_memory_MB=peak_memory(),
        n_parameters=sum(parameter.numel() for parameter in solution.network.parameters()),
    )


def evaluate(
    solution: Solution, system: System, points: Tensor, reference: Mapping[str, Tensor], chunk: int
) -> Evaluated:
    """Fields, reference and residuals at points."""
    problem = solution.problem
    columns = dict(zip(problem.coordinates, points.unbind(1), strict=True))
    at = solution(chunk=chunk, **columns)
    return Evaluated(
        coordinates=problem.coordinates,
        time=problem.time,
        points=points.numpy(),
        solution={name: torch.as_tensor(at[name]).double().numpy() for name in problem.fields},
        reference={name: values.numpy() for name, values in reference.items()},
        residual=residuals(system, solution.network, points, chunk),
    )


def residuals(system: System, trial: Trial, points: Tensor, chunk: int) -> dict[str, np.ndarray]:
    """Each equation's residual at points, (n,)."""
    parts = []
    with torch.no_grad():
        for some in points.split(chunk):
            group = system.equation_points(some.to(next(trial.parameters()).device))
            parts.append(system.residuals(trial, group, 0, len(some)))
    return {name: torch.cat([part[name].cpu().double() for part in parts]).numpy() for name in system.equations}


def residual_rms(system: System, trial: Trial, points: Tensor, chunk: int) -> dict[str, float]:
    """Root mean square of each equation's residual."""
    return {name: _rms(values) for name, values in residuals(system, trial, points, chunk).items()}


def peak_memory() -> float:
    """Largest memory of the process so far in MB; on a GPU that of the device."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes on Linux, bytes on macOS
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def accuracy(results: Results) -> dict[str, float | str]:
    """What the exported file says of its own worth."""
    figures = results.figures()
    kept = {name: value for name, value in figures.items() if name.startswith("relative_l2") and value is not None}
    for name in ("reference_floor", "residual_rms"):
        if figures[name] is not None:
            kept[name] = figures[name]
    return kept | ({"floor_note": results.floor_note} if results.floor_note else {})


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _conditions(system: System, trial: Trial, collocation: Collocation) -> dict[str, float]:
    """Root mean square of what is left of every learned condition at its points."""
    found: dict[str, float] = {}
    device = next(trial.parameters()).device
    for name, given in collocation.conditions.items():
        group = system.condition_points(name, given.to(device))
        with torch.no_grad():
            left = system.residuals(trial, group, 0, len(group.points))
        found |= {term: float(values.square().mean().sqrt()) for term, values in left.items()}
    return found


def _parameters(solution: Solution) -> dict[str, FoundParameter]:
    truth = solution.problem.truth
    return {
        name: FoundParameter(solution.parameters[name], unknown.initial, truth.get(name))
        for name, unknown in solution.problem.parameters.items()
    }


def _maps(solution: Solution, judge: Judge, chunk: int) -> Evaluated | None:
    """A grid over the domain, where the error is stated on lines or scattered points of it."""
    problem = solution.problem
    if len(problem.coordinates) > 3 or type(problem).evaluation_points is Problem.evaluation_points:
        return None
    if _is_grid(judge.points):
        return None
    points = Problem.evaluation_points(problem)
    return evaluate(solution, judge.system, points, _reference(problem, points), chunk)


def _slices(solution: Solution, judge: Judge, chunk: int) -> dict[str, Evaluated]:
    """Lines through the middle of the domain, one along each coordinate, where there are more than three."""
    problem = solution.problem
    if len(problem.coordinates) <= 3:
        return {}
    middle = torch.tensor([sum(problem.domain.bounds[name]) / 2 for name in problem.coordinates], dtype=torch.float64)
    found = {}
    for column, name in enumerate(problem.coordinates):
        points = middle.repeat(LINE, 1)
        points[:, column] = torch.linspace(*problem.domain.bounds[name], LINE, dtype=torch.float64)
        points = points[problem.domain.contains(points, 1e-9 * problem.domain.extent)]
        if len(points):
            found[name] = evaluate(solution, judge.system, points, _reference(problem, points), chunk)
    return found


def _reference(problem: Problem, points: Tensor) -> dict[str, Tensor]:
    if problem.reference is None:
        return {}
    try:
        return problem.reference.values(points)
    except InputError:
        # tables know the solution on some lines only
        return {}


def _is_grid(points: Tensor) -> bool:
    counts = [len(column.unique()) for column in points.unbind(1)]
    return int(np.prod(counts)) == len(points)


__all__ = ["FieldError", "accuracy", "evaluate", "examine", "peak_memory", "residual_rms", "residuals"]
