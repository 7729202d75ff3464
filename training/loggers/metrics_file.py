"""The record of a run: ``metrics.jsonl``, one JSON object per line, readable while it grows and after any crash.

A line holds what was logged in one call::

    {"step": 120, "time": 1763625600.0, "train/loss": 0.031, "train/force_mae_meV_per_A": 24.1}
    {"step": 500, "time": 1763625660.0, "figure": {"name": "parity", "path": "figures/parity.png"}}
    {"step": 500, "time": 1763625661.0, "summary": {"force_mae_meV_per_A": 14.2}}

JSON has no NaN and no infinity: they are written as the strings "NaN", "Infinity" and "-Infinity", and read back as
numbers. Whoever opens the file in pandas gets one column per metric: ``pandas.read_json(path, lines=True)``.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.files import write_text_atomically

FILE_NAME = "metrics.jsonl"
RESERVED = ("step", "time", "figure", "summary")
_NON_FINITE = ("NaN", "Infinity", "-Infinity")


class MetricsFile:
    """Appends rows to a run's ``metrics.jsonl``.

    Each row is handed to the operating system in one write before `append` returns, so a killed process loses nothing
    that was logged. Only a loss of power or a full disk can tear a line, and then only the last one: opening the file
    removes it.

    Args:
        path: the file; made if absent.

    Raises:
        InputError: if the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        _drop_torn_line(self.path)
        self._descriptor = self._open()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row.

        Raises:
            InputError: if the disk is full; a line begun is removed when the file is opened next.
        """
        line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise InputError(_write_failed(self.path, error.strerror)) from error
        if written != len(line):
            raise InputError(_write_failed(self.path, "the disk is full"))

    def cut(self, step: int) -> None:
        """Remove the rows of ``step`` and later; summaries stay. The file is replaced in one go."""
        rows = read_rows(self.path)
        kept = [row for row in rows if row["step"] < step or "summary" in row]
        if len(kept) < len(rows):
            self.close()
            write_text_atomically(self.path, "".join(_line(row) for row in kept))
            self._descriptor = self._open()

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(_write_failed(self.path, error.strerror)) from error


def metric_row(metrics: Mapping[str, Any], step: int) -> dict[str, Any]:
    """A row from scalars, tensors of one element or numpy scalars.

    Raises:
        ValueError: if a metric bears the name of a field of the row, or is no number.
    """
    row: dict[str, Any] = {"step": int(step), "time": time.time()}
    for name, value in metrics.items():
        if name in RESERVED:
            raise ValueError(f"A metric cannot be called {name!r}: metrics.jsonl uses this name itself.")
        row[name] = encode_number(value)
    return row


def encode_number(value: Any) -> int | float | str:
    """An integer, a finite float, or the name of a value JSON cannot write."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, int):
        return int(number)
    number = float(number)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def encode(value: Any) -> Any:
    """A nested value as JSON has it: mappings, sequences, text, truth values, numbers in the way of `encode_number`."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(name): encode(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    return encode_number(value)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The logged values of a run in the order they were logged: ``{"step", "time", name: number, …}`` per call.

    A torn last line, which a run in progress or a crash may leave, is ignored.

    Raises:
        InputError: if the file is missing, or a line before the last is no JSON.
    """
    return [
        {name: decode_number(value) for name, value in row.items()}
        for row in read_rows(path)
        if "figure" not in row and "summary" not in row
    ]


def read_figures(path: Path) -> dict[str, Path]:
    """The newest file of each logged figure, by name; paths are absolute or relative as the run folder was given."""
    folder = Path(path).parent
    return {row["figure"]["name"]: folder / row["figure"]["path"] for row in read_rows(path) if "figure" in row}


def curve(rows: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric, from what `read_metrics` returned."""
    points = [(row["step"], float(row[name])) for row in rows if name in row]
    return [step for step, _ in points], [value for _, value in points]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every row as it stands in the file, figures and summaries too; see `read_metrics` for the errors."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; a run writes it from its first logged value on.") from error
    lines = content.split(b"\n")
    rows = []
    # what follows the last line feed is empty or torn
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InputError(f"Line {number} of {path} is damaged: {error}. Remove this line to go on.") from error
    return rows


def decode_number(value: Any) -> Any:
    """The inverse of `encode_number`; other values pass unchanged."""
    return float(value) if isinstance(value, str) and value in _NON_FINITE else value


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _write_failed(path: Path, reason: str | None) -> str:
    return (
        f"Writing {path} failed: {reason}. Free some space or choose another folder, then run the same command again."
    )
