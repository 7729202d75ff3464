"""``sweep.html``: table, pictures and costs of a sweep in one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.files import write_text_atomically
from training.report.page import render_page
from training.sweeps.figures import draw_all
from training.sweeps.records import outcomes
from training.sweeps.table import Table

FILE_NAME = "sweep.html"


@dataclass(frozen=True)
class SweepFacts:
    """About the sweep, for the part of the page that all reports share."""

    title: str
    command: str
    notes: tuple[str, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def write_page(folder: Path, table: Table, facts: SweepFacts, costs: Sequence[str]) -> Path:
    """Write the page.

    Args:
        folder: of the sweep.
        table: what came out.
        facts: about the sweep.
        costs: measured times and advice, as sentences.

    Returns:
        The file.
    """
    figures = draw_all(folder / "figures", table)
    text = render_page(
        "training.sweeps",
        "sweep.html.j2",
        gates=[],
        verdict=verdict(table),
        figures=figures,
        sections={"figures": [saved.name for saved in figures]},
        facts=facts,
        table=table,
        costs=costs,
    )
    write_text_atomically(folder / FILE_NAME, text)
    return folder / FILE_NAME


def verdict(table: Table) -> str:
    """What came out, in a sentence or two."""
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in outcomes(table.attempts).items())
    said = f"{len(table.attempts)} of {table.planned} runs were made: {counts or 'none'}."
    if table.compared:
        best = table.compared[0]
        values = ", ".join(f"{key}={best.values[key]}" for key in table.keys if key in best.values)
        said += f" Best {table.metric}: {table.value(best):.4g} with {values or 'the given words'} ({best.id})."
    return said
