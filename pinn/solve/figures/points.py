"""Collocation points over time: where the sampler put them, and how densely, at chosen steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pinn.solve.figures.grids import evenly
from pinn.solve.results import PointSnapshot
from training.report.style import DENSITY, INK, SavedFigure, canvas, save

MOMENTS = 6
CELLS = 24
"""Cells along each axis in which the density is counted, at most."""

POINTS_PER_CELL = 8
"""Of an even spread; fewer would show chance as density."""

SHOWN = 800
"""Points drawn as such; the density counts all."""

PER_ROW = 3


def draw_points(
    folder: Path,
    snapshots: Sequence[PointSnapshot],
    coordinates: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
    time: str | None,
) -> SavedFigure | None:
    """Small multiples of the collocation points; None without a snapshot.

    Args:
        folder: where the files go.
        snapshots: in the order of their steps.
        coordinates: names of the columns of the points.
        bounds: of the domain, by coordinate.
        time: which coordinate is time, None if none is.
    """
    if not snapshots:
        return None
    chosen = [snapshots[i] for i in evenly(len(snapshots), MOMENTS)]
    if len(coordinates) == 2:
        return _planes(folder, chosen, coordinates, bounds, time)
    return _marginals(folder, chosen, coordinates, bounds)


def _planes(
    folder: Path,
    chosen: Sequence[PointSnapshot],
    coordinates: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
    time: str | None,
) -> SavedFigure:
    across, up = (1, 0) if time == coordinates[1] else (0, 1)
    horizontal, vertical = bounds[coordinates[across]], bounds[coordinates[up]]
    columns = min(PER_ROW, len(chosen))
    rows = -(-len(chosen) // columns)
    with canvas(columns=columns, rows=rows, height=0.55 + 2.0 * rows) as (figure, axes):
        cells_across = int(np.clip(np.sqrt(len(chosen[0].points) / POINTS_PER_CELL), 6, CELLS))
        edges = [np.linspace(*ends, cells_across + 1) for ends in (horizontal, vertical)]
        densities = [_density(s.points[:, [across, up]], edges) for s in chosen]
        reach = max(2.0, *(float(np.nanmax(density)) for density in densities))
        norm = LogNorm(1 / 4, reach)
        for number, (ax, snapshot, density) in enumerate(zip(axes, chosen, densities, strict=False)):
            cells = ax.pcolormesh(*edges, density.T, norm=norm, cmap=DENSITY, rasterized=True)
            shown = snapshot.points[:: -(-len(snapshot.points) // SHOWN)]
            ax.plot(shown[:, across], shown[:, up], ".", color=INK, markersize=1.2, alpha=0.5, rasterized=True)
            ax.set(title=_when(snapshot), xlim=horizontal, ylim=vertical)
            ax.tick_params(length=2.5, labelbottom=number + columns >= len(chosen), labelleft=number % columns == 0)
            if time is None:
                ax.set_aspect("equal", adjustable="box")
            if number + columns >= len(chosen):
                ax.set_xlabel(coordinates[across])
            if number % columns == 0:
                ax.set_ylabel(coordinates[up])
        for ax in axes[len(chosen) :]:
            ax.set_visible(False)
        _bar(figure, cells, axes)
        return save(figure, folder, "points", "Collocation points", _caption(chosen))


def _marginals(
    folder: Path,
    chosen: Sequence[PointSnapshot],
    coordinates: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
) -> SavedFigure:
    """One histogram per coordinate and moment, as rows of colour."""
    with canvas(rows=len(chosen), height=0.7 + len(chosen) * (0.35 + 0.16 * len(coordinates))) as (figure, axes):
        tables = [_by_coordinate(s.points, coordinates, bounds) for s in chosen]
        reach = max(2.0, *(float(np.nanmax(table)) for table in tables))
        norm = LogNorm(1 / 4, reach)
        for ax, snapshot, table in zip(axes, chosen, tables, strict=True):
            edges = np.linspace(0, 1, CELLS + 1), np.arange(len(coordinates) + 1)
            cells = ax.pcolormesh(*edges, table, norm=norm, cmap=DENSITY, rasterized=True)
            ax.set_yticks(np.arange(len(coordinates)) + 0.5, list(coordinates))
            ax.invert_yaxis()
            ax.tick_params(length=0, labelbottom=ax is axes[-1])
            ax.set_title(_when(snapshot))
        axes[-1].set_xlabel("from the lowest (0) to the highest (1) value of each coordinate")
        _bar(figure, cells, axes)
        return save(figure, folder, "points", "Collocation points", _caption(chosen))


def _density(points: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Points per cell over the number that evenly spread points would put there; NaN in empty cells."""
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=[edge.tolist() for edge in edges])
    density = counts * counts.size / max(len(points), 1)
    return np.where(counts > 0, density, np.nan)


def _by_coordinate(
    points: np.ndarray, coordinates: Sequence[str], bounds: Mapping[str, tuple[float, float]]
) -> np.ndarray:
    """(n_coordinates, CELLS) the same along every coordinate alone."""
    counts = np.array(
        [np.histogram(column, CELLS, bounds[name])[0] for name, column in zip(coordinates, points.T, strict=True)]
    )
    return np.where(counts > 0, counts * CELLS / max(len(points), 1), np.nan)


def _bar(figure: Figure, cells: object, axes: Sequence[Axes]) -> None:
    bar = figure.colorbar(cells, ax=list(axes), aspect=40, pad=0.015)  # type: ignore[arg-type]
    bar.outline.set_visible(False)
    ticks = [value for value in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256) if value <= cells.norm.vmax]  # type: ignore[attr-defined]
    bar.set_ticks(ticks, labels=[f"{value:g}" for value in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("density over even spread", fontsize=8)


def _when(snapshot: PointSnapshot) -> str:
    return f"step {snapshot.step:,}"


def _caption(chosen: Sequence[PointSnapshot]) -> str:
    counts = sorted({len(snapshot.points) for snapshot in chosen})
    many = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    moments = "at one moment" if len(chosen) == 1 else f"at {len(chosen)} moments"
    return (
        f"{many} collocation points {moments} of the training. Colour: how many points a cell holds over how many it "
        "would hold if they were spread evenly over the bounding box; empty cells are blank."
    )
