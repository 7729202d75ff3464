"""A sweep as the command makes it: worker processes die, it is stopped, it goes on, and compares what came out."""

import csv
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from sweep_configs import toy_configs

from training.command import wants_sweep
from training.errors import InputError, Interrupted
from training.sweeps.records import Records, read_records
from training.sweeps.sweep import run_sweep

HALVES = ("sweep_toy.",)
WORDS = ["width=2,3,9", "rate=0.5,0.25", "sweep.name=study", "hardware.threads=1"]


class Toy:
    def __init__(self, folder: Path) -> None:
        self.configs = toy_configs(folder)
        self.runs = folder / "runs" / "aspirin_gfn2"
        self.folder = folder / "runs" / "sweeps" / "study"

    def sweep(self, *words: str) -> int:
        return run_sweep([*WORDS, *words], self.configs, HALVES)

    def processes(self) -> dict[str, int]:
        """Of every run that was begun, the process that did it last."""
        return {path.parent.name: int(path.read_text() or 0) for path in self.runs.glob("*/process.txt")}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    return Toy(tmp_path_factory.mktemp("sweep"))


def wait_until(condition) -> None:
    deadline = time.monotonic() + 500
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_worker_and_a_stopped_sweep_lose_nothing(toy, monkeypatch, capsys):
    monkeypatch.setenv("TOY_NAP", "1000")

    def disturb() -> None:
        try:
            wait_until(lambda: len(toy.processes()) == 1 and all(toy.processes().values()))
            (process,) = toy.processes().values()
            os.kill(process, signal.SIGKILL)
            # the run waits for another worker, which is starting, when the sweep is stopped
            wait_until(lambda: len(read_records(toy.folder)) == 1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=disturb).start()
    with pytest.raises(Interrupted, match="The same command goes on"):
        toy.sweep("sweep.timeout_minutes=10")
    outcomes = [(attempt.outcome, attempt.signal, attempt.exit_code) for attempt in read_records(toy.folder)]
    assert outcomes == [("killed", "SIGKILL", None)]
    assert len(toy.processes()) == 1

    # the same sweep, in this process: how it is made may change
    monkeypatch.setenv("TOY_NAP", "0")
    capsys.readouterr()
    assert toy.sweep() == 0
    attempts = read_records(toy.folder)
    assert [attempt.outcome for attempt in attempts[1:]] == ["finished"] * 6 and attempts[1].attempt == 2
    assert attempts[0].id == attempts[1].id
    printed = capsys.readouterr().out
    assert "6 runs, one after another." in printed and "(continued)" in printed
    assert "Best error: 0.25 with width=3, rate=0.25" in printed

    # what is finished is not made again
    assert toy.sweep() == 0
    assert len(read_records(toy.folder)) == 7
    assert "6 finished before" in capsys.readouterr().out


def test_table_and_page_hold_every_run(toy):
    rows = list(csv.DictReader((toy.folder / "table.csv").open()))
    assert [(row["width"], row["rate"], float(row["error"])) for row in rows] == [
        ("2", "0.5", 1.5), ("2", "0.25", 1.25), ("3", "0.5", 0.5), ("3", "0.25", 0.25), ("9", "0.5", 36.5),
        ("9", "0.25", 36.25),
    ]  # fmt: skip
    table = json.loads((toy.folder / "table.json").read_text())
    # the figure of the first bar, not the first figure
    assert table["metric"] == "error" and table["best"] == rows[3]["run"] and len(table["runs"]) == 6
    page = (toy.folder / "sweep.html").read_text()
    assert all(row["run"] in page for row in rows) and page.count("data:image/svg+xml;base64") == 2
    assert not re.search(r"(src|href)=(?![\"']?data:)|<script|url\(", page)


def test_a_line_cut_by_a_kill_spoils_no_other(toy):
    before = read_records(toy.folder)
    path = toy.folder / "records.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "seed0-abc')
    records = Records(toy.folder)
    assert records.attempts == before
    records.add(before[-1])
    assert read_records(toy.folder) == [*before, before[-1]]


def test_the_worst_run_decides_and_a_metric_that_is_not_there_is_named(tmp_path, capsys):
    toy = Toy(tmp_path)
    assert toy.sweep("kind=plain,gate", "width=2", "rate=1") == 3
    assert capsys.readouterr().err.count("The toy gate is not met.") == 1
    with pytest.raises(InputError, match=r"sweep\.metric=eror: no run gives it\. Known: size, error"):
        toy.sweep("kind=plain,gate", "width=2", "rate=1", "sweep.metric=eror")


def test_optuna_learns_and_goes_on(tmp_path):
    words = ["width=int(interval(1, 40))", "rate=1", "sweep=optuna", "sweep.metric=error", WORDS[2], WORDS[3]]
    toy = Toy(tmp_path)
    for runs in (6, 20):
        assert run_sweep([*words, f"sweep.runs={runs}"], toy.configs, HALVES) == 0
        attempts = read_records(toy.folder)
        assert len(attempts) == len({attempt.id for attempt in attempts}) == runs
    # twenty random draws among forty numbers miss 3 and its neighbours with a probability of 0.14; the seed is fixed
    assert min(attempt.figures["error"] for attempt in attempts) <= 2
    first, last = attempts[:10], attempts[10:]
    assert sum(a.figures["error"] for a in last) < sum(a.figures["error"] for a in first)


def test_any_launcher_of_hydra_takes_the_runs(tmp_path, capfd):
    toy = Toy(tmp_path)
    assert toy.sweep("hydra/launcher=basic", "kind=plain,gate", "width=2", "rate=1") == 3
    attempts = read_records(toy.folder)
    assert [(attempt.outcome, attempt.figures["error"]) for attempt in attempts] == [
        ("finished", 2),
        ("gate_missed", 2),
    ]
    assert toy.sweep("hydra/launcher=basic", "kind=plain,gate", "width=2", "rate=1") == 3
    assert len(read_records(toy.folder)) == 2


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (["-m", "seed=0,1"], True), (["seed=0", "--multirun"], True), (["-m", "--help"], False), (["seed=0"], False),
        (["-m", "--cfg", "job"], False), (["-m", "hydra/sweeper=basic", "seed=0,1"], False),
    ],
)  # fmt: skip
def test_other_options_are_hydra_s(arguments, taken):
    assert wants_sweep(arguments) is taken
