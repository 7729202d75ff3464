"""A profile says where the time went, and costs and changes nothing where there is none."""

import json
import threading
import time
from pathlib import Path

import pytest
import torch
import toy_half
from toy_half import ToySettings, toy_config

from training import profiling
from training.profiling import ELSEWHERE, Profile
from training.run import main


def test_time_goes_to_the_innermost_phase():
    with Profile() as profile:
        with profiling.phase("outer"):
            time.sleep(0.05)
            for _ in range(2):
                with profiling.phase("inner"):
                    time.sleep(0.04)
        time.sleep(0.03)
    # sleeping is never shorter; on a busy machine it may be longer
    assert profile.phases["outer"].calls == 1 and profile.phases["inner"].calls == 2
    assert profile.phases["outer"].seconds >= 0.05 and profile.phases["inner"].seconds >= 0.08
    assert profile.phases[ELSEWHERE].seconds >= 0.03
    assert sum(phase.seconds for phase in profile.phases.values()) == pytest.approx(profile.seconds, rel=1e-3)


def test_hooks_switch_from_one_phase_to_the_next():
    with Profile() as profile:
        for name in ("forward", "backward", "forward"):
            profiling.switch(name)
            with profiling.phase("data loading"):
                time.sleep(0.01)
            time.sleep(0.02)
        profiling.switch(ELSEWHERE)
    assert profile.phases["forward"].calls == 2 and profile.phases["forward"].seconds >= 0.04
    assert profile.phases["backward"].seconds >= 0.02 and profile.phases["data loading"].seconds >= 0.03


def test_an_error_inside_a_phase_ends_it():
    with Profile() as profile:
        with pytest.raises(ZeroDivisionError), profiling.phase("broken"):
            1 / 0  # noqa: B018
        with profiling.phase("later"):
            time.sleep(0.02)
    assert profile.phases["later"].seconds >= 0.02 > profile.phases["broken"].seconds


def test_without_a_profile_a_phase_costs_next_to_nothing():
    start = time.process_time()
    for _ in range(20_000):
        with profiling.phase("nothing"):
            pass
    # 0.2 µs each here; 5 µs would be one tensor operation
    assert time.process_time() - start < 20_000 * 2e-6
    assert profiling.active() is None


def test_other_threads_are_not_counted():
    def work():
        with profiling.phase("background"):
            time.sleep(0.01)

    with Profile() as profile:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "background" not in profile.phases


def test_waiting_for_items_is_counted_and_iterating_starts_at_once():
    started = []

    class Slow:
        def __iter__(self):
            started.append(len(started))
            return iter(self.items())

        def items(self):
            for n in range(3):
                time.sleep(0.01)
                yield n

    timed = profiling.timed("data loading", Slow())
    with Profile() as profile:
        iterator = iter(timed)
        assert started == [0]
        assert list(iterator) == [0, 1, 2] and list(timed) == [0, 1, 2]
    assert profile.phases["data loading"].seconds >= 0.06


def test_the_table_names_the_bottleneck_and_what_to_do():
    with Profile({"brewing": "a smaller pot"}) as profile:
        with profiling.phase("brewing"):
            time.sleep(0.1)
        with profiling.phase("pouring"):
            time.sleep(0.01)
    lines = profile.table().splitlines()
    assert lines[1].startswith("brewing") and lines[-1].startswith("Bottleneck: brewing")
    assert lines[-1].endswith("% of the time (a smaller pot).")
    assert "peak memory" in profile.table() and "processor cores busy" in profile.table()
    found = profile.to_dict()
    assert found["phases"]["brewing"]["calls"] == 1 and found["peak_memory_MB"] > 10
    json.dumps(found, allow_nan=False)


def test_profiles_are_not_nested():
    with Profile(), pytest.raises(RuntimeError, match="cannot be nested"), Profile():
        pass
    assert profiling.active() is None


class ProfiledSettings(ToySettings):
    profile: bool = True


def test_a_run_is_profiled_and_trains_as_without(tmp_path: Path, monkeypatch, capsys):
    weights = {}
    for name, settings in (("plain", ToySettings), ("profiled", ProfiledSettings)):
        monkeypatch.setattr(toy_half, "ToySettings", settings)
        assert main(toy_config(tmp_path / name, "checkpoint_seconds=1000"), ("toy_half.",)) == 0
        (folder,) = (tmp_path / name / "toy").iterdir()
        weights[name] = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
        assert (folder / "profile.json").exists() == (name == "profiled")
    for name, value in weights["plain"].items():
        assert torch.equal(value, weights["profiled"][name]), name
    phases = json.loads((folder / "profile.json").read_text())["phases"]
    # 12 steps of one micro-batch and 6 of three
    assert phases["forward"]["calls"] == phases["backward"]["calls"] == 30
    assert phases["data loading"]["calls"] >= 30 and phases["validation"]["calls"] >= 3
    assert phases["saving"]["calls"] >= 2 and all(phase["seconds"] >= 0 for phase in phases.values())
    assert "Where the time went" in capsys.readouterr().out
    assert profiling.active() is None


def test_a_run_that_fails_tells_its_profile_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(toy_half, "ToySettings", ProfiledSettings)
    assert main(toy_config(tmp_path, "bad_step=4"), ("toy_half.",)) == 1
    assert "Bottleneck: " in capsys.readouterr().out and profiling.active() is None
