"""Learning curves: training and validation in physical units over the steps of all stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from training.report.style import BLUE, GREY, ORANGE, SavedFigure, canvas, grid, save

TRAINING_SMOOTHING = 200
"""Points a training curve is averaged down to; single batches only blur the trend."""


@dataclass(frozen=True)
class Panel:
    """One quantity of the learning curves.

    Attributes:
        title: in words.
        unit: of the values.
        training, validation: names of the logged values; empty where there is none.
    """

    title: str
    unit: str
    training: str = ""
    validation: str = ""


def learning_curves(
    folder: Path, rows: Sequence[Mapping[str, Any]], stages: Mapping[str, int], panels: Sequence[Panel]
) -> SavedFigure | None:
    """Curves on logarithmic axes, with a line where each stage begins; None if nothing of the panels was logged.

    Args:
        folder: where the files go.
        rows: logged values, each with ``step`` and any of the panels' names.
        stages: first step of every stage, by name.
        panels: what to show.
    """
    logged = {name for row in rows for name in row}
    shown = [panel for panel in panels if {panel.training, panel.validation} & logged]
    if not shown:
        return None
    with canvas(columns=len(shown), height=2.7) as (figure, all_axes):
        for axes, panel in zip(all_axes, shown, strict=True):
            steps, values = curve(rows, panel.training)
            if len(steps):
                axes.plot(*thinned(steps, values), color=GREY, linewidth=1.0, alpha=0.8, label="training")
            steps, values = curve(rows, panel.validation)
            if len(steps):
                axes.plot(
                    steps, values, "o-" if len(steps) < 40 else "-", color=BLUE, markersize=2.5, label="validation"
                )
            axes.set(yscale="log", xlabel="step", title=f"{panel.title}, {panel.unit}")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if _leading_digit(value) in (2, 5) else "")
            axes.tick_params(axis="y", which="minor", labelsize=7)
            grid(axes)
            mark_stages(axes, stages)
            axes.legend(loc="lower left")
        caption = (
            "Errors while training; validation with the averaged weights that are exported. Lines: a stage begins."
        )
        return save(figure, folder, "learning_curves", "Learning curves", caption)


def stage_starts(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, int]:
    """First logged step of every stage that was reached.

    Args:
        rows: logged values; ``stage`` is the index of the stage.
        names: of the stages, in order.
    """
    starts: dict[str, int] = {}
    for row in rows:
        if "stage" in row:
            starts.setdefault(names[int(row["stage"])], int(row["step"]))
    return starts


def mark_stages(axes: Axes, starts: Mapping[str, float]) -> None:
    """A line where each stage begins, with its name; none where the first begins.

    Args:
        axes: of a curve.
        starts: where on the horizontal axis, by name.
    """
    for name, first in starts.items():
        if first > 0:
            axes.axvline(first, color=ORANGE, linewidth=0.8, alpha=0.8)
        axes.annotate(
            *(name, (first, 1)), (3, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=7, color=ORANGE,
        )  # fmt: skip


def curve(rows: Sequence[Mapping[str, Any]], name: str, against: str = "step") -> tuple[np.ndarray, np.ndarray]:
    """Finite values of one logged name, and where they stand on the horizontal axis.

    Args:
        rows: logged values.
        name: of the values.
        against: name of the horizontal axis; rows without it are left out.
    """
    points = [(row[against], row[name]) for row in rows if name in row and against in row and np.isfinite(row[name])]
    return np.array([at for at, _ in points]), np.array([value for _, value in points], dtype=float)


def thinned(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over equal numbers of consecutive points, as few as `TRAINING_SMOOTHING`."""
    if len(at) <= TRAINING_SMOOTHING:
        return at, values
    parts = np.array_split(np.arange(len(at)), TRAINING_SMOOTHING)
    return np.array([at[p].mean() for p in parts]), np.array([values[p].mean() for p in parts])


def _leading_digit(value: float) -> int:
    return int(f"{value:e}"[0])
