"""The runs of a sweep side by side: on the terminal, as ``table.csv`` and as ``table.json``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.files import write_json_atomically, write_text_atomically
from training.sweeps.records import Attempt

CSV, JSON = "table.csv", "table.json"

SHOWN = 40
"""Rows on the terminal, at most."""


@dataclass(frozen=True)
class Table:
    """What came out.

    Attributes:
        keys: that were given several values.
        metric: the figure that runs are compared by; None if none gave any.
        goal: minimize or maximize.
        attempts: the one that counts of every run, in the order of the plan.
        planned: runs of the sweep.
    """

    keys: tuple[str, ...]
    metric: str | None
    goal: str
    attempts: tuple[Attempt, ...]
    planned: int

    @property
    def ranked(self) -> list[Attempt]:
        """Best first; runs without the metric last."""
        sign = 1 if self.goal == "minimize" else -1

        def rank(attempt: Attempt) -> tuple[bool, float]:
            value = self.value(attempt)
            return value is None, 0.0 if value is None else sign * value

        return sorted(self.attempts, key=rank)

    @property
    def compared(self) -> list[Attempt]:
        """Runs that have the metric, best first."""
        return [attempt for attempt in self.ranked if self.value(attempt) is not None]

    def value(self, attempt: Attempt) -> float | None:
        """The metric of a run."""
        return None if self.metric is None else attempt.figures.get(self.metric)

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `row`."""
        return ("run", *self.keys, *([self.metric] if self.metric else []), "outcome", "time")

    def row(self, attempt: Attempt) -> tuple[str, ...]:
        """One run in words."""
        value = self.value(attempt)
        metric = [] if self.metric is None else ["–" if value is None else f"{value:.4g}"]
        keys = [attempt.values.get(key, "") for key in self.keys]
        return (attempt.id, *keys, *metric, attempt.outcome.replace("_", " "), f"{attempt.run_seconds:.1f} s")


def lines(table: Table) -> list[str]:
    """The table for a terminal, best first."""
    rows = [table.header(), *(table.row(attempt) for attempt in table.ranked[:SHOWN])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    printed = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    left = len(table.attempts) - SHOWN
    return [*printed, *([f"… and {left} more in {CSV}"] if left > 0 else [])]


def write_table(folder: Path, table: Table, costs: Mapping[str, Any]) -> None:
    """Write ``table.csv`` and ``table.json`` in the order of the plan.

    Args:
        folder: of the sweep.
        table: what came out.
        costs: of the session, units in the names.
    """
    figures = list(dict.fromkeys(name for attempt in table.attempts for name in attempt.figures))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["run", *table.keys, "outcome", "exit_code", "run_seconds", *figures, "folder"])
    for attempt in table.attempts:
        keys = [attempt.values.get(key, "") for key in table.keys]
        numbers = [attempt.figures.get(name, "") for name in figures]
        writer.writerow(
            [attempt.id, *keys, attempt.outcome, attempt.exit_code, attempt.run_seconds, *numbers, attempt.folder]
        )
    write_text_atomically(folder / CSV, buffer.getvalue())
    best = table.compared
    content = {
        "metric": table.metric,
        "goal": table.goal,
        "best": best[0].id if best else None,
        "planned": table.planned,
        "costs": dict(costs),
        "runs": [
            {
                "id": attempt.id,
                "values": attempt.values,
                "outcome": attempt.outcome,
                "exit_code": attempt.exit_code,
                "run_seconds": attempt.run_seconds,
                "figures": attempt.figures,
                "folder": attempt.folder,
            }
            for attempt in table.attempts
        ],
    }
    write_json_atomically(folder / JSON, content)
