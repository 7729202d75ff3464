"""Progress says what a reader of a log needs, and no more; in a terminal it draws bars."""

import io
import re
import subprocess
import sys

import pytest

from training import progress as progress_module
from training.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock.monotonic)
    return clock


def test_a_log_gets_a_start_few_lines_with_time_left_and_an_end(clock):
    stream = io.StringIO()
    with Progress(stream).phase("Teacher MD", total=36000, unit="steps") as phase:
        for _ in range(36000):
            clock.now += 0.1
            phase.advance(note="300 K")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Teacher MD: 36000 steps …"
    assert re.fullmatch(r"Teacher MD: 10[01]/36000 steps \(0 %\), 59 min 50 s left, 300 K", lines[1])
    assert lines[-1] == "Teacher MD: done, 36000 steps in 1 h 00 min (300 K)"
    # an hour of work is told in a few dozen lines
    assert 10 < len(lines) < 40


def test_time_left_counts_only_what_this_process_does(clock):
    with Progress(io.StringIO()).phase("Labels", total=100, unit="structures", done=80) as phase:
        assert phase.seconds_left is None
        clock.now += 10
        phase.advance(5)
        assert phase.seconds_left == pytest.approx(30)


def test_nested_phases_unknown_totals_and_failures(clock):
    stream = io.StringIO()
    progress = Progress(stream)
    with (
        pytest.raises(ValueError, match="no"),
        progress.phase("Outer"),
        progress.phase("Inner", unit="frames") as phase,
    ):
        phase.advance(3)
        phase.set_total(9)
        progress.say("half [way]")
        raise ValueError("no")
    assert stream.getvalue().splitlines() == [
        "Outer …",
        "Inner …",
        "half [way]",
        "Inner: stopped, 3 frames in 0.0 s",
        "Outer: stopped, 0.0 s",
    ]


def test_a_terminal_shows_bars_with_amounts_and_notes():
    stream = io.StringIO()
    progress = Progress(stream, terminal=True)
    with progress.phase("First [x]", total=4) as first, progress.phase("Second") as second:
        first.advance(3, note="loss 0.1")
        second.advance(1)
        second.set_total(7)
        progress._bars.refresh()
    text = stream.getvalue()
    assert "First [x]" in text and "3/4" in text and "loss 0.1" in text and "1/7" in text
    with progress.phase("Third"):
        pass
    assert "Third: done" in stream.getvalue()


def test_durations_read_as_people_say_them():
    assert [duration(s) for s in (0.04, 9.96, 59.6, 185, 7800)] == [
        "0.0 s",
        "10 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


def test_worker_processes_do_not_load_pytorch_with_it():
    code = "import sys, training.progress, training.composition, training.command; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
