"""What happened: one line of JSON for every attempt, added at the end and never changed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from training.files import flush
from training.sweeps.figures_of_run import read_figures
from training.sweeps.plan import PlannedRun

FILE_NAME = "records.jsonl"

Outcome = Literal["finished", "gate_missed", "refused", "failed", "timeout", "killed", "interrupted"]

COMPLETE: tuple[Outcome, ...] = ("finished", "gate_missed")
"""Runs that are not made again: their results are there."""

MEANINGS: dict[int, Outcome] = {0: "finished", 2: "refused", 3: "gate_missed", 75: "interrupted"}
"""What exit codes of a run mean; any other is a failure."""


@dataclass(frozen=True)
class Seconds:
    """What took how long: a worker's start, the way to it and back, the run itself."""

    startup: float
    transfer: float
    run: float


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run.

    Attributes:
        id: of the run.
        attempt: counted from 1, over all sessions.
        values: what makes the run different from the others.
        outcome: in a word.
        exit_code: of the run; None if its process was killed.
        signal: that killed the process, by name.
        start, end: date and time, UTC.
        machine: its name.
        worker: number of the worker.
        cores: the worker was bound to; empty where a system cannot do that.
        device: number of the GPU, if workers were given one each.
        startup_seconds: from the start of the worker until it could run, for its first run; else 0.
        transfer_seconds: on the way to the worker and back.
        run_seconds: of the run itself.
        folder: of the run.
        log: what it printed, if not on the terminal.
        figures: numbers of its summary.
    """

    id: str
    attempt: int
    values: dict[str, str]
    outcome: Outcome
    exit_code: int | None
    signal: str | None
    start: str
    end: str
    machine: str
    worker: int
    cores: tuple[int, ...]
    device: int | None
    startup_seconds: float
    transfer_seconds: float
    run_seconds: float
    folder: str
    log: str | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the run need not be made again."""
        return self.outcome in COMPLETE

    @classmethod
    def of(cls, run: PlannedRun, number: int, outcome: Outcome, start: str, seconds: Seconds, **facts: Any) -> Attempt:
        """The record of an attempt that has just ended on this machine.

        Args:
            run: that was tried.
            number: of the attempt.
            outcome: in a word.
            start: date and time.
            seconds: what took how long.
            **facts: further attributes.
        """
        return cls(
            id=run.id,
            attempt=number,
            values=run.values,
            outcome=outcome,
            start=start,
            end=date_and_time(),
            machine=platform.node(),
            startup_seconds=round(seconds.startup, 4),
            transfer_seconds=round(seconds.transfer, 4),
            run_seconds=round(seconds.run, 4),
            folder=str(run.folder),
            figures=read_figures(run.folder) if outcome in COMPLETE else {},
            **facts,
        )


class Records:
    """The file of a sweep.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.attempts: list[Attempt] = read_records(folder)

    def add(self, attempt: Attempt) -> None:
        """Write a line; it is on the disk when this returns."""
        line = json.dumps(asdict(attempt), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        if _ends_inside_a_line(self.path):
            line = b"\n" + line
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        flush(self.path)
        self.attempts.append(attempt)

    def complete(self) -> dict[str, Attempt]:
        """The attempts whose runs need not be made again, by id."""
        return {attempt.id: attempt for attempt in self.attempts if attempt.complete}

    def latest(self) -> dict[str, Attempt]:
        """The attempt that counts for every run that was tried: the complete one, else the last."""
        return {attempt.id: attempt for attempt in self.attempts} | self.complete()

    def count(self, run_id: str) -> int:
        """How often a run was tried."""
        return sum(attempt.id == run_id for attempt in self.attempts)


def read_records(folder: Path) -> list[Attempt]:
    """All attempts of a sweep; a line that a killed process left unfinished is passed over."""
    path = folder / FILE_NAME
    if not path.exists():
        return []
    attempts = []
    for line in path.read_text().splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        attempts.append(Attempt(**{**values, "cores": tuple(values["cores"])}))
    return attempts


def date_and_time() -> str:
    """As records have it: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def outcomes(attempts: Sequence[Attempt]) -> dict[str, int]:
    """How many of each outcome."""
    found: dict[str, int] = {}
    for attempt in attempts:
        found[attempt.outcome] = found.get(attempt.outcome, 0) + 1
    return found


def _ends_inside_a_line(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
