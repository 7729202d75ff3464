"""``report.html``: one file that says in words, tables and figures how far to trust a student; opens offline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlff.validate.accuracy import error_to_truth
from mlff.validate.facts import RunFacts
from mlff.validate.figures.style import SavedFigure
from mlff.validate.gates import Gate, all_passed, figure, sentence
from mlff.validate.results import Results
from training.files import write_text_atomically
from training.progress import duration

FILE_NAME = "report.html"

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
    environment = Environment(
        loader=PackageLoader("mlff.validate", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "duration": duration, "data_uri": _data_uri, "count": lambda n: f"{n:,}"}
    placed = {name for names in SECTIONS.values() for name in names}
    by_name = {saved.name: saved for saved in figures}
    return environment.get_template("report.html.j2").render(
        facts=facts,
        gates=gates,
        passed=all_passed(gates),
        judged=any(gate.passed is not None for gate in gates),
        verdict=sentence(gates, results.stability.failure if results.stability else ""),
        results=results,
        to_truth=_to_truth(results, facts),
        sections={section: [by_name[name] for name in names if name in by_name] for section, names in SECTIONS.items()},
        other_figures=[saved for saved in figures if saved.name not in placed],
    )


def _to_truth(results: Results, facts: RunFacts) -> float | None:
    """Expected force error against the teacher's own truth, where the teacher's error is known."""
    if results.accuracy is None or facts.teacher_to_truth_force_mae_meV_per_A is None:
        return None
    return error_to_truth(results.accuracy.force_mae_meV_per_A, facts.teacher_to_truth_force_mae_meV_per_A)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"−{figure(-value)}" if value < 0 else figure(value)


def _data_uri(saved: SavedFigure) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(saved.svg.read_bytes()).decode()}"
