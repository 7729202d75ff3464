"""Every figure of a solution that its results allow, in the order of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from pinn.solve.facts import SolveFacts
from pinn.solve.figures.curves import draw_axis_slices, draw_error_distribution, draw_slices
from pinn.solve.figures.equation import draw_equation
from pinn.solve.figures.learning import draw_accuracy, draw_losses, draw_parameters
from pinn.solve.figures.maps import draw_residual, draw_solution
from pinn.solve.figures.points import draw_points
from pinn.solve.results import Results
from training.report.style import SavedFigure


def draw_all(
    folder: Path, results: Results, rows: Sequence[Mapping[str, Any]], facts: SolveFacts, bar: float | None = None
) -> list[SavedFigure]:
    """Draw what there is to draw.

    Args:
        folder: where the files go.
        results: what was measured.
        rows: logged values (`training.loggers.metrics_file.read_metrics`).
        facts: about the run.
        bar: relative L2 error to reach, for the curve.

    Raises:
        ConfigurationError: if the formula cannot be set; `check_formula` finds it before a run.
    """
    return [saved for saved in _drawn(Path(folder), results, rows, facts, bar) if saved is not None]


def _drawn(
    folder: Path, results: Results, rows: Sequence[Mapping[str, Any]], facts: SolveFacts, bar: float | None
) -> Iterator[SavedFigure | None]:
    evaluated = results.maps or results.evaluation
    yield draw_equation(folder, facts.formula)
    for name in evaluated.solution:
        maps = draw_solution(folder, evaluated, name)
        yield maps
        yield draw_slices(folder, evaluated, name)
        yield draw_axis_slices(folder, results.slices, name)
        if maps is None:
            yield draw_error_distribution(folder, results.evaluation, name)
    yield draw_residual(folder, evaluated)
    yield draw_points(folder, results.snapshots, facts.coordinates, facts.bounds, evaluated.time)
    lengths = [stage.steps for stage in results.stages.values()]
    starts = dict(zip(results.stages, accumulate([0, *lengths]), strict=False))
    yield draw_accuracy(folder, rows, starts, results.floor, bar)
    yield draw_losses(folder, rows, starts)
    yield draw_parameters(folder, rows, starts, results.parameters)
