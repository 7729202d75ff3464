"""Curves of a solution: slices at several times or along an axis, and the distribution of the error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pinn.solve.figures.grids import evenly, find_grid
from pinn.solve.figures.numbers import digits
from pinn.solve.results import Evaluated
from training.report.style import BLUE, DENSITY, GREY, INK, ORANGE, SavedFigure, canvas, grid, save

TIMES = 4
PER_ROW = 4
LEAST = 1e-18
DECADES = 6
"""Errors so many powers of ten below the largest are drawn there, and none below `LEAST`: zeros have no logarithm."""


def draw_slices(folder: Path, evaluated: Evaluated, name: str) -> SavedFigure | None:
    """A field over the one coordinate of space at several times, its error below; None for other problems.

    Args:
        folder: where the files go.
        evaluated: one coordinate alone, or one of space and time on a grid.
        name: of the field.
    """
    lines = _lines_of(evaluated)
    if not lines:
        return None
    reference = evaluated.reference.get(name)
    least = LEAST if reference is None else _least(evaluated.error(name))
    with canvas(columns=len(lines), rows=1 if reference is None else 2, height=1.9 if reference is None else 3.4) as (
        figure,
        axes,
    ):
        for number, (label, across, chosen) in enumerate(lines):
            x = evaluated.points[chosen, evaluated.coordinates.index(across)]
            _line(axes[number], x, evaluated.solution[name][chosen], None if reference is None else reference[chosen])
            axes[number].set_title(label or name)
            if reference is None:
                axes[number].set_xlabel(across)
                continue
            axes[number].tick_params(labelbottom=False)
            below = axes[len(lines) + number]
            below.plot(x, np.maximum(np.abs(evaluated.error(name)[chosen]), least), color=BLUE, linewidth=0.9)
            below.set(yscale="log", xlabel=across)
            grid(below)
        _share_height(axes[: len(lines)])
        axes[0].set_ylabel(name)
        at = "" if evaluated.time is None else f" at {len(lines)} times"
        caption = f"The field {name}{at}."
        if reference is not None:
            _share_height(axes[len(lines) :])
            axes[len(lines)].set_ylabel(f"|error of {name}|")
            _legend(figure, axes[0])
            caption = (
                f"Above: the field {name}{at}, the solution over the reference. Below: the size of their difference."
            )
        return save(figure, folder, f"slices_{name}", f"Slices of {name}", caption)


def draw_axis_slices(folder: Path, slices: Mapping[str, Evaluated], name: str) -> SavedFigure | None:
    """A field along straight lines through the domain, one per coordinate; None without any.

    Args:
        folder: where the files go.
        slices: points along the coordinate of that name (`Results.slices`).
        name: of the field.
    """
    if not slices:
        return None
    across = min(PER_ROW, len(slices))
    down = -(-len(slices) // across)
    largest = 0.0
    with canvas(columns=across, rows=down, height=0.5 + 1.5 * down) as (figure, axes):
        for ax, (along, line) in zip(axes, slices.items(), strict=False):
            x, reference = line.points[:, line.coordinates.index(along)], line.reference.get(name)
            order = np.argsort(x)
            _line(ax, x[order], line.solution[name][order], None if reference is None else reference[order])
            ax.set(xlabel=along)
            if reference is not None:
                largest = max(largest, float(np.abs(line.error(name)).max()))
        for ax in axes[len(slices) :]:
            ax.set_visible(False)
        axes[0].set_ylabel(name)
        caption = f"The field {name} along straight lines through the domain, one for each of {', '.join(slices)}."
        if any(name in line.reference for line in slices.values()):
            _legend(figure, axes[0])
            caption += f" The solution over the reference; they differ by {digits(largest)} at most."
        return save(figure, folder, f"axis_slices_{name}", f"{name} along the axes", caption)


def draw_error_distribution(folder: Path, evaluated: Evaluated, name: str) -> SavedFigure | None:
    """How the size of the error is distributed, and the solution against the reference; None without a reference.

    Args:
        folder: where the files go.
        evaluated: any number of coordinates.
        name: of the field.
    """
    if name not in evaluated.reference:
        return None
    reference, solution = evaluated.reference[name], evaluated.solution[name]
    error = np.abs(evaluated.error(name))
    rms = float(np.sqrt(np.square(error).mean()))
    with canvas(columns=2, height=2.7) as (figure, (sizes, parity)):
        shown = np.maximum(error, _least(error))
        bins = np.geomspace(float(shown.min()), float(shown.max()) * 1.0001, 41)
        sizes.hist(shown, bins=bins.tolist(), color=BLUE, alpha=0.85)
        sizes.axvline(max(rms, LEAST), color=ORANGE, linewidth=1.2)
        sizes.set(xscale="log", xlabel=f"|error of {name}|", ylabel="points", title="Error")
        grid(sizes)
        span = float(min(reference.min(), solution.min())), float(max(reference.max(), solution.max()))
        parity.plot(span, span, color=INK, linewidth=0.6, alpha=0.5)
        cells = parity.hexbin(
            reference,
            solution,
            gridsize=50,
            norm=LogNorm(),
            cmap=DENSITY,
            mincnt=1,
            linewidths=0.1,
            extent=(*span, *span),
        )
        cells.set_rasterized(True)
        figure.colorbar(cells, ax=parity, shrink=0.8, aspect=26, pad=0.01).outline.set_visible(False)
        parity.set(xlabel=f"{name}, reference", ylabel=f"{name}, solution", title="Solution and reference")
        grid(parity, "both")
        caption = (
            f"Size of the error of {name} on {len(error):,} points: root mean square {digits(rms)} (line), median "
            f"{digits(float(np.median(error)))}, largest {digits(float(error.max()))}; the reference reaches "
            f"{digits(float(np.abs(reference).max()))}. Right: colour counts points; on the line both agree."
        )
        return save(figure, folder, f"error_{name}", f"Error of {name}", caption)


def _lines_of(evaluated: Evaluated) -> list[tuple[str, str, np.ndarray]]:
    """Label, horizontal coordinate and points, in order along it, of every slice."""
    names, points = evaluated.coordinates, evaluated.points
    if len(names) == 1:
        return [("", names[0], np.argsort(points[:, 0]))]
    if len(names) != 2 or evaluated.time is None:
        return []
    found = find_grid(points)
    if found is None:
        return []
    time = names.index(evaluated.time)
    lines = np.unravel_index(found.place, found.shape)[time]
    slices = []
    for index in evenly(len(found.axes[time]), TIMES, with_first=False):
        chosen = np.flatnonzero(lines == index)
        chosen = chosen[np.argsort(points[chosen, 1 - time])]
        slices.append((f"{evaluated.time} = {digits(float(found.axes[time][index]))}", names[1 - time], chosen))
    return slices


def _least(error: np.ndarray) -> float:
    """The smallest error that is drawn as it is."""
    return float(np.fmax(LEAST, np.abs(error).max() * 10.0**-DECADES))


def _line(axes: Axes, x: np.ndarray, solution: np.ndarray, reference: np.ndarray | None) -> None:
    if reference is not None:
        few = len(x) <= 25
        axes.plot(
            x,
            reference,
            "o" if few else "-",
            color=ORANGE,
            linewidth=3.0,
            markersize=3.5,
            alpha=0.55,
            label="reference",
        )
    axes.plot(x, solution, color=BLUE, linewidth=1.1, label="solution")
    axes.axhline(0, color=GREY, linewidth=0.4, alpha=0.6)
    grid(axes)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, handlelength=1.4)


def _share_height(axes: list[Axes]) -> None:
    """The same vertical range everywhere, with numbers on the first only."""
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for number, ax in enumerate(axes):
        ax.set_ylim(low, high)
        ax.tick_params(labelleft=number == 0)
