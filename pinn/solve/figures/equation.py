"""The problem's equation as a picture, set by matplotlib, so that a report needs no script to show it."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from training.errors import ConfigurationError
from training.report.style import INK, WIDTH, SavedFigure, save

SIZE = 13.0
"""Points, of the letters; a longer equation is set smaller until it fits."""

LINE = 0.42
"""Inches from one line to the next."""


def draw_equation(folder: Path, formula: str) -> SavedFigure:
    """The equations, one per line, left-aligned.

    Args:
        folder: where the files go.
        formula: LaTeX in the part that matplotlib's mathtext knows, without dollar signs.

    Raises:
        ConfigurationError: if mathtext cannot read a line.
    """
    rows = check_formula(formula)
    with mpl.rc_context({"mathtext.fontset": "cm", "svg.hashsalt": "limbeck"}):
        size = SIZE * min(1.0, (WIDTH - 0.2) / max(_width(row) for row in rows))
        figure = Figure(figsize=(WIDTH, LINE * len(rows) + 0.1))
        for number, row in enumerate(rows):
            height = 1 - (number + 0.5) / len(rows)
            figure.text(0.01, height, f"${row}$", fontsize=size, va="center", color=INK)
        return save(figure, folder, "equation", "Equation", f"The equation: {'; '.join(rows)}.")


def check_formula(formula: str) -> list[str]:
    """The lines of a formula, each of them readable by mathtext.

    Raises:
        ConfigurationError: naming the line and what is wrong in it.
    """
    rows = [row.strip().strip("$").strip() for row in formula.splitlines() if row.strip()]
    if not rows:
        raise ConfigurationError("The problem's formula is empty; write its equation in LaTeX, as r'u_t + u u_x = 0'.")
    for row in rows:
        try:
            _width(row)
        except ValueError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigurationError(
                f"The problem's formula cannot be set: {row!r}: {reason}. Matplotlib's mathtext knows a part of LaTeX: "
                "write \\frac, \\partial, \\nabla, one equation per line, no environments."
            ) from error
    return rows


def _width(row: str) -> float:
    """Inches, at the usual size."""
    return float(MathTextParser("path").parse(f"${row}$", dpi=72, prop=_font()).width) / 72


def _font() -> mpl.font_manager.FontProperties:
    return mpl.font_manager.FontProperties(size=SIZE)
