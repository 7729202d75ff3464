"""Labelling: every structure once, whatever happens, and nothing in the store that should not be trained on."""

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st

from mlff.data.records import Labels, Record
from mlff.data.store import LabelStore
from mlff.teachers.gates import unphysical, unusable
from mlff.teachers.labelling import _shard_size, label
from mlff.teachers.settings import LabellingSettings, TeacherSettings
from mlff.teachers.teacher import Capabilities, Teacher
from training.engines import SerialEngine
from training.errors import InputError

HERE = Path(__file__).parent
EMT = Teacher(
    TeacherSettings(
        name="EMT",
        calculator="ase.calculators.emt.EMT",
        properties=["energy", "forces", "energies", "stress"],
        keeps_state=False,
    )
)


class Recorder:
    """Progress that remembers what was said and how much was done."""

    def __init__(self):
        self.said, self.done = [], 0

    def say(self, text):
        self.said.append(text)

    def phase(self, name, total=None, unit="steps", done=0):
        self.total, self.before = total, done
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, n=1, note=None):
        self.done += n


def copper(count, scale=0.05):
    generator = np.random.default_rng(3)
    made = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += generator.normal(scale=scale, size=atoms.positions.shape)
        made.append(Record(atoms, f"trajectory {number % 3}", "rattled"))
    return made


def fill(folder, records, teacher=EMT, **settings):
    store = LabelStore.open_or_create(folder, teacher.describe())
    progress = Recorder()
    label(records, teacher, store, SerialEngine(), LabellingSettings(**settings), progress)
    return store, progress


def assert_same(first, second):
    """The same structures to the last bit, with the same labels to the teacher's last digits.

    The sums inside a teacher's library are ordered by where its arrays happen to lie in memory.
    """
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert (one.trajectory, one.source, one.rejected) == (other.trajectory, other.source, other.rejected)
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
        np.testing.assert_allclose(one.labels.energy, other.labels.energy, rtol=1e-13)
        np.testing.assert_allclose(one.labels.forces, other.labels.forces, rtol=0, atol=1e-12)


class TestLabelling:
    def test_stores_every_structure_in_order_with_the_labels_the_teacher_gives(self, tmp_path):
        records = copper(20)
        store, progress = fill(tmp_path, records, shard_size=8)
        assert len(store) == 20 and len(store.accepted) == 20 and progress.done == 20
        calculator = EMT.build()
        for record, stored in zip(records, store, strict=True):
            np.testing.assert_array_equal(stored.atoms.positions, record.atoms.positions)
            np.testing.assert_allclose(stored.labels.energy, calculator.get_potential_energy(record.atoms), rtol=1e-12)
            np.testing.assert_allclose(stored.labels.forces, calculator.get_forces(record.atoms), atol=1e-12)
            np.testing.assert_allclose(stored.labels.energies.sum(), stored.labels.energy, rtol=1e-10)
            assert stored.labels.stress.shape == (3, 3)

    def test_says_the_cost_before_the_first_call(self, tmp_path):
        _, progress = fill(tmp_path, copper(20))
        assert progress.said[0].startswith("Labels: 20 teacher calls × ") and "1 worker ≈" in progress.said[0]

    def test_asks_nothing_when_all_is_there(self, tmp_path):
        records = copper(20)
        fill(tmp_path, records, shard_size=8)
        store, progress = fill(tmp_path, records, shard_size=5)
        assert progress.done == 0 and len(store) == 20
        assert progress.said == ["Labels: 20 of 20 structures labelled."]

    def test_never_mixes_two_teachers(self, tmp_path):
        fill(tmp_path, copper(4))
        other = Teacher(TeacherSettings(name="LJ", calculator="ase.calculators.lj.LennardJones"))
        store = LabelStore.open(tmp_path)
        with pytest.raises(InputError, match="another teacher: EMT"):
            label(copper(4), other, store, SerialEngine(), LabellingSettings(), Recorder())

    def test_refuses_other_structures_under_the_same_name(self, tmp_path):
        fill(tmp_path, copper(4))
        with pytest.raises(InputError, match="begun with other structures"):
            fill(tmp_path, copper(4, scale=0.06))

    def test_of_nothing_is_an_error(self, tmp_path):
        with pytest.raises(InputError, match="no structure"):
            fill(tmp_path, [])


class TestGatesOnEntry:
    def test_keep_what_was_rejected_before_without_a_call(self, tmp_path):
        records = copper(6)
        records[2] = replace(records[2], rejected="molecule fell apart")
        store, progress = fill(tmp_path, records)
        assert progress.done == progress.total == 5
        assert store[2].rejected == "molecule fell apart" and store[2].labels is None
        assert list(store.accepted) == [0, 1, 3, 4, 5]

    def test_reject_overlapping_atoms_without_a_call_and_large_forces_with_their_label(self, tmp_path):
        records = copper(6)
        records[1].atoms.positions[1] = records[1].atoms.positions[0] + 0.1
        records[4].atoms.positions[1] = records[4].atoms.positions[0] + [0, 0, 1.4]
        store, progress = fill(tmp_path, records, max_force=5.0)
        assert store[1].rejected == "atoms too close" and store[1].labels is None
        assert store[4].rejected == "force above 5 eV/Å" and store[4].labels is not None
        assert list(store.accepted) == [0, 2, 3, 5]
        assert "2 rejected" in progress.said[-1] and "1 atoms too close" in progress.said[-1]

    def test_reject_what_does_not_converge_with_the_calculators_words(self, tmp_path):
        radical = Teacher(
            TeacherSettings(
                name="xTB", calculator="tblite.ase.TBLite", arguments={"verbosity": 0, "max_iterations": 14}
            )
        )
        water, stretched = molecule("H2O"), molecule("C2H4")
        stretched.positions[0] += [0, 0, 8.0]
        records = [Record(water, "a", "b")] * 5 + [Record(stretched, "a", "b")]
        store, _ = fill(tmp_path, records, teacher=radical)
        assert "converge" in store[5].rejected.lower() and store[5].rejected.startswith("teacher failed")
        assert list(store.accepted) == [0, 1, 2, 3, 4]

    def test_stop_when_the_teacher_fails_too_often(self, tmp_path):
        records = copper(20)
        for record in records[1:]:
            record.atoms.symbols = ["Cu", "Cu", "Cu", "Si"]
        with pytest.raises(InputError, match=r"EMT failed on \d+ of \d+ structures: .*No EMT-potential for Si"):
            fill(tmp_path, records, shard_size=5)

    @given(
        count=st.integers(2, 6),
        scale=st.floats(0.3, 3.0),
        periodic=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
        ratio=st.floats(0.2, 0.9),
    )
    def test_the_distance_gate_equals_a_loop_over_all_pairs_and_images(self, count, scale, periodic, seed, ratio):
        from ase.data import covalent_radii

        generator = np.random.default_rng(seed)
        numbers = generator.choice([1, 6, 8, 29], size=count)
        atoms = Atoms(numbers, generator.normal(scale=scale, size=(count, 3)), cell=[3.1, 3.4, 3.9], pbc=periodic)
        shifts = np.array(list(np.ndindex(7, 7, 7))) - 3 if periodic else np.zeros((1, 3), dtype=int)
        wrapped = atoms.copy()
        wrapped.wrap()
        positions = wrapped.positions if periodic else atoms.positions
        overlap = False
        for i in range(count):
            for j in range(count):
                images = positions[j] + shifts @ atoms.cell.array - positions[i]
                distances = np.linalg.norm(images, axis=1)
                if i == j:
                    distances = distances[np.abs(shifts).sum(axis=1) > 0]
                limit = ratio * (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])
                overlap |= bool((distances < limit).any())
        assert (unphysical(atoms, ratio) == "atoms too close") == overlap

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_positions_that_are_not_finite_are_named(self, value):
        assert unphysical(Atoms("H2", [[0, 0, 0], [0, 0, value]]), 0.5) == "positions not finite"

    def test_the_force_gate_looks_at_the_largest_force_of_an_atom(self):
        labels = Labels(energy=0.0, forces=np.array([[3.0, 4.0, 0.0], [0, 0, 0]]))
        assert unusable(labels, 5.1) == "" and unusable(labels, 4.9) == "force above 4.9 eV/Å"


class TestShardSize:
    @given(count=st.integers(1, 10**6), seconds=st.floats(0, 1e4), workers=st.integers(1, 256))
    def test_loses_little_and_keeps_every_worker_busy(self, count, seconds, workers):
        size = _shard_size(count, seconds, workers)
        assert 1 <= size <= 64
        assert size == 1 or size * seconds <= 10.0
        assert size == 1 or -(-count // size) >= 2 * workers

    def test_keeps_every_label_of_a_slow_teacher(self):
        assert _shard_size(1000, 30.0, 2) == 1


class TestKilledRun:
    def test_continues_without_losing_or_repeating_a_structure_and_with_the_same_labels(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(HERE))
        from label_run import records, run

        chance = random.Random(5)
        folder = tmp_path / "killed"
        kills = 0
        for _ in range(3):
            child = subprocess.Popen(
                [sys.executable, str(HERE / "label_run.py"), str(folder), "process_pool"],
                stdout=subprocess.DEVNULL,
                cwd=HERE.parents[2],
            )
            wait_for_shard(folder, kills, child)
            time.sleep(chance.uniform(0, 0.05))
            child.kill()
            kills += child.wait() < 0
        before = {path.name: path.stat().st_mtime_ns for path in (folder / "shards").glob("labels-*.safetensors")}
        interrupted = run(folder, "process_pool")
        assert kills >= 2 and 0 < len(before) < 12
        after = {path.name: path.stat().st_mtime_ns for path in (folder / "shards").glob("labels-*.safetensors")}
        assert {name: after[name] for name in before} == before, "a finished shard was labelled again"
        assert len(after) == 12
        assert_same(interrupted, run(tmp_path / "whole", "serial"))
        for stored, record in zip(interrupted, records(), strict=True):
            np.testing.assert_array_equal(stored.atoms.positions, record.atoms.positions)

    def test_a_probe_is_enough_for_any_number_of_structures(self, tmp_path):
        records = copper(3)
        store = LabelStore.open_or_create(tmp_path, EMT.describe())
        known = Capabilities(frozenset({"energy", "forces"}), 1e-3)
        label(records, EMT, store, SerialEngine(), LabellingSettings(), Recorder(), known)
        assert store[0].labels.stress is None


def wait_for_shard(folder, count, child):
    """Until the run has finished more shards than were there, or is over."""
    present = len(list((folder / "shards").glob("labels-*.safetensors"))) if folder.exists() else 0
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        if len(list((folder / "shards").glob("labels-*.safetensors"))) > present:
            return
        time.sleep(0.002)
