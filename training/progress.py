"""What the user sees while waiting: bars with the time left in a terminal, a few plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

FIRST_LINE_SECONDS = 10.0
"""A log gets its first progress line after this time; quick phases have only their start and their end."""

LINE_SPACING = 0.25
"""Later lines follow after this share of the time elapsed, so that their number grows with its logarithm."""


class Progress:
    """Reports phases of work: ``with progress.phase("Teacher MD", total=2000, unit="steps") as phase: ...``.

    A terminal shows one bar per open phase; anything else gets a line at the start, sparse lines with percentage and
    time left, and a line at the end. Phases may be nested. Not shared between threads or processes.

    Args:
        stream: where to write; standard output unless given.
        terminal: whether the stream can show bars; found out unless given.
    """

    def __init__(self, stream: TextIO | None = None, terminal: bool | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._console = Console(file=self._stream, force_terminal=terminal, highlight=False, soft_wrap=True)
        self.terminal = self._console.is_terminal and not self._console.is_jupyter
        self._bars: RichProgress | None = None
        self._open = 0

    def say(self, text: str) -> None:
        """One message on a line of its own, above the bars if there are any."""
        if self.terminal:
            self._console.print(text, markup=False)
        else:
            print(text, file=self._stream, flush=True)

    def phase(self, name: str, total: int | None = None, unit: str = "steps", done: int = 0) -> Phase:
        """A piece of work to be entered with ``with``.

        Args:
            name: what is being done, as a reader of the log would call it.
            total: how much there is to do; None if unknown until `Phase.set_total`.
            unit: what is counted, in the plural.
            done: how much was done by an earlier run; the time left counts only what this one does.
        """
        return Phase(self, name, total, unit, done)

    def _add_bar(self, name: str, total: int | None, done: int, unit: str) -> TaskID:
        if self._bars is None:
            self._bars = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=28),
                TextColumn("{task.completed:.0f}{task.fields[of]} {task.fields[unit]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False, style="dim"),
                console=self._console,
                speed_estimate_period=60.0,
            )
            self._bars.start()
        self._open += 1
        return self._bars.add_task(name, total=total, completed=done, unit=unit, note="", of=_of(total))

    def _remove_bar(self, bar: TaskID) -> None:
        assert self._bars is not None
        self._bars.remove_task(bar)
        self._open -= 1
        if self._open == 0:
            self._bars.stop()
            self._bars = None


class Phase:
    """One phase of a `Progress`, between its start and its end."""

    def __init__(self, progress: Progress, name: str, total: int | None, unit: str, done: int) -> None:
        self._progress = progress
        self.name = name
        self.total = total
        self.unit = unit
        self.done = done
        self._done_before = done
        self._bar: TaskID | None = None
        self._start = 0.0
        self._next_line = FIRST_LINE_SECONDS
        self._note = ""

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        if self._progress.terminal:
            self._bar = self._progress._add_bar(self.name, self.total, self.done, self.unit)
        else:
            self._progress.say(self._start_line())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._progress._remove_bar(self._bar)
        amount = f"{self.done - self._done_before} {self.unit} in " if self.done > self._done_before else ""
        verb = "done" if kind is None else "stopped"
        note = f" ({self._note})" if self._note else ""
        self._progress.say(f"{self.name}: {verb}, {amount}{duration(self.elapsed)}{note}")

    @property
    def elapsed(self) -> float:
        """Seconds since the phase was entered."""
        return time.monotonic() - self._start

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds until the end at the mean speed so far; None while nothing can be said."""
        here = self.done - self._done_before
        if self.total is None or here <= 0:
            return None
        return max(self.total - self.done, 0) * self.elapsed / here

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """``n`` more units are done; ``note`` is a short remark such as the current loss."""
        self.done += n
        if note is not None:
            self._note = note
        if self._bar is not None:
            assert self._progress._bars is not None
            self._progress._bars.update(self._bar, advance=n, note=self._note)
        elif self.elapsed >= self._next_line:
            self._progress.say(self._progress_line())
            self._next_line = self.elapsed * (1 + LINE_SPACING)

    def set_total(self, total: int) -> None:
        """State or correct how much there is to do."""
        self.total = total
        if self._bar is not None:
            assert self._progress._bars is not None
            self._progress._bars.update(self._bar, total=total, of=_of(total))

    def _start_line(self) -> str:
        if self.total is None:
            return f"{self.name} …"
        before = f", {self.done} done before" if self.done else ""
        return f"{self.name}: {self.total} {self.unit}{before} …"

    def _progress_line(self) -> str:
        left = self.seconds_left
        amount = f"{self.done}{_of(self.total)} {self.unit}"
        share = f" ({100 * self.done / self.total:.0f} %)" if self.total else ""
        time_left = f", {duration(left)} left" if left is not None else ""
        note = f", {self._note}" if self._note else ""
        return f"{self.name}: {amount}{share}{time_left}{note}"


def duration(seconds: float) -> str:
    """A time as people say it: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _of(total: int | None) -> str:
    return "" if total is None else f"/{total}"
