"""A small student with a gentle energy surface, and systems of every kind."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff.deploy.batched_md.simulation import simulate
from mlff.student import PaiNN
from training.progress import Progress


@pytest.fixture(scope="session")
def gentle() -> PaiNN:
    torch.manual_seed(3)
    model = PaiNN([1, 6, 8, 14], channels=8, layers=2, radial=6, cutoff=3.5, kernels="reference").double()
    model.set_reference({1: -13.6, 6: -1030.0, 8: -2043.0, 14: -7870.0}, energy_scale=0.3)
    return model


@pytest.fixture(scope="session")
def idle() -> PaiNN:
    """A student for which all structures have the energy zero: its atoms are an ideal gas."""
    model = PaiNN([1, 6], channels=2, layers=1, radial=2, cutoff=1.0, kernels="reference").double()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def moving(atoms: Atoms, seed: int) -> Atoms:
    """Away from symmetry, with momenta of about 300 K."""
    atoms = atoms.copy()
    atoms.rattle(0.02, seed=seed)
    spread = np.sqrt(0.0259 * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(seed).normal(size=(len(atoms), 3)))
    return atoms


@pytest.fixture(scope="session")
def mixture() -> list[Atoms]:
    slab = bulk("Si", cubic=True) * (1, 1, 2)
    slab.pbc = (True, True, False)
    kinds = [molecule("CH3CH2OH"), bulk("Si"), molecule("H2O"), slab, molecule("H")]
    return [moving(atoms, seed) for seed, atoms in enumerate(kinds)]


@pytest.fixture
def quiet(tmp_path) -> Progress:
    return Progress((tmp_path / "log.txt").open("w"), terminal=False)


@pytest.fixture
def run(gentle, tmp_path, quiet):
    """`simulate` in double precision on the CPU, ten steps between outputs, in a folder below the test's own."""

    def call(systems, steps=50, student=gentle, folder="md", **settings):
        usual = {"time_step_fs": 0.5, "frame_every": 10, "observe_every": 10, "dtype": "float64", "device": "cpu"}
        settings = usual | settings
        duration = steps * settings["time_step_fs"] / 1000
        return simulate(systems, student, tmp_path / folder, duration, progress=quiet, **settings)

    call.folder = lambda name: tmp_path / name
    return call
