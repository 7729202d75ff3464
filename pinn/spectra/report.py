"""``report.html`` of a survey: one file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pinn.spectra.facts import SurveyFacts
from pinn.spectra.results import SurveyResults
from training.files import write_text_atomically
from training.report.gates import Gate, sentence
from training.report.page import FILE_NAME, render_page
from training.report.style import SavedFigure

SECTIONS = {
    "example": ("example",),
    "accuracy": ("pulls", "scatter"),
    "emulator": ("emulator", "learning_curves"),
}
"""Where each figure stands; a figure with another name stands at the end."""


def write_report(
    folder: Path, results: SurveyResults, gates: Sequence[Gate], saved: Sequence[SavedFigure], facts: SurveyFacts
) -> Path:
    """Write the report of a run.

    Args:
        folder: the run folder.
        results: what was measured.
        gates: as judged; the verdict stands first.
        saved: figures; the SVG files are embedded.
        facts: about the run.

    Returns:
        The file.

    Raises:
        InputError: if the folder cannot be written.
    """
    path = Path(folder) / FILE_NAME
    text = render_page(
        "pinn.spectra", "report.html.j2", gates=gates, verdict=sentence(gates), figures=saved, sections=SECTIONS,
        facts=facts, results=results,
    )  # fmt: skip
    write_text_atomically(path, text)
    return path
