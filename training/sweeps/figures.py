"""Pictures of a sweep: the metric against every key, and all keys of every run at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from training.report.style import BLUE, DENSITY, GREY, INK, ORANGE, SavedFigure, canvas, grid, save
from training.sweeps.table import Table

PANELS = 6
"""Keys that get a panel of their own, at most."""

COLUMNS = 3

DECADES = 1.5
"""Positive numbers that span more are drawn on a logarithmic axis."""


def draw_all(folder: Path, table: Table) -> list[SavedFigure]:
    """All pictures the runs are enough for.

    Args:
        folder: where the files go.
        table: what came out.
    """
    keys = [key for key in table.keys if len({run.values.get(key) for run in table.compared}) > 1]
    drawn = []
    if keys:
        drawn.append(by_key(folder, table, keys[:PANELS]))
    if len(keys) > 1:
        drawn.append(parallel_coordinates(folder, table, keys[:PANELS]))
    return drawn


def by_key(folder: Path, table: Table, keys: Sequence[str]) -> SavedFigure:
    """One panel for each key: a point for every run."""
    columns = min(COLUMNS, len(keys))
    rows = -(-len(keys) // columns)
    metric = np.array([table.value(run) for run in table.compared], dtype=float)
    with canvas(columns=columns, rows=rows, height=2.5 * rows) as (figure, all_axes):
        for axes, key in zip(all_axes, keys, strict=False):
            words = [run.values[key] for run in table.compared]
            numbers = _numbers(words)
            if numbers is None:
                names = sorted(set(words))
                at = np.array([names.index(word) for word in words], dtype=float)
                axes.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 6 else 0)
            else:
                at = numbers
                if _spans_decades(at):
                    axes.set_xscale("log")
            axes.plot(at[1:], metric[1:], "o", color=BLUE, markersize=4, alpha=0.7)
            axes.plot(at[:1], metric[:1], "o", color=ORANGE, markersize=6)
            axes.set(xlabel=_short(key))
            _scale(axes, metric)
            grid(axes)
        for axes in all_axes[len(keys) :]:
            axes.set_visible(False)
        for axes in all_axes[::columns]:
            axes.set_ylabel(table.metric or "")
        caption = f"{table.metric} of every run against each key; the best run in orange."
        return save(figure, folder, "by_key", "Metric against every key", caption)


def parallel_coordinates(folder: Path, table: Table, keys: Sequence[str]) -> SavedFigure:
    """One line for each run through its values and its metric, dark where it is good."""
    runs = table.compared[::-1]
    axis_names = [*keys, table.metric or ""]
    heights = [_heights([run.values[key] for run in runs]) for key in keys]
    metric = np.array([table.value(run) for run in runs], dtype=float)
    heights.append(_unit(np.log10(metric) if _spans_decades(metric) else metric))
    stacked = np.stack(heights)
    # the rank rather than the value, so that one bad run does not make all others look alike
    shade = Normalize(0, max(len(runs) - 1, 1))
    with canvas(height=3.2) as (figure, (axes,)):
        for position in range(len(runs)):
            axes.plot(stacked[:, position], color=DENSITY(shade(position)), linewidth=1.1, alpha=0.8)
        axes.plot(stacked[:, -1], color=ORANGE, linewidth=2)
        for place, name in enumerate(axis_names):
            axes.axvline(place, color=GREY, linewidth=0.7)
            for height, word in _marks(name, place, keys, table):
                axes.annotate(word, (place, height), (3, 0), textcoords="offset points", fontsize=7, color=INK)
        axes.set_xticks(range(len(axis_names)), [_short(name) for name in axis_names])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        caption = "Every line is a run: its values from left to right, its metric last. Dark: better; orange: the best."
        return save(figure, folder, "parallel_coordinates", "All keys at once", caption)


def _marks(name: str, place: int, keys: Sequence[str], table: Table) -> list[tuple[float, str]]:
    """Values written beside an axis: its ends, or all of a few."""
    runs = table.compared
    if place == len(keys):
        values = sorted(value for run in runs if (value := table.value(run)) is not None)
        return [(0.0, f"{values[0]:.3g}"), (1.0, f"{values[-1]:.3g}")]
    words = [run.values[name] for run in runs]
    marks = dict(zip(words, _heights(words), strict=True))
    ordered = sorted(marks.items(), key=lambda mark: mark[1])
    return [(float(height), word) for word, height in (ordered if len(ordered) <= 8 else (ordered[0], ordered[-1]))]


def _heights(words: Sequence[str]) -> np.ndarray:
    numbers = _numbers(words)
    if numbers is None:
        names = sorted(set(words))
        return _unit(np.array([names.index(word) for word in words], dtype=float))
    return _unit(np.log10(numbers) if _spans_decades(numbers) else numbers)


def _numbers(words: Sequence[str]) -> np.ndarray | None:
    """The words as numbers; None if one of them is none."""
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return None


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return np.full(values.shape, 0.5) if high == low else (values - low) / (high - low)


def _spans_decades(values: np.ndarray) -> bool:
    return bool(values.min() > 0 and np.log10(values.max() / values.min()) > DECADES)


def _scale(axes: Axes, metric: np.ndarray) -> None:
    if _spans_decades(metric):
        axes.set_yscale("log")


def _short(key: str) -> str:
    """The last two words of a key, enough to tell it from the others."""
    return ".".join(key.split(".")[-2:])
