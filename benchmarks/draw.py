"""The plot of README from what `md_step.py` has measured: times per MD step of every side, and our cost per atom.

python benchmarks/draw.py [--results benchmarks/results/md_step.json] [--figure docs/figures/md_step.svg]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from peers import PEERS
from turns import OURS

HERE = Path(__file__).parent
COLOURS = {OURS: "#b5402a", "schnetpack": "#4a6a8a", "graph_pes": "#9aa7b1"}


def draw_times(axes: Axes, lines: list[dict[str, Any]]) -> None:
    """A group of bars per system, ms on a logarithmic scale."""
    sides = [side for side in COLOURS if side in lines[0]]
    width = 0.8 / len(sides)
    for place, side in enumerate(sides):
        title = PEERS[side].title if side in PEERS else "Limbeck"
        at = [row + (place - (len(sides) - 1) / 2) * width for row in range(len(lines))]
        bars = axes.bar(at, [line[side] for line in lines], width, color=COLOURS[side], label=title)
        axes.bar_label(bars, fmt=_figure, fontsize=7, padding=1)
    axes.set_xticks(range(len(lines)), [line["case"] for line in lines])
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_ylabel("energy and forces through ASE (ms)")
    axes.legend(frameon=False, loc="upper left")


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def draw_scaling(axes: Axes, boxes: list[dict[str, Any]]) -> None:
    """Cost per atom over the number of atoms."""
    axes.plot([box["atoms"] for box in boxes], [box["us_per_atom"] for box in boxes], "o-", color=COLOURS[OURS])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("atoms of water")
    axes.set_ylabel("cost of a step per atom (µs)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "md_step.json")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "docs" / "figures" / "md_step.svg")
    arguments = parser.parse_args()
    measured = json.loads(arguments.results.read_text())
    # equal measurements give equal files
    matplotlib.rcParams["svg.hashsalt"] = "limbeck"
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    draw_times(left, measured["summary"])
    draw_scaling(right, measured["scaling"])
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.figure, metadata={"Date": None})


if __name__ == "__main__":
    main()
