"""``report.html``: one file that says in words, tables and figures how far to trust a student; opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlff.validate.accuracy import error_to_truth
from mlff.validate.facts import RunFacts
from mlff.validate.gates import sentence
from mlff.validate.results import Results
from training.files import write_text_atomically
from training.report.gates import Gate
from training.report.page import FILE_NAME, render_page
from training.report.style import SavedFigure

SECTIONS = {
    "accuracy": ("force_parity", "energy_parity", "error_per_element"),
    "dynamics": ("energy_conservation", "temperature", "distances", "force_error_along"),
    "learning": ("learning_curves",),
    "data": ("force_magnitudes", "element_histogram", "rejections"),
}
"""Where each figure stands; a figure with another name stands at the end."""


def write_report(
    folder: Path, results: Results, gates: Sequence[Gate], figures: Sequence[SavedFigure], facts: RunFacts
) -> Path:
    """Write the report of a run.

    Everything is inside the file: styles inline, figures as data, no script, nothing fetched from anywhere.

    Args:
        folder: the run folder.
        results: what was measured; sections without a measurement say so or are left out.
        gates: as judged; the verdict stands first.
        figures: as saved by ``mlff.validate.figures``; the SVG files are embedded.
        facts: about the run.

    Returns:
        The file.

    Raises:
        InputError: if the folder cannot be written.
    """
    path = Path(folder) / FILE_NAME
    write_text_atomically(path, render_report(results, gates, figures, facts))
    return path


def render_report(results: Results, gates: Sequence[Gate], figures: Sequence[SavedFigure], facts: RunFacts) -> str:
    """The report as text; see `write_report`."""
    verdict = sentence(gates, results.stability.failure if results.stability else "")
    return render_page(
        "mlff.validate",
        "report.html.j2",
        gates=gates,
        verdict=verdict,
        figures=figures,
        sections=SECTIONS,
        facts=facts,
        results=results,
        to_truth=_to_truth(results, facts),
    )


def _to_truth(results: Results, facts: RunFacts) -> float | None:
    """Expected force error against the teacher's own truth, where the teacher's error is known."""
    if results.accuracy is None or facts.teacher_to_truth_force_mae_meV_per_A is None:
        return None
    return error_to_truth(results.accuracy.force_mae_meV_per_A, facts.teacher_to_truth_force_mae_meV_per_A)
