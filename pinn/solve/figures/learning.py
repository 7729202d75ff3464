"""Curves over the training: loss terms and their weights, accuracy over steps and seconds, unknown parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pinn.solve.figures.numbers import digits
from pinn.solve.results import PARAMETER, RELATIVE_L2, SECONDS, WEIGHT, FoundParameter
from training.report.learning import curve, mark_stages, thinned
from training.report.style import BLUE, CYCLE, GREY, INK, ORANGE, SavedFigure, canvas, grid, save

Rows = Sequence[Mapping[str, Any]]
FAR = 1e-3
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))


def draw_losses(folder: Path, rows: Rows, stages: Mapping[str, int]) -> SavedFigure | None:
    """Loss terms over the steps, and their weights below where they were logged; None if no term was.

    Args:
        folder: where the files go.
        rows: logged values.
        stages: first step of every stage, by name.
    """
    terms = [name for name in _logged(rows, "train/") if name != "loss"]
    weights = _logged(rows, WEIGHT)
    if not terms:
        return None
    shares = 2 if weights else 1
    with canvas(rows=shares, height=2.8 if shares == 1 else 4.4, height_ratios=(3, 2)[:shares]) as (figure, axes):
        above = axes[0]
        steps, values = _positive(*curve(rows, "train/loss"))
        if len(steps):
            above.plot(*thinned(steps, values), color=GREY, linewidth=2.6, alpha=0.45, label="weighted sum")
        looks = dict(zip([*terms, *(name for name in weights if name not in terms)], _looks(), strict=False))
        for name in terms:
            steps, values = _positive(*curve(rows, f"train/{name}"))
            above.plot(*thinned(steps, values), **looks[name], linewidth=1.0, label=name)
        above.set(yscale="log", title="Loss terms")
        caption = "Loss terms before weighting"
        if weights:
            above.tick_params(labelbottom=False)
            below = axes[1]
            for name in weights:
                below.plot(*_positive(*curve(rows, f"{WEIGHT}{name}")), **looks[name], linewidth=1.0, label=name)
            below.set(yscale="log", title="Weights of the terms")
            below.sharex(above)
            caption += " and, below, the weight of each"
        axes[-1].set_xlabel("step")
        for ax in axes:
            grid(ax)
            _mark(ax, stages)
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        caption += ". Lines: a stage begins; optimizers may use different points, so a term may jump there."
        return save(figure, folder, "losses", "Loss terms", caption)


def draw_accuracy(
    folder: Path, rows: Rows, stages: Mapping[str, int], floor: float | None, bar: float | None
) -> SavedFigure | None:
    """Relative L2 error over steps and over seconds; None if it was not logged.

    Args:
        folder: where the files go.
        rows: logged values.
        stages: first step of every stage, by name.
        floor: the reference's own relative error.
        bar: the error to reach.
    """
    fields = _logged(rows, f"validation/{RELATIVE_L2}_")
    names = [(field, f"validation/{RELATIVE_L2}_{field}") for field in fields]
    names = names or [("", name) for name in (f"validation/{RELATIVE_L2}",) if any(name in row for row in rows)]
    if not names:
        return None
    reached = [row[logged] for row in rows for _, logged in names if row.get(logged, 0.0) > 0]
    # a line far below would press the curves together
    far_below = bool(floor and reached and floor < FAR * min(reached))
    timed, clock = _with_seconds(rows)
    seconds = {name: begin for name, first in stages.items() if (begin := _seconds_at(timed, first)) is not None}
    with canvas(columns=2, height=2.8) as (figure, axes):
        panels = (("step", rows, "step", stages), (SECONDS, timed, f"{clock}, s", seconds))
        for ax, (against, values, label, begins) in zip(axes, panels, strict=True):
            for (name, logged), look in zip(names, _looks(), strict=False):
                at, errors = _positive(*curve(values, logged, against))
                marker = "o" if len(at) < 40 else ""
                ax.plot(at, errors, **look, marker=marker, markersize=2.5, linewidth=1.2, label=name)
            if floor and not far_below:
                ax.axhline(floor, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            if bar:
                ax.axhline(bar, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
            ax.set(yscale="log", xlabel=label, title="Relative L2 error")
            grid(ax)
            _mark(ax, begins)
        if len(names) > 1:
            axes[0].legend(loc="lower left")
        caption = "Relative L2 error against the reference, on the evaluation points, over steps and over time."
        if floor:
            place = "Below what is drawn" if far_below else "Dashed"
            caption += f" {place}: the reference's own error, {digits(floor)}."
        if bar:
            caption += f" Dotted: the bar, {digits(bar)}."
        return save(figure, folder, "accuracy", "Accuracy", caption + " Vertical lines: a stage begins.")


def draw_parameters(
    folder: Path, rows: Rows, stages: Mapping[str, int], parameters: Mapping[str, FoundParameter]
) -> SavedFigure | None:
    """Unknown parameters over the steps, with the truth where it is known; None if none was logged.

    Args:
        folder: where the files go.
        rows: logged values.
        stages: first step of every stage, by name.
        parameters: what was found in the end.
    """
    names = [name for name in _logged(rows, PARAMETER) if name in parameters]
    if not names:
        return None
    across = min(3, len(names))
    down = -(-len(names) // across)
    with canvas(columns=across, rows=down, height=2.2 * down) as (figure, axes):
        for ax, name in zip(axes, names, strict=False):
            ax.plot(*curve(rows, f"{PARAMETER}{name}"), color=BLUE, linewidth=1.2)
            truth = parameters[name].truth
            if truth is not None:
                ax.axhline(truth, color=ORANGE, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.set(xlabel="step", title=name)
            grid(ax)
            _mark(ax, stages)
        for ax in axes[len(names) :]:
            ax.set_visible(False)
        found = "; ".join(_in_words(name, parameters[name]) for name in names)
        return save(
            figure, folder, "parameters", "Unknown parameters", f"The unknown parameters over the steps: {found}."
        )


def _in_words(name: str, parameter: FoundParameter) -> str:
    words = f"{name} is {parameter.value:.6g}"
    if parameter.truth is not None:
        words += f" (dashed: the truth, {parameter.truth:.6g}"
        error = parameter.relative_error
        words += ")" if error is None else f"; off by {digits(100 * error)} %)"
    return words


def _logged(rows: Rows, prefix: str) -> list[str]:
    """What stands behind the prefix in logged names, in the order of their first appearance."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith(prefix))
    return [name.removeprefix(prefix) for name in names]


def _looks() -> Iterator[dict[str, Any]]:
    """Colours, then the same with dashes: more lines than that no eye follows."""
    colours = [colour for colour in CYCLE if colour != GREY]
    return ({"color": colour, "linestyle": dashes} for dashes in DASHES for colour in colours)


def _mark(axes: Axes, starts: Mapping[str, float]) -> None:
    """Stage lines on an axis that begins at zero and reaches all of them."""
    mark_stages(axes, starts)
    axes.set_xlim(left=0)


def _positive(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a logarithmic axis can show."""
    return at[values > 0], values[values > 0]


def _with_seconds(rows: Rows) -> tuple[list[dict[str, Any]], str]:
    """Every row with the training time so far, and what kind of time it is.

    A validation is logged beside the training values, so it takes the time of the last row that has one. Runs that did
    not log it show the time on the wall, pauses between processes included.
    """
    if not any(SECONDS in row for row in rows):
        first = next((row["time"] for row in rows if "time" in row), 0.0)
        return [{**row, SECONDS: row["time"] - first} for row in rows if "time" in row], "time on the wall"
    timed, last = [], 0.0
    for row in rows:
        last = float(row.get(SECONDS, last))
        timed.append({**row, SECONDS: last})
    return timed, "training time"


def _seconds_at(timed: Sequence[Mapping[str, Any]], step: int) -> float | None:
    """The first time that was logged at or after a step; the first step begins at zero."""
    return next((float(row[SECONDS]) for row in timed if row["step"] >= step), None) if step else 0.0
