"""One look for all figures: few lines, no frames, colours that stay apart for every eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from training.files import write_atomically

BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#56B4E9", "#8A8F98"
"""Okabe and Ito's colours (with Tol's purple), told apart under every common colour blindness."""

CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
INK, FAINT = "#24292F", "#D8DCE2"
DENSITY = LinearSegmentedColormap.from_list("limbeck", ["#DCEAF4", "#56A0D0", "#0072B2", "#003B5C"])
"""Light to dark, so that it survives a black-and-white print."""

WIDTH = 6.4
"""Inches, of a figure as wide as a column of the report."""

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.formatter.useoffset": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "limbeck",
}


@dataclass(frozen=True)
class SavedFigure:
    """A figure on disk.

    Attributes:
        name: file name without suffix, and its name in dashboards.
        title: a few words.
        caption: what is to be seen, with its numbers.
        svg: vector file with a transparent background, for the report.
        png: 150 dpi on white.
    """

    name: str
    title: str
    caption: str
    svg: Path
    png: Path


@contextmanager
def canvas(
    columns: int = 1, rows: int = 1, height: float = 3.2, height_ratios: Sequence[float] | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """An empty figure in the house style and its axes, row by row; draw and save inside the ``with``."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, height_ratios=height_ratios)
        yield figure, list(axes.flat)


def save(figure: Figure, folder: Path, name: str, title: str, caption: str) -> SavedFigure:
    """Write ``name.svg`` and ``name.png`` into the folder; equal figures give equal files.

    Raises:
        InputError: if the folder cannot be written.
    """
    folder = Path(folder)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    write_atomically(
        svg,
        lambda path: figure.savefig(
            path, format="svg", transparent=True, dpi=200, metadata={"Date": None, "Creator": None}
        ),
    )
    write_atomically(
        png, lambda path: figure.savefig(path, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    )
    return SavedFigure(name, title, caption, svg, png)


def grid(axes: Axes, axis: str = "y") -> None:
    """Faint lines behind the data along one axis, or ``both``."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=2.5)
