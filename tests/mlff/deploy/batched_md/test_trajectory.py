"""Files: what ASE reads back is what was simulated."""

import json
import sys
import threading

import h5py
import numpy as np
import pytest
from ase.io import read

from mlff.deploy.batched_md.observables import COLUMNS, read_observables
from mlff.deploy.batched_md.trajectory import WAITING, Hdf5Files, TrajFiles, Writer, cut_file
from training.errors import InputError


@pytest.mark.parametrize("ending", ["extxyz", "traj"])
def test_ase_reads_every_system_back(ending, run, mixture):
    result = run(mixture, steps=20, trajectory=ending)
    for before, last in zip(mixture, result.structures, strict=True):
        index = next(n for n, atoms in enumerate(mixture) if atoms is before)
        frames = read(result.folder / "trajectory" / f"{result.outcomes[index].name}.{ending}", ":")
        assert [frame.info["step"] for frame in frames] == [0, 10, 20]
        assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0, 0.005, 0.01])
        assert np.abs(frames[0].positions - before.positions).max() < 1e-9
        assert np.abs(frames[0].get_momenta() - before.get_momenta()).max() < 1e-9
        assert np.abs(frames[-1].positions - last.positions).max() < 1e-9
        assert np.abs(frames[-1].get_momenta() - last.get_momenta()).max() < 1e-9
        assert np.abs(frames[-1].get_forces() - last.get_forces()).max() < 1e-9
        assert frames[-1].get_potential_energy() == pytest.approx(last.get_potential_energy(), abs=1e-8)
        assert np.abs(frames[-1].cell.array - before.cell.array).max() < 1e-9 or not before.pbc.any()
        assert frames[-1].pbc.tolist() == before.pbc.tolist()
        assert frames[-1].get_chemical_symbols() == before.get_chemical_symbols()


def test_frames_of_ases_format_are_written_once_however_often_it_is_called(run, mixture):
    for steps in (15, 35, 40):
        run(mixture[:2], steps=steps, trajectory="traj", frame_every=5)
    steps = [frame.info["step"] for frame in read(run.folder("md") / "trajectory" / "00001_Si2.traj", ":")]
    assert steps == list(range(0, 41, 5))


def test_superfluous_frames_of_ases_format_are_cut_off(run, mixture):
    result = run(mixture[:1], steps=10, trajectory="traj", frame_every=5)
    files = TrajFiles(result.folder / "trajectory", None)
    assert files.written() == {"00000_C2H6O.traj": 3}
    files.cut({"00000_C2H6O.traj": 2})
    assert [frame.info["step"] for frame in read(result.folder / "trajectory" / "00000_C2H6O.traj", ":")] == [0, 5]
    files.cut({})
    assert files.written() == {}


def test_hdf5_holds_every_frame_once_and_cuts_what_no_saved_state_knows(run, mixture):
    for steps in (20, 40):
        result = run(mixture, steps=steps, trajectory="hdf5", frame_every=5)
    files = sorted((result.folder / "trajectory").glob("*.h5"))
    last = {outcome.name: atoms for outcome, atoms in zip(result.outcomes, result.structures, strict=True)}
    for name, atoms in last.items():
        steps, groups = [], []
        for file in files:
            with h5py.File(file) as stored:
                steps += stored[name]["step"][:].tolist()
                groups.append({key: stored[name][key][()] for key in stored[name]})
        assert steps == list(range(0, 41, 5))
        end = groups[-1]
        np.testing.assert_array_equal(end["numbers"], atoms.numbers)
        np.testing.assert_allclose(end["positions"][-1], atoms.positions, atol=1e-12)
        np.testing.assert_allclose(end["momenta"][-1], atoms.get_momenta(), atol=1e-12)
        np.testing.assert_allclose(end["forces"][-1], atoms.get_forces(), atol=1e-12)
        assert end["energy"][-1] == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    store = Hdf5Files(result.folder / "trajectory", None)
    assert store.written() == {file.name: 1 for file in files}
    store.cut({files[0].name: 1})
    assert list(store.written()) == [files[0].name]


def test_hdf5_without_its_package_is_refused_before_anything_is_done(run, mixture, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install .limbeck\[hdf5\]"):
        run(mixture, trajectory="hdf5")
    assert not run.folder("md").exists()


def test_both_formats_of_observables_say_the_same(run, mixture):
    tables = [read_observables(run(mixture, folder=kind, observables=kind).folder) for kind in ("csv", "jsonl")]
    assert list(tables[0]) == COLUMNS and len(tables[0]["step"]) == 6 * len(mixture)
    for column in COLUMNS:
        assert np.array_equal(tables[0][column], tables[1][column], equal_nan=column != "step"), column


def test_without_a_trajectory_there_is_none(run, mixture):
    folder = run(mixture, steps=10, trajectory=None).folder
    assert sorted(file.name for file in folder.iterdir()) == [
        ".lock", "observables.csv", "state.safetensors", "summary.json",
    ]  # fmt: skip
    assert json.loads((folder / "summary.json").read_text())["systems"] == len(mixture)


def test_a_full_disk_is_said_in_words():
    def fill() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"No space left on device.*Free some space"), Writer() as writer:
        writer.put(fill)
        writer.wait()


def test_the_simulation_waits_for_a_slow_disk_instead_of_filling_the_memory():
    allowed, done = threading.Event(), []
    with Writer() as writer:
        writer.put(lambda: allowed.wait(10))
        filler = threading.Thread(target=lambda: [writer.put(lambda n=n: done.append(n)) for n in range(3 * WAITING)])
        filler.start()
        filler.join(0.2)
        assert filler.is_alive() and not done
        allowed.set()
        filler.join()
        writer.wait()
    assert done == list(range(3 * WAITING))


def test_a_file_that_lost_something_is_named(tmp_path):
    file = tmp_path / "a.extxyz"
    file.write_text("abc")
    with pytest.raises(InputError, match="shorter"):
        cut_file(file, 5)
