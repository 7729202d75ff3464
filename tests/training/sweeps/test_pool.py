"""Real worker processes that die, hang and end by themselves; the others must not notice."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sweep_toy import behave

from training.errors import Interrupted
from training.hardware import available_cores
from training.sweeps.plan import PlannedRun
from training.sweeps.pool import Pool, fixed_source
from training.sweeps.records import Attempt
from training.sweeps.workers import Place, places


class Session:
    """A pool, what it was given and what it told."""

    def __init__(self, folder: Path, workers: int = 2, **settings: Any) -> None:
        self.folder, self.told = folder, []
        self.stop = False
        values = {
            "timeout": None,
            "retries": 2,
            "logs": folder,
            "modules": ("sweep_toy",),
            "places": places(workers, 1, ()),
        }
        self.pool = Pool(
            halves=(), stopping=lambda: self.stop, count=self.count, function=behave, **{**values, **settings}
        )

    def count(self, run_id: str) -> int:
        return sum(attempt.id == run_id for attempt, _ in self.told)

    def run(self, *configs: dict[str, Any]) -> list[Attempt]:
        runs = [
            PlannedRun(
                f"run{n}", {"n": str(n)}, (), self.folder / f"run{n}", {"folder": str(self.folder), "number": n, **c}
            )
            for n, c in enumerate(configs)
        ]
        self.pool.run(fixed_source(runs), lambda attempt, repeat: self.told.append((attempt, repeat)))
        return [attempt for attempt, _ in self.told]

    def facts(self, number: int) -> dict[str, Any]:
        return json.loads((self.folder / f"facts-{number}").read_text())


def test_every_run_is_made_once_at_its_place_and_its_words_are_kept(tmp_path):
    two = [Place(0, 1, (sorted(os.sched_getaffinity(0))[0],), 0), Place(1, 1, (), 3)]
    session = Session(tmp_path, places=two)
    # the first two wait for each other, which one worker alone could not do
    attempts = session.run({"meets": 1}, {"meets": 0}, *({"nap": 0.1} for _ in range(4)))
    assert sorted(attempt.id for attempt in attempts) == [f"run{n}" for n in range(6)]
    assert {attempt.outcome for attempt in attempts} == {"finished"}
    assert {attempt.worker for attempt in attempts} == {0, 1}
    for attempt in attempts:
        number = int(attempt.values["n"])
        facts, place = session.facts(number), two[attempt.worker]
        assert facts["threads"] == "1" and facts["device"] == str(place.device) == str(attempt.device)
        assert facts["cores"] == (list(place.cores) or sorted(os.sched_getaffinity(0)))
        assert f"printed by {number}" in Path(str(attempt.log)).read_text()
        assert attempt.run_seconds >= 0.1 and 0 <= attempt.transfer_seconds < 1
    # the start of a worker is told once, with its first run
    assert sum(attempt.startup_seconds > 0 for attempt in attempts) == 2 == len(session.pool.startup_seconds)


def test_a_killed_worker_loses_only_its_run_which_is_repeated(tmp_path):
    session = Session(tmp_path)
    attempts = session.run({"killed": 1}, {"nap": 0.2}, {}, {"killed": 9}, {})
    outcomes = {n: [a.outcome for a in attempts if a.id == f"run{n}"] for n in range(5)}
    # two retries, so three attempts at a run whose worker always dies
    assert outcomes == {
        0: ["killed", "finished"], 1: ["finished"], 2: ["finished"], 3: ["killed"] * 3, 4: ["finished"]
    }  # fmt: skip
    killed = [attempt for attempt in attempts if attempt.outcome == "killed"]
    assert {attempt.signal for attempt in killed} == {"SIGKILL"} and {a.exit_code for a in killed} == {None}
    assert [attempt.attempt for attempt in attempts if attempt.id == "run3"] == [1, 2, 3]
    assert [repeat for attempt, repeat in session.told if attempt.id == "run3"] == [True, True, False]
    # nothing else was made twice
    assert all(len((tmp_path / f"tries-{n}").read_text().split()) == 1 for n in (1, 2, 4))


def test_a_run_that_fails_by_itself_is_not_repeated(tmp_path):
    attempts = Session(tmp_path, workers=1).run({"code": 2}, {"code": 3}, {"code": 1}, {"code": 9}, {"ends": 4}, {})
    # the last but one took its process with it, as a library may; that is no fault of the machine
    assert [(attempt.outcome, attempt.exit_code) for attempt in attempts] == [
        ("refused", 2), ("gate_missed", 3), ("failed", 1), ("failed", 9), ("failed", 4), ("finished", 0)
    ]  # fmt: skip


def test_a_run_stopped_by_others_is_repeated(tmp_path):
    attempts = Session(tmp_path, workers=1, retries=1).run({"code": 75})
    assert [attempt.outcome for attempt in attempts] == ["interrupted"] * 2


def test_a_run_that_takes_too_long_is_killed_with_everything_it_started(tmp_path):
    attempts = Session(tmp_path, workers=1, timeout=1.0).run({"hangs": True}, {})
    assert [attempt.outcome for attempt in attempts] == ["timeout", "finished"]
    assert 1 <= attempts[0].run_seconds < 90
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(child)


def test_asked_to_stop_it_ends_and_tells_what_was_running(tmp_path):
    session = Session(tmp_path, workers=1)

    def stop() -> None:
        while not (tmp_path / "tries-0").exists():
            time.sleep(0.02)
        session.stop = True

    threading.Thread(target=stop).start()
    # the toy does not save itself, so SIGTERM ends it
    with pytest.raises(Interrupted, match="The same command goes on"):
        session.run({"nap": 100}, {})
    assert [(attempt.id, attempt.outcome, attempt.signal) for attempt, _ in session.told] == [
        ("run0", "interrupted", "SIGTERM")
    ]


def test_a_worker_that_cannot_start_is_an_error_not_a_wait(tmp_path):
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        Session(tmp_path, workers=1, modules=("nowhere",)).run({})


def test_places_divide_cores_and_devices():
    cores = sorted(os.sched_getaffinity(0))
    both = places(2, 1, (0, 5, 7)) if available_cores() > 1 else places(1, 1, (0,))
    assert [place.cores for place in both] == [(core,) for core in cores[: len(both)]]
    assert [place.device for place in both] == [0, 5][: len(both)]
    assert places(1, None, ()) == [Place(0)] and Place(0).environment() == {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # killed, and not yet waited for by its new parent
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
