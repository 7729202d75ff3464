"""A shard keeps structures and labels to the last bit, and is whole or absent."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff.data.records import Labels, Record
from mlff.data.shards import Shard, fingerprint, read_shard, write_shard
from training.errors import InputError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def records(draw):
    n_atoms = draw(st.integers(0, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    atoms = Atoms(
        numbers=random.integers(1, 119, n_atoms),
        positions=random.normal(size=(n_atoms, 3)) * draw(st.sampled_from([1.0, 1e-12, 1e9])),
        cell=random.normal(size=(3, 3)) if draw(st.booleans()) else None,
        pbc=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    )
    labels = None
    if draw(st.booleans()):
        labels = Labels(
            energy=draw(NUMBERS),
            forces=random.normal(size=(n_atoms, 3)),
            energies=random.normal(size=n_atoms) if draw(st.booleans()) else None,
            stress=random.normal(size=(3, 3)) if draw(st.booleans()) else None,
        )
    return Record(atoms, draw(st.text(max_size=8)), draw(st.text(max_size=8)), labels, draw(st.text(max_size=8)))


def geometry(atoms):
    return atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc


def same(left, right):
    """Equality to the last bit of everything a shard promises to keep."""
    assert (left.trajectory, left.source, left.rejected) == (right.trajectory, right.source, right.rejected)
    for a, b in zip(geometry(left.atoms), geometry(right.atoms), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (left.labels is None) == (right.labels is None)
    if left.labels is not None:
        for name in ("energy", "forces", "energies", "stress"):
            a, b = getattr(left.labels, name), getattr(right.labels, name)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)


@settings(max_examples=25, deadline=None)
@given(written=st.lists(records(), max_size=5))
def test_a_shard_gives_back_every_bit(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("shards") / "a.safetensors"
    write_shard(path, written)
    read = read_shard(path)
    assert len(read) == len(written)
    for left, right in zip(written, read, strict=True):
        same(left, right)
    assert fingerprint(read) == fingerprint(written)


def water(energy=-1.0, **kinds):
    atoms = Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]])
    return Record(atoms, "md", "molecular dynamics", Labels(energy, np.ones((3, 3)), **kinds))


def test_the_layout_is_readable_by_the_safetensors_library(tmp_path):
    from safetensors.numpy import load_file

    write_shard(tmp_path / "a.safetensors", [water(), water(-2.0)])
    arrays = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(arrays["energy"], [-1.0, -2.0])
    np.testing.assert_array_equal(arrays["offsets"], [0, 3, 6])


def test_what_is_read_does_not_hold_the_file_and_may_be_changed(tmp_path):
    path = tmp_path / "a.safetensors"
    write_shard(path, [water(energies=np.ones(3), stress=np.ones((3, 3)))])
    (record,) = read_shard(path)
    record.atoms.positions += 1.0
    for array in (record.labels.forces, record.labels.energies, record.labels.stress):
        array += 1.0
    Shard(path).verify()
    assert read_shard(path)[0].labels.energies.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "labels",
    [
        Labels(0.0, np.zeros((2, 3))),
        Labels(0.0, np.zeros((3, 3)), energies=np.zeros(2)),
        Labels(0.0, np.zeros((3, 3)), stress=np.zeros(6)),
    ],
    ids=["forces", "energies", "stress"],
)
def test_a_label_of_the_wrong_shape_is_refused_and_leaves_nothing(tmp_path, labels):
    wrong = Record(water().atoms, "md", "rattled", labels)
    with pytest.raises(InputError, match=r"structure 1 \(H2O, rattled\).*3 atoms need"):
        write_shard(tmp_path / "a.safetensors", [water(), wrong])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_named_with_its_remedy(tmp_path, keep):
    path = tmp_path / "a.safetensors"
    write_shard(path, [water()] * 10)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"a\.safetensors is no whole shard.*Delete this file and run"):
        read_shard(path)


def test_a_missing_a_foreign_and_a_newer_file_are_told_apart(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(InputError, match="does not exist"):
        read_shard(tmp_path / "none.safetensors")
    save_file({"x": np.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="no whole shard"):
        read_shard(tmp_path / "foreign.safetensors")
    write_shard(tmp_path / "a.safetensors", [water()])
    content = (tmp_path / "a.safetensors").read_bytes().replace(rb"\"version\": 1", rb"\"version\": 7")
    (tmp_path / "newer.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"shard format 7.*Update Limbeck"):
        read_shard(tmp_path / "newer.safetensors")


@pytest.mark.parametrize("position", [-1, -500, -2000])
def test_one_flipped_bit_is_found(tmp_path, position):
    path = tmp_path / "a.safetensors"
    write_shard(path, [water()] * 10)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="differ from its checksum"):
        Shard(path).verify()


def test_a_full_disk_leaves_the_former_file_and_no_partial_one(tmp_path):
    """A limit on the size of files makes the write fail midway, as a full disk does."""
    path = tmp_path / "a.safetensors"
    write_shard(path, [water()])
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from mlff.data.shards import read_shard, write_shard\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "path = Path(sys.argv[1])\n"
        "records = read_shard(path) * 5000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "write_shard(path, records)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert done.returncode != 0 and "Free some space" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    same(read_shard(path)[0], water())


def test_a_worker_that_writes_shards_does_not_load_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, mlff.data.store, mlff.data.shards; sys.exit('torch' in sys.modules)"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0
