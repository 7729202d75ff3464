"""The label store loses nothing that was finished, keeps nothing twice, and says what is wrong."""

import json
import multiprocessing
import pickle
import random
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from ase import Atoms

from mlff.data import store as store_module
from mlff.data.records import Labels, Record
from mlff.data.shards import write_shard
from mlff.data.store import LabelStore
from training.errors import InputError

METADATA = {"fingerprint": "abc", "name": "GFN2-xTB", "licence": "LGPL-3.0", "units": {"energy": "eV"}}


def batch(number, count=4):
    """Records that are a pure function of the number, some of them rejected or without a label."""
    values = np.random.default_rng(number)
    made = []
    for index in range(count):
        n_atoms = 1 + (number + index) % 5
        atoms = Atoms(numbers=[6] * n_atoms, positions=values.normal(size=(n_atoms, 3)))
        labels = Labels(float(number) + index / 100, values.normal(size=(n_atoms, 3))) if index != 2 else None
        made.append(Record(atoms, f"trajectory {number}", "rattled", labels, "max|F|" if index == 3 else ""))
    return made


def energies(store):
    return [record.labels.energy if record.labels else None for record in store]


@pytest.fixture
def store(tmp_path):
    made = LabelStore.create(tmp_path / "labels", METADATA)
    for number in (2, 0, 1):
        made.add(f"shard-{number:04d}", batch(number))
    return made


def expected(numbers):
    return [record for number in numbers for record in batch(number)]


class TestReading:
    def test_order_is_that_of_the_shard_names_whoever_was_done_first(self, store):
        for reader in (store, LabelStore.open(store.folder)):
            assert reader.names == ["shard-0000", "shard-0001", "shard-0002"]
            wanted = expected(range(3))
            assert len(reader) == len(wanted) == 12
            assert reader.trajectories == [record.trajectory for record in wanted]
            assert reader.rejections == [record.rejected for record in wanted]
            assert reader.atoms_per_structure.tolist() == [len(record.atoms) for record in wanted]
            assert reader.accepted.tolist() == [0, 1, 4, 5, 8, 9]
            assert reader.metadata == METADATA

    def test_fetch_keeps_the_order_asked_for(self, store):
        wanted, order = expected(range(3)), [11, 0, 5, 5, -1]
        for record, index in zip(store.fetch(order), order, strict=True):
            np.testing.assert_array_equal(record.atoms.positions, wanted[index].atoms.positions)
        with pytest.raises(IndexError, match="Structure 12 of a store of 12"):
            store[12]

    def test_a_store_goes_to_another_process_without_open_files(self, store):
        store[0]
        assert len(pickle.dumps(store)) < 3000  # the manifest, no structures
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(energies, (store,)) == energies(store)

    def test_an_empty_store_is_a_store(self, tmp_path):
        LabelStore.create(tmp_path / "labels", {})
        empty = LabelStore.open(tmp_path / "labels")
        assert len(empty) == 0 and empty.accepted.tolist() == [] and empty.trajectories == []

    def test_the_manifest_is_for_people_too(self, store):
        text = (store.folder / "manifest.json").read_text()
        content = json.loads(text)
        assert content["units"]["forces"] == "eV/Å" and content["metadata"]["licence"] == "LGPL-3.0"
        assert content["shards"][1]["atoms"] == [2, 3, 4, 5] and content["shards"][1]["accepted"] == 2
        assert len(text.splitlines()) < 40

    def test_content_fingerprint_changes_with_the_data_only(self, store, tmp_path):
        same = LabelStore.create(tmp_path / "same", METADATA)
        for number in range(3):
            same.add(f"shard-{number:04d}", batch(number))
        assert same.content_fingerprint == store.content_fingerprint
        same.add("shard-0003", batch(3))
        assert same.content_fingerprint != store.content_fingerprint


class TestAdding:
    def test_a_name_is_taken_once(self, store):
        assert store.add("shard-0001", batch(7)) is False
        assert len(store) == 12 and store.trajectories[4] == "trajectory 1"

    def test_a_shard_written_elsewhere_is_adopted_once(self, store, tmp_path):
        write_shard(tmp_path / "extra.safetensors", batch(9))
        assert store.adopt(tmp_path / "extra.safetensors") is True
        assert store.adopt(tmp_path / "extra.safetensors") is False
        assert LabelStore.open(store.folder).names == ["extra", "shard-0000", "shard-0001", "shard-0002"]

    def test_a_shard_written_in_place_by_a_worker_is_found_after_a_crash(self, store):
        write_shard(store.path_of("shard-0003"), batch(3))
        assert store.refresh() == ["shard-0003"] and store.refresh() == []
        write_shard(store.path_of("shard-0004"), batch(4))
        reopened = LabelStore.open(store.folder)
        assert reopened.names[-2:] == ["shard-0003", "shard-0004"] and reopened.trajectories[-1] == "trajectory 4"

    @pytest.mark.parametrize("name", ["", "../outside", "a/b", ".hidden", "a b"])
    def test_a_name_that_is_no_file_name_is_refused(self, store, name):
        with pytest.raises(InputError, match="no name for a shard"):
            store.add(name, batch(1))

    def test_labels_of_two_teachers_never_mix(self, store):
        LabelStore.open_or_create(store.folder, METADATA)
        with pytest.raises(InputError, match=r"another teacher: GFN2-xTB.*abc.*xyz.*never mix"):
            LabelStore.open_or_create(store.folder, {**METADATA, "fingerprint": "xyz"})

    def test_a_second_store_is_not_made_over_the_first(self, store):
        with pytest.raises(InputError, match="already holds a label store"):
            LabelStore.create(store.folder, {})
        (store.folder / "manifest.json").unlink()
        with pytest.raises(InputError, match="nothing says which teacher"):
            LabelStore.open_or_create(store.folder, METADATA)


class TestDamage:
    def damage(self, store, name="shard-0001"):
        path = store.path_of(name)
        content = bytearray(path.read_bytes())
        content[-3] ^= 4
        path.write_bytes(content)

    def test_a_damaged_shard_is_named_with_its_remedy_and_the_remedy_works(self, store):
        self.damage(store)
        with pytest.raises(InputError, match=r"shard-0001\.safetensors.*checksum.*Delete this file"):
            LabelStore.open(store.folder)
        store.path_of("shard-0001").unlink()
        with pytest.warns(UserWarning, match=r"4 labels are gone.*shard-0001"):
            left = LabelStore.open(store.folder)
        assert left.names == ["shard-0000", "shard-0002"]
        assert left.add("shard-0001", batch(1)) and energies(left) == energies_of(expected(range(3)))

    def test_in_a_large_store_the_damage_is_found_when_the_shard_is_read(self, store, monkeypatch):
        self.damage(store)
        monkeypatch.setattr(store_module, "VERIFY_AT_ONCE", 0)
        large = LabelStore.open(store.folder)
        assert large[0].trajectory == "trajectory 0"
        with pytest.raises(InputError, match=r"shard-0001\.safetensors.*checksum"):
            large[4]

    def test_a_damaged_shard_that_is_not_listed_yet_is_refused(self, store):
        write_shard(store.path_of("shard-0003"), batch(3))
        self.damage(store, "shard-0003")
        with pytest.raises(InputError, match=r"shard-0003\.safetensors"):
            LabelStore.open(store.folder)

    def test_a_truncated_shard_is_named_without_reading_it(self, store, monkeypatch):
        monkeypatch.setattr(store_module, "VERIFY_AT_ONCE", 0)
        path = store.path_of("shard-0002")
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(InputError, match=r"shard-0002\.safetensors.*bytes instead of"):
            LabelStore.open(store.folder)

    @pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "limbeck label store", "version": 1}'])
    def test_a_manifest_that_is_none_is_named(self, store, content):
        (store.folder / "manifest.json").write_text(content)
        with pytest.raises(InputError, match=r"manifest\.json is no manifest"):
            LabelStore.open(store.folder)

    def test_a_manifest_of_a_newer_version_asks_for_an_update(self, store):
        path = store.folder / "manifest.json"
        path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
        with pytest.raises(InputError, match=r"format 2.*Update Limbeck"):
            LabelStore.open(store.folder)


def energies_of(records):
    return [record.labels.energy if record.labels else None for record in records]


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from mlff.data.store import LabelStore
from test_store import METADATA, batch
store = LabelStore.open_or_create(Path(sys.argv[1]), METADATA)
for number in range(int(sys.argv[3])):
    if store.add(f"shard-{number:04d}", batch(number)):
        print(number, flush=True)
"""


def test_kill_9_at_any_moment_loses_nothing_that_was_finished_and_stores_nothing_twice(tmp_path):
    """A real writer is killed again and again at random moments; every shard it reported is there, once, and whole."""
    folder, target, reported = tmp_path / "labels", 120, []
    delays = random.Random(0)
    kills = 0
    while len(reported) < target:
        assert kills < 60, f"the writer gets no further than {len(reported)} shards"
        arguments = [sys.executable, "-c", WRITER, str(folder), str(__file__).rsplit("/", 1)[0], str(target)]
        writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        first = writer.stdout.readline()
        if first and kills < 5:
            time.sleep(delays.uniform(0.0, 0.12))
            writer.send_signal(signal.SIGKILL)
            kills += 1
        rest, _ = writer.communicate()
        reported += [int(line) for line in [first, *rest.splitlines(keepends=True)] if line.endswith("\n")]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing reported may be gone
            present = LabelStore.open(folder)
        names = [f"shard-{number:04d}" for number in range(len(present.names))]
        # at most one shard can be finished and not yet reported
        assert present.names == names and len(reported) <= len(names)
        reported = list(range(len(names)))
    assert kills == 5
    present.verify()
    assert energies(present) == energies_of(expected(range(target)))
