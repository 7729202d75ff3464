"""Sampling: a function of its arguments alone, with a held-out trajectory that shares nothing with the others."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from mlff.structures.sampling import is_held_out, sample
from mlff.structures.settings import StructureSettings
from mlff.structures.sources import as_seed
from mlff.teachers.settings import TeacherSettings
from mlff.teachers.teacher import Teacher
from training.engines import SerialEngine
from training.errors import InputError

HERE = Path(__file__).parent
EMT = Teacher(
    TeacherSettings(
        name="EMT",
        calculator="ase.calculators.emt.EMT",
        properties=["energy", "forces", "stress"],
        keeps_state=False,
    )
)
COPPER = as_seed(bulk("Cu", cubic=True), "bulk:Cu")


class Recorder:
    """Progress that remembers what was said and how much was done."""

    def __init__(self):
        self.said, self.done = [], 0

    def say(self, text):
        self.said.append(text)

    def phase(self, name, total=None, unit="steps", done=0):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, n=1, note=None):
        self.done += n


def settings(**changes):
    small = {
        "temperatures": [200, 400],
        "trajectories": 2,
        "steps": 40,
        "thermalisation": 10,
        "segment": 15,
        "stride": 5,
    }
    return StructureSettings(**{**small, "source": "bulk:Cu", "held_out": {"steps": 50}, **changes})


def take(folder, seeds=(COPPER,), seed=0, teacher=EMT, progress=None, **changes):
    return sample(seeds, teacher, settings(**changes), SerialEngine(), folder, progress or Recorder(), seed)


def assert_same(first, second, tolerance=0.0):
    assert [(r.trajectory, r.source, r.rejected) for r in first] == [
        (r.trajectory, r.source, r.rejected) for r in second
    ]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(one.atoms.cell.array, other.atoms.cell.array)


class TestSample:
    def test_gives_frames_rattled_copies_and_a_held_out_trajectory_of_its_own(self, tmp_path):
        records = take(tmp_path, rattle={"share": 0.5})
        training = [r for r in records if not is_held_out(r.trajectory)]
        held_out = [r for r in records if is_held_out(r.trajectory)]
        assert len(held_out) == 10 and {r.source for r in held_out} == {"molecular dynamics at 300 K"}
        assert len(training) == 4 * 8 + 16
        assert {r.trajectory for r in training} == {
            f"{kelvin} K, trajectory {number}" for kelvin in (200, 400) for number in (0, 1)
        }
        assert {r.source for r in training} == {
            f"{prefix}molecular dynamics at {kelvin} K" for prefix in ("", "rattled ") for kelvin in (200, 400)
        }
        assert all(r.labels is None and r.atoms.calc is None for r in records)

    def test_is_a_function_of_its_arguments_and_of_the_seed(self, tmp_path):
        first = take(tmp_path / "a")
        assert_same(first, take(tmp_path / "b"))
        other = take(tmp_path / "c", seed=1)
        assert np.abs(other[0].atoms.positions - first[0].atoms.positions).max() > 1e-3

    def test_gives_every_trajectory_its_own_random_stream(self, tmp_path):
        records = take(tmp_path, rattle={"share": 0}, temperatures=[300], held_out={"steps": 40, "temperature": 300})
        frames = {}
        for record in records:
            frames.setdefault(record.trajectory, record.atoms.positions)
        assert len(frames) == 3
        first, second, third = frames.values()
        assert min(abs(first - second).max(), abs(first - third).max(), abs(second - third).max()) > 1e-3

    def test_adding_a_temperature_leaves_the_other_trajectories_as_they_are(self, tmp_path):
        few = take(tmp_path / "a", temperatures=[200], rattle={"share": 0})
        many = take(tmp_path / "b", temperatures=[200, 400], rattle={"share": 0})
        names = {record.trajectory for record in few}
        assert_same(few, [record for record in many if record.trajectory in names])

    def test_says_what_it_will_cost_before_it_starts_and_nothing_is_done_twice(self, tmp_path):
        progress = Recorder()
        take(tmp_path, progress=progress)
        assert any("5 trajectories, 260 teacher calls ×" in line for line in progress.said)
        again = Recorder()
        take(tmp_path, progress=again)
        assert again.done == 0 and not any("teacher calls" in line for line in again.said)

    def test_takes_every_seed(self, tmp_path):
        seeds = [COPPER, as_seed(bulk("Au", cubic=True), "bulk:Au")]
        records = take(tmp_path, seeds, rattle={"share": 0})
        assert len({r.trajectory for r in records}) == 10
        for number, element in enumerate(("Cu", "Au")):
            mine = [r for r in records if r.trajectory.endswith(f"seed {number}")]
            assert mine and {r.atoms.get_chemical_symbols()[0] for r in mine} == {element}

    def test_strains_crystals(self, tmp_path):
        records = take(tmp_path, rattle={"share": 1.0, "strain": 0.03})
        rattled = [r for r in records if r.source.startswith("rattled")]
        assert all(r.atoms.cell.array.tolist() != COPPER.cell.array.tolist() for r in rattled)

    def test_refuses_a_charged_seed_the_teacher_does_not_know_of(self, tmp_path):
        hydroxide = molecule("OH")
        hydroxide.info["charge"] = -1
        with pytest.raises(InputError, match=r"Seed 0 \(HO\) has charge -1.*teacher.arguments.charge=-1"):
            take(tmp_path, [as_seed(hydroxide, "OH")])

    def test_names_the_reason_when_every_trajectory_breaks_off(self, tmp_path):
        with pytest.raises(InputError, match=r"0 usable training frames.*structures.timestep"):
            take(tmp_path, temperatures=[5000], gates={"min_distance": 0.96})

    def test_refuses_a_seed_that_its_own_gates_refuse(self, tmp_path):
        with pytest.raises(InputError, match=r"Seed 0 \(Cu4\) is not sound: atoms too close"):
            take(tmp_path, gates={"min_distance": 0.99})

    def test_refuses_segments_of_another_run(self, tmp_path):
        take(tmp_path)
        with pytest.raises(InputError, match="other settings"):
            take(tmp_path, timestep=0.5)

    def test_names_a_damaged_segment(self, tmp_path):
        take(tmp_path)
        path = next(tmp_path.glob("held-out*/segment-00001.npz"))
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"segment-00001.npz is damaged.*Delete it"):
            take(tmp_path)


class TestKilledRun:
    def test_continues_on_the_same_trajectories(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(HERE))
        from sample_run import run

        chance = random.Random(2)
        folder = tmp_path / "killed"
        kills = 0
        for _ in range(2):
            child = subprocess.Popen(
                [sys.executable, str(HERE / "sample_run.py"), str(folder), "process_pool"],
                stdout=subprocess.DEVNULL,
                cwd=HERE.parents[2],
            )
            wait_for_segments(folder, 4, child)
            time.sleep(chance.uniform(0, 0.05))
            child.kill()
            kills += child.wait() < 0
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("segment-*.npz")}
        assert kills == 2 and 0 < len(times) < 36
        interrupted = run(folder, "process_pool")
        assert {path: path.stat().st_mtime_ns for path in times} == times, "a finished segment was computed again"
        # the teacher's sums are ordered by where its arrays happen to lie in memory; dynamics amplify the last digit
        assert_same(interrupted, run(tmp_path / "whole", "serial"), tolerance=1e-10)


def wait_for_segments(folder, more, child):
    """Until the run has written so many more segments, or is over."""

    def count():
        return len(list(folder.rglob("segment-*.npz"))) if folder.exists() else 0

    wanted = count() + more
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline and count() < wanted:
        time.sleep(0.002)
