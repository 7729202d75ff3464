"""Maps of a solution: the field, its reference, the error and the residual over two coordinates.

One coordinate of space and time: time runs to the right. Two of space: as they lie. A third coordinate, or time beside
two of space, gives a row of sheets at several of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure

from pinn.solve.figures.grids import coarsened, evenly, find_grid
from pinn.solve.figures.numbers import digits
from pinn.solve.results import Evaluated
from training.report.style import DENSITY, SavedFigure, canvas, save

SIGNED = LinearSegmentedColormap.from_list(
    "limbeck_signed", ["#002F4A", "#0072B2", "#8CC1E0", "#F5F5F2", "#F0B48A", "#D55E00", "#5E2900"]
)
"""Blue below zero, orange above: told apart under every common colour blindness."""

UNSIGNED = "viridis"
DECADES = 4
"""Powers of ten that a map of errors spans below its largest value."""

LIMIT = 512
"""Lines along an axis of a map; more than a reader's screen shows."""

SHEETS = 4


@dataclass(frozen=True)
class Sheet:
    """Two coordinates at one value of the third, if there is one.

    Attributes:
        label: of the third coordinate; empty without.
        chosen: which of all points lie in it.
        across, up: names of the horizontal and the vertical coordinate.
        positions: (n_chosen, 2) across and up.
        equal: whether both have the same unit, so that shapes are to be seen as they are.
    """

    label: str
    chosen: np.ndarray
    across: str
    up: str
    positions: np.ndarray
    equal: bool


def draw_solution(folder: Path, evaluated: Evaluated, name: str) -> SavedFigure | None:
    """A field, its reference and the size of the error; None where there is no plane to show.

    Args:
        folder: where the files go.
        evaluated: two or three coordinates.
        name: of the field.
    """
    sheets = find_sheets(evaluated)
    if not sheets:
        return None
    solution, reference = evaluated.solution[name], evaluated.reference.get(name)
    panels = [(f"{name}, solution", solution, False)]
    caption = f"The solution {name}."
    if reference is not None:
        error = np.abs(evaluated.error(name))
        panels += [(f"{name}, reference", reference, False), (f"|error of {name}|", error, True)]
        caption = (
            f"The solution {name}, the reference, and the size of their difference on a logarithmic scale: at most "
            f"{digits(float(error.max()))}, where the reference reaches {digits(float(np.abs(reference).max()))}."
        )
    both = solution if reference is None else np.concatenate([solution, reference])
    return _draw(folder, sheets, panels, _norm(both, False), f"solution_{name}", f"Solution {name}", caption)


def draw_residual(folder: Path, evaluated: Evaluated) -> SavedFigure | None:
    """Size of what is left of every equation; None where it was not evaluated or there is no plane to show.

    Args:
        folder: where the files go.
        evaluated: two or three coordinates.
    """
    sheets = find_sheets(evaluated)
    if not sheets or not evaluated.residual:
        return None
    panels = [(f"|residual|, {name}", np.abs(values), True) for name, values in evaluated.residual.items()]
    sizes = ", ".join(
        f"{name} {digits(float(np.sqrt(np.square(values).mean())))} (largest {digits(float(np.abs(values).max()))})"
        for name, values in evaluated.residual.items()
    )
    caption = f"Size of the residual, zero for an exact solution, on a logarithmic scale. Root mean square: {sizes}."
    return _draw(folder, sheets, panels, Normalize(), "residual", "Residual", caption)


def find_sheets(evaluated: Evaluated) -> list[Sheet]:
    """The planes to draw: one for two coordinates, several for three, none for other numbers."""
    names, points = evaluated.coordinates, evaluated.points
    if len(names) == 2:
        across, up = (1, 0) if evaluated.time == names[1] else (0, 1)
        everything = np.arange(len(points))
        return [Sheet("", everything, names[across], names[up], points[:, [across, up]], evaluated.time is None)]
    grid = find_grid(points) if len(names) == 3 else None
    if grid is None:
        return []
    lines = np.unravel_index(grid.place, grid.shape)[2]
    sheets = []
    for index in evenly(len(grid.axes[2]), SHEETS):
        chosen = np.flatnonzero(lines == index)
        label = f"{names[2]} = {digits(float(grid.axes[2][index]))}"
        sheets.append(Sheet(label, chosen, names[0], names[1], points[chosen][:, :2], evaluated.time != names[1]))
    return sheets


def _draw(
    folder: Path,
    sheets: Sequence[Sheet],
    panels: Sequence[tuple[str, np.ndarray, bool]],
    shared: Normalize,
    name: str,
    title: str,
    caption: str,
) -> SavedFigure:
    """One row of panels for a single sheet, else a row of sheets for each panel.

    Args:
        sheets: the planes.
        panels: title, values on all points, and whether they are sizes of errors, which get a scale of their own.
        shared: scale of the other panels.
    """
    single = len(sheets) == 1
    across = min(3, len(panels)) if single else len(sheets)
    down = -(-len(panels) // across) if single else len(panels)
    cells = [(panel, sheet) for panel in panels for sheet in sheets]
    with canvas(columns=across, rows=down, height=_height(sheets[0], across, down)) as (figure, axes):
        norms = [_norm(values, True) if sizes else shared for _, values, sizes in panels for _ in sheets]
        reduced = 1
        for number, (ax, norm) in enumerate(zip(axes[: len(cells)], norms, strict=True)):
            (heading, values, sizes), sheet = cells[number]
            cmap = DENSITY if sizes else SIGNED if _is_signed(norm) else UNSIGNED
            mappable, step = _map(ax, sheet, values[sheet.chosen], norm, cmap, largest=sizes)
            reduced = max(reduced, step if sizes else 1)
            _label(ax, sheet, left=number % across == 0, bottom=number + across >= len(cells))
            ax.set_title(heading if single else f"{heading}, {sheet.label}" if sheet is sheets[0] else sheet.label)
            if single or sheet is sheets[-1]:
                _colorbar(figure, mappable, ax, single)
        for ax in axes[len(cells) :]:
            ax.set_visible(False)
        if not single:
            caption += f" From left to right: {', '.join(sheet.label for sheet in sheets)}."
        if reduced > 1:
            caption += f" A cell shows the largest of up to {reduced} × {reduced} points."
        return save(figure, folder, name, title, caption)


def _map(
    axes: Axes, sheet: Sheet, values: np.ndarray, norm: Normalize, cmap: LinearSegmentedColormap | str, largest: bool
) -> tuple[object, int]:
    """Cells of a grid, or a mark at every scattered point. Returns what is drawn, and how many lines make a cell."""
    grid = find_grid(sheet.positions)
    if grid is None:
        area = 40_000 / max(len(values), 1)
        look: dict[str, Any] = {"norm": norm, "cmap": cmap, "linewidths": 0, "marker": "s", "rasterized": True}
        across, up = sheet.positions.T
        return axes.scatter(across, up, c=_above(values, norm), s=min(area, 20.0), **look), 1
    cells, steps = coarsened(grid.fill(_above(values, norm)), LIMIT, largest)
    horizontal, vertical = (axis[::step] for axis, step in zip(grid.axes, steps, strict=True))
    cells = np.ma.masked_invalid(cells.T)
    return axes.pcolormesh(horizontal, vertical, cells, norm=norm, cmap=cmap, shading="nearest", rasterized=True), max(
        steps
    )


def _label(axes: Axes, sheet: Sheet, left: bool, bottom: bool) -> None:
    """Names and numbers on the outer sides only: all panels share their coordinates."""
    axes.tick_params(length=2.5, labelleft=left, labelbottom=bottom)
    if left:
        axes.set_ylabel(sheet.up)
    if bottom:
        axes.set_xlabel(sheet.across)
    if sheet.equal:
        axes.set_aspect("equal", adjustable="box")


def _colorbar(figure: Figure, mappable: object, axes: Axes, single: bool) -> None:
    below = {"location": "bottom", "aspect": 28, "pad": 0.02} if single else {"aspect": 20, "pad": 0.02}
    bar = figure.colorbar(mappable, ax=axes, **below)  # type: ignore[arg-type]
    bar.outline.set_visible(False)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7, length=2)


def _norm(values: np.ndarray, sizes: bool) -> Normalize:
    """A scale for values: logarithmic for sizes of errors, symmetric for values of both signs."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Normalize(0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if sizes:
        return LogNorm(high * 10.0**-DECADES, high) if high > 0 else Normalize(0.0, 1.0)
    if low < 0 < high and min(-low, high) > 0.02 * max(-low, high):
        reach = max(-low, high)
        return Normalize(-reach, reach)
    return Normalize(low, high if high > low else low + 1.0)


def _is_signed(norm: Normalize) -> bool:
    return norm.vmin is not None and norm.vmin == -(norm.vmax or 0.0) and norm.vmin < 0


def _above(values: np.ndarray, norm: Normalize) -> np.ndarray:
    """Values that a logarithmic scale can show: an exact zero stands at its lower end."""
    return np.maximum(values, norm.vmin or 0.0) if isinstance(norm, LogNorm) else values


def _height(sheet: Sheet, across: int, down: int) -> float:
    """Inches: as high as the shape of the domain asks for."""
    if not sheet.equal:
        return 0.25 + 2.55 * down
    reach = sheet.positions.max(axis=0) - sheet.positions.min(axis=0)
    width = 5.6 / across
    return min(9.0, down * (0.85 + width * float(np.clip(reach[1] / max(reach[0], 1e-300), 0.25, 2.5))))
