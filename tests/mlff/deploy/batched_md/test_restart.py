"""A killed simulation that is called again equals one that nobody killed, bit for bit, files included."""

import os
import signal

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from mlff.deploy.batched_md.folder import Output
from mlff.deploy.batched_md.simulation import _Run, simulate
from mlff.deploy.batched_md.trajectory import ExtxyzFiles
from training.errors import InputError, Interrupted
from training.progress import Progress


@pytest.fixture(autouse=True)
def one_thread():
    """Children are forked, and a fork has no threads but its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def systems():
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.05, seed=2)
    doomed = molecule("H2")
    doomed.set_momenta([[0, 0, 60.0], [0, 0, -60.0]])
    return [molecule("CH3CH2OH"), crystal, doomed, molecule("H2O")]


def call(systems, model, folder, ensemble="langevin", steps=40, **changes):
    settings = {"temperature_K": 300.0, "time_step_fs": 0.5, "frame_every": 5, "observe_every": 5, "seed": 3}
    settings |= {"device": "cpu", "dtype": "float64", "save_seconds": 0.0, "largest_temperature_K": 1e5}
    log = Progress((folder.parent / "log.txt").open("a"), terminal=False)
    return simulate(systems, model, folder, steps * 0.5 / 1000, ensemble, progress=log, **settings | changes)


def killed(monkeypatch, work) -> None:
    """Do the work in a forked process, which must die of SIGKILL."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def contents(folder):
    """Every file that a user reads, byte by byte."""
    files = [*folder.glob("trajectory/*"), folder / "observables.csv"]
    return {file.name: file.read_bytes() for file in files}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_between_saves(monkeypatch):
    advance = _Run._advance

    def dying(self):
        self.settings = self.settings.model_copy(update={"save_seconds": 0.0 if self.step < 12 else 1e9})
        advance(self)
        if self.step == 23:
            die()

    monkeypatch.setattr(_Run, "_advance", dying)


def dies_in_the_middle_of_a_frame(monkeypatch):
    write = ExtxyzFiles.write

    def dying(self, frames):
        if frames[0].step == 30:
            (self.folder / f"{self.cast.names[1]}.extxyz").open("a").write("8\nLatti")
            die()
        write(self, frames)

    monkeypatch.setattr(ExtxyzFiles, "write", dying)


def dies_before_the_first_frame(monkeypatch):
    monkeypatch.setattr(Output, "frame", lambda self, *_: die())


DEATHS = [dies_between_saves, dies_in_the_middle_of_a_frame, dies_before_the_first_frame]


@pytest.fixture(scope="module")
def untouched(gentle, systems, tmp_path_factory):
    folder = tmp_path_factory.mktemp("untouched") / "md"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = call(systems, gentle, folder)
    torch.set_num_threads(threads)
    return result


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
def test_a_killed_simulation_goes_on_as_if_nothing_had_happened(death, gentle, systems, untouched, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        death(patch)
        killed(patch, lambda: call(systems, gentle, tmp_path / "md"))
    result = call(systems, gentle, tmp_path / "md")
    for one, other in zip(untouched.structures, result.structures, strict=True):
        assert np.array_equal(one.positions, other.positions) and np.array_equal(one.get_momenta(), other.get_momenta())
        assert np.array_equal(one.get_forces(), other.get_forces())
    assert contents(tmp_path / "md") == contents(untouched.folder)
    assert result.outcomes == untouched.outcomes
    assert [bool(outcome.failure) for outcome in result.outcomes] == [False, False, True, False]


def test_one_that_is_made_longer_equals_a_long_one(gentle, systems, untouched, tmp_path):
    call(systems, gentle, tmp_path / "md", steps=20)
    result = call(systems, gentle, tmp_path / "md", steps=40)
    assert contents(tmp_path / "md") == contents(untouched.folder)
    assert np.array_equal(result.structures[0].positions, untouched.structures[0].positions)


def test_cells_that_change_are_restored_too(gentle, systems, tmp_path):
    crystal = [systems[1]]
    call(crystal, gentle, tmp_path / "long", "npt", steps=30, pressure_GPa=5.0)
    call(crystal, gentle, tmp_path / "parts", "npt", steps=15, pressure_GPa=5.0)
    call(crystal, gentle, tmp_path / "parts", "npt", steps=30, pressure_GPa=5.0)
    assert contents(tmp_path / "parts") == contents(tmp_path / "long")


def test_a_finished_simulation_is_not_run_again(gentle, systems, untouched, monkeypatch):
    monkeypatch.setattr(_Run, "_advance", lambda self: die())
    before = contents(untouched.folder)
    again = call(systems, gentle, untouched.folder)
    assert again.steps == 40 and contents(untouched.folder) == before


def test_a_signal_stops_after_saving(gentle, systems, untouched, tmp_path, monkeypatch):
    advance = _Run._advance

    def signalled(self):
        advance(self)
        if self.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_advance", signalled)
        with pytest.raises(Interrupted, match="SIGTERM"):
            call(systems, gentle, tmp_path / "md", save_seconds=1e9)
    call(systems, gentle, tmp_path / "md", save_seconds=1e9)
    assert contents(tmp_path / "md") == contents(untouched.folder)


def test_a_folder_of_another_simulation_is_refused(gentle, systems, untouched):
    before = contents(untouched.folder)
    for changes, named in (
        ({"seed": 4}, r"another seed \(was 3, is 4\)"),
        ({"temperature_K": 301.0}, r"another temperature_K \(was 300.0, is 301.0\)"),
    ):
        with pytest.raises(InputError, match=named):
            call(systems, gentle, untouched.folder, **changes)
    with pytest.raises(InputError, match="another systems"):
        call(systems[:2], gentle, untouched.folder)
    assert contents(untouched.folder) == before


def test_a_folder_of_something_else_is_left_alone(gentle, systems, tmp_path):
    (tmp_path / "md").mkdir()
    (tmp_path / "md" / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="holds files but no simulation"):
        call(systems, gentle, tmp_path / "md")
    assert (tmp_path / "md" / "thesis.tex").read_text() == "dear"


def test_two_processes_do_not_share_a_folder(gentle, systems, tmp_path, monkeypatch):
    advance = _Run._advance

    def nested(self):
        with pytest.raises(InputError, match="Another process simulates"):
            call(systems, gentle, tmp_path / "md")
        advance(self)

    monkeypatch.setattr(_Run, "_advance", nested)
    assert call(systems, gentle, tmp_path / "md", steps=1).steps == 1


def test_a_damaged_state_is_named(gentle, systems, tmp_path):
    call(systems, gentle, tmp_path / "md", steps=1)
    state = tmp_path / "md" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(InputError, match=r"state.safetensors cannot be read"):
        call(systems, gentle, tmp_path / "md", steps=2)
