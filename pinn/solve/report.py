"""``report.html``: one file that says in words, tables and figures how far to trust a solution; opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pinn.solve.facts import SolveFacts
from pinn.solve.figures.numbers import digits
from pinn.solve.results import Results
from training.files import write_text_atomically
from training.report.gates import Gate, sentence
from training.report.page import FILE_NAME, render_page
from training.report.style import SavedFigure

FLOOR_MARGIN = 3.0
"""An error closer to the reference's own than this factor says as much of the reference as of the solution."""


def write_report(
    folder: Path, results: Results, gates: Sequence[Gate], figures: Sequence[SavedFigure], facts: SolveFacts
) -> Path:
    """Write the report of a run.

    Everything is inside the file: styles inline, figures as data, no script, nothing fetched from anywhere.

    Args:
        folder: the run folder.
        results: what was measured; sections without a measurement say so or are left out.
        gates: as judged; the verdict stands first.
        figures: as saved by ``pinn.solve.figures``; the SVG files are embedded.
        facts: about the run.

    Returns:
        The file.

    Raises:
        InputError: if the folder cannot be written.
    """
    path = Path(folder) / FILE_NAME
    write_text_atomically(path, render_report(results, gates, figures, facts))
    return path


def render_report(results: Results, gates: Sequence[Gate], figures: Sequence[SavedFigure], facts: SolveFacts) -> str:
    """The report as text; see `write_report`."""
    return render_page(
        "pinn.solve",
        "report.html.j2",
        gates=gates,
        verdict=sentence(gates),
        figures=figures,
        sections=_sections(results),
        facts=facts,
        results=results,
        near_floor=[name for name, error in results.errors.items() if _near(error.relative_l2, error.floor)],
        call=_call(facts),
        digits=digits,
    )


def _sections(results: Results) -> dict[str, tuple[str, ...]]:
    """Where each figure stands; a figure with another name stands at the end."""
    fields = (results.maps or results.evaluation).solution
    kinds = ("solution", "slices", "axis_slices", "error")
    return {
        "equation": ("equation",),
        "solution": tuple(f"{kind}_{name}" for name in fields for kind in kinds),
        "residual": ("residual",),
        "points": ("points",),
        "learning": ("accuracy", "losses"),
        "parameters": ("parameters",),
    }


def _near(error: float, floor: float | None) -> bool:
    return floor is not None and error < FLOOR_MARGIN * floor


def _call(facts: SolveFacts) -> str:
    """Arguments that ask for the middle of the domain, by name."""
    middle = {name: (low + high) / 2 for name, (low, high) in facts.bounds.items()}
    return ", ".join(f"{name}={middle[name]:.3g}" for name in facts.coordinates)
