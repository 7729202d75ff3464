"""Figures of the data: what the student was shown, what it is judged on, what was turned away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.report.style import BLUE, CYCLE, GREY, ORANGE, SavedFigure, canvas, grid, save


def element_histogram(folder: Path, counts: Mapping[str, Mapping[str, int]]) -> SavedFigure:
    """Share of every element in every source of structures.

    Args:
        folder: where the files go.
        counts: per source, atoms of each element symbol.
    """
    elements = list(dict.fromkeys(element for atoms in counts.values() for element in atoms))
    with canvas(height=0.9 + 0.36 * len(counts)) as (figure, (axes,)):
        left = np.zeros(len(counts))
        rows = np.arange(len(counts))
        for index, element in enumerate(elements):
            share = np.array([100 * atoms.get(element, 0) / max(sum(atoms.values()), 1) for atoms in counts.values()])
            colour = CYCLE[index % len(CYCLE)]
            axes.barh(
                rows, share, left=left, height=0.62, color=colour, label=element, edgecolor="white", linewidth=0.6
            )
            for row, (start, part) in enumerate(zip(left, share, strict=True)):
                if part >= 8:
                    axes.text(
                        start + part / 2,
                        row,
                        f"{element} {part:.0f} %",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color="white",
                    )
            left += share
        axes.set_yticks(rows, list(counts))
        axes.invert_yaxis()
        axes.set(xlabel="share of atoms, %", xlim=(0, 100), title="Elements by source")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=min(len(elements), 8))
        return save(figure, folder, "element_histogram", "Elements", "Elements in the structures of each source.")


def force_magnitudes(folder: Path, magnitudes: Mapping[str, np.ndarray]) -> SavedFigure:
    """Distribution of force sizes in each part of the data: the held-out part should lie inside the training part.

    Args:
        folder: where the files go.
        magnitudes: per part (training, validation, held out), |F| of every atom in eV/Å.
    """
    with canvas(height=2.5) as (figure, (axes,)):
        largest = max(float(values.max()) for values in magnitudes.values() if len(values))
        bins = np.linspace(0, largest, 61)
        for colour, (part, values) in zip((GREY, BLUE, ORANGE, *CYCLE), magnitudes.items(), strict=False):
            label = f"{part} ({len(values)} atoms)"
            axes.hist(
                values, bins=bins.tolist(), density=True, histtype="step", linewidth=1.4, color=colour, label=label
            )
        axes.set(
            xlabel="size of the force on an atom, eV/Å", ylabel="density", yscale="log", title="Forces in the data"
        )
        axes.set_xlim(0, largest)
        axes.legend()
        grid(axes)
        caption = "How large the forces are that the student was trained on and is judged on."
        return save(figure, folder, "force_magnitudes", "Forces in the data", caption)


def rejections(folder: Path, reasons: Mapping[str, int], accepted: int) -> SavedFigure | None:
    """Structures turned away, by reason; None if none was.

    Args:
        folder: where the files go.
        reasons: structures per reason.
        accepted: structures that were used.
    """
    if not reasons:
        return None
    with canvas(height=0.9 + 0.34 * len(reasons)) as (figure, (axes,)):
        rows = np.arange(len(reasons))
        axes.barh(rows, list(reasons.values()), height=0.6, color=ORANGE)
        for row, count in enumerate(reasons.values()):
            axes.annotate(str(count), (count, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(rows, list(reasons))
        axes.invert_yaxis()
        axes.set(xlabel="structures", title="Rejected")
        axes.margins(x=0.1)
        grid(axes, "x")
        total = sum(reasons.values())
        caption = f"{total} of {total + accepted} structures were rejected, by reason."
        return save(figure, folder, "rejections", "Rejected structures", caption)
