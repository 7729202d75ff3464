"""Dynamics with known answers: forces that conserve, forces that do not by a known amount, bonds that break."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron

from mlff.validate.bonds import Bonds
from mlff.validate.nve import degrees_of_freedom, run_nve, thermalise
from mlff.validate.settings import MolecularDynamicsSettings
from training.errors import InputError
from training.progress import Progress


class Springs(Calculator):
    """Harmonic bonds between all pairs at their first lengths, with an optional force along the velocity.

    The extra force ``rate · momentum`` is the analytically known non-conservative case: it makes the kinetic energy K
    grow by ``2 · rate · K`` per time, and the total energy with it.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, atoms, stiffness=5.0, rate=0.0, fails_after=None, nan_after=None):
        super().__init__()
        self.lengths = atoms.get_all_distances()
        self.stiffness, self.rate, self.fails_after, self.nan_after = stiffness, rate, fails_after, nan_after
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.fails_after is not None and self.calls > self.fails_after:
            raise CalculationFailed("the atoms overlap")
        vectors = atoms.positions[:, None] - atoms.positions[None]
        distance = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
        stretch = np.where(np.eye(len(atoms)), 0.0, distance - self.lengths)
        forces = -self.stiffness * (stretch / distance)[..., None] * vectors
        forces = forces.sum(axis=1) + self.rate * atoms.get_momenta()
        if self.nan_after is not None and self.calls > self.nan_after:
            forces = forces * np.nan
        self.results = {"energy": 0.25 * self.stiffness * (stretch**2).sum(), "forces": forces}


@pytest.fixture
def progress():
    return Progress(io.StringIO())


def short(**changes):
    values = {"duration_ps": 0.5, "thermalisation_ps": 0.1, "frames": 20, "save_every": 100}
    return MolecularDynamicsSettings(**{**values, **changes})


def cluster():
    return Icosahedron("Cu", 2)


def test_conservative_forces_show_no_drift_at_the_aimed_temperature(tmp_path, progress):
    stability, trajectory = run_nve(
        cluster(),
        EMT(),
        short(duration_ps=0.3, thermalisation_ps=0.05, log_every=2),
        tmp_path / "nve.safetensors",
        progress,
    )
    assert stability.survived and stability.failure == ""
    # Verlet at 0.5 fs keeps copper's shadow energy: below a hundredth of the bar of 0.02
    assert abs(stability.drift_meV_per_atom_per_ps) < 2e-4 + 3 * stability.drift_standard_error_meV_per_atom_per_ps
    assert stability.drift_standard_error_meV_per_atom_per_ps < 0.005
    # equipartition of an energy of exactly 2 T per degree of freedom, over only two periods of the slowest vibration
    assert abs(stability.temperature_mean_K - 300) < 60
    assert stability.relaxation_fmax_eV_per_A <= 0.01
    assert 0 < stability.largest_bond_deviation_A < 0.5
    assert len(trajectory.frames) == 20 and trajectory.frame_time_ps[-1] == pytest.approx(0.3)
    assert len(trajectory.time_ps) == 300 and trajectory.time_ps[-1] == pytest.approx(0.3)


def test_a_force_along_the_velocity_shows_its_analytically_known_drift(tmp_path, progress):
    atoms = molecule("CH4")
    rate = 2e-5 / units.fs  # per time: 4 % more kinetic energy in a picosecond
    settings = short(thermalisation_ps=0.2, log_every=1)
    stability, trajectory = run_nve(atoms, Springs(atoms, rate=rate), settings, tmp_path / "nve.safetensors", progress)
    kinetic_meV_per_atom = 1000 * trajectory.kinetic_eV / len(atoms)
    gained = np.sum(2 * rate * kinetic_meV_per_atom) * settings.timestep_fs * units.fs
    expected = gained / trajectory.time_ps[-1]
    # velocities enter half a step late, an error of order (vibration frequency × step)², and growth bends the line
    assert stability.drift_meV_per_atom_per_ps == pytest.approx(expected, rel=0.03)
    assert stability.drift_meV_per_atom_per_ps > 10 * stability.drift_standard_error_meV_per_atom_per_ps
    spread = np.std(kinetic_meV_per_atom)
    over_run = stability.drift_meV_per_atom_per_ps * (trajectory.time_ps[-1] - trajectory.time_ps[0])
    assert stability.drift_over_kinetic_spread == pytest.approx(over_run / spread)


def test_halving_the_step_divides_the_energy_fluctuation_by_four(tmp_path, progress):
    """Velocity Verlet's error in the energy is of second order in the step."""
    atoms = molecule("CH4")
    figures = []
    for step in (0.5, 0.25):
        settings = short(duration_ps=0.25, timestep_fs=step, thermalisation_ps=0.0, log_every=2)
        path = tmp_path / f"{step}.safetensors"
        figures.append(run_nve(atoms, Springs(atoms), settings, path, progress)[0].fluctuation_meV_per_atom)
    assert figures[0] / figures[1] == pytest.approx(4.0, rel=0.05)


def test_the_start_has_twice_the_temperature_and_neither_momentum_nor_rotation():
    for atoms, dof in ((molecule("CH4"), 9), (molecule("CO2"), 4), (molecule("H2"), 1), (bulk("Cu", cubic=True), 9)):
        assert degrees_of_freedom(atoms) == dof
        thermalise(atoms, 600.0, np.random.default_rng(0))
        assert 2 * atoms.get_kinetic_energy() / (dof * units.kB) == pytest.approx(600.0, rel=1e-12)
        assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
        if not atoms.pbc.any():
            assert np.abs(atoms.get_angular_momentum()).max() < 1e-10


def test_a_broken_bond_ends_the_run_and_is_named(tmp_path, progress):
    atoms = Atoms("H2", [(0, 0, 0), (0, 0, 0.74)])
    weak = Springs(atoms, stiffness=0.05)
    stability, trajectory = run_nve(atoms, weak, short(), tmp_path / "nve.safetensors", progress)
    assert not stability.survived and stability.failure.startswith("the bond H0–H1 is ")
    assert "from its usual length" in stability.failure and stability.duration_ps < 0.5
    assert stability.drift_meV_per_atom_per_ps is None and stability.bonds == 1
    assert len(trajectory.time_ps) < 200


def test_a_structure_the_student_falls_away_from_is_caught_before_any_dynamics(tmp_path, progress):
    """Bonds are those of the given structure, not of what the student makes of it."""
    stability, trajectory = run_nve(
        Atoms("H2", [(0, 0, 0), (0, 0, 0.74)]),
        LennardJones(sigma=2.5, rc=10),
        short(),
        tmp_path / "s.safetensors",
        progress,
    )
    assert not stability.survived and "after the relaxation" in stability.failure
    assert stability.duration_ps == 0 and trajectory.frames == []


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"fails_after": 40}, "the atoms overlap"),
        ({"nan_after": 40}, "is not a number"),
        ({"rate": 0.2}, "temperature reached"),
    ],
)
def test_trouble_is_reported_not_raised_and_stays_when_read_again(tmp_path, progress, trouble, words):
    atoms = molecule("CH4")
    path, settings = tmp_path / "nve.safetensors", short(bond_limit_A=100.0)
    stability, _ = run_nve(atoms, Springs(atoms, **trouble), settings, path, progress)
    assert not stability.survived and words in stability.failure
    again, _ = run_nve(atoms, Springs(atoms, **trouble), settings, path, progress)
    assert again == stability


def test_a_finished_run_is_read_and_not_run_again(tmp_path, progress):
    atoms = molecule("CH4")
    path, settings = tmp_path / "nve.safetensors", short()
    first, trajectory = run_nve(atoms, Springs(atoms), settings, path, progress)
    idle = Springs(atoms)
    second, again = run_nve(atoms, idle, settings, path, progress)
    assert idle.calls == 0 and first == second
    np.testing.assert_array_equal(trajectory.potential_eV, again.potential_eV)


def test_another_student_or_setting_is_refused_by_name(tmp_path, progress):
    atoms = molecule("CH4")
    path = tmp_path / "nve.safetensors"
    run_nve(atoms, Springs(atoms), short(), path, progress, student="a")
    with pytest.raises(InputError, match="dynamics with another student, temperature_K"):
        run_nve(atoms, Springs(atoms), short(temperature_K=310), path, progress, student="b")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="cannot be read"):
        run_nve(atoms, Springs(atoms), short(), path, progress, student="a")


def test_a_single_atom_is_refused_with_the_remedy(tmp_path, progress):
    with pytest.raises(InputError, match=r"at least two atoms; set validation\.molecular_dynamics=null"):
        run_nve(Atoms("Ar"), LennardJones(), short(), tmp_path / "nve.safetensors", progress)


RUN = """
import sys
from pathlib import Path
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from mlff.validate.nve import run_nve
from mlff.validate.settings import MolecularDynamicsSettings
from training.progress import Progress
settings = MolecularDynamicsSettings(duration_ps=0.1, thermalisation_ps=0.02, frames=20, save_every=20)
run_nve(Icosahedron("Cu", 2), EMT(), settings, Path(sys.argv[1]), Progress())
"""


def test_a_run_killed_again_and_again_equals_the_uninterrupted_one_to_the_last_bit(tmp_path, progress):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(RUN))
    killed, whole = tmp_path / "killed.safetensors", tmp_path / "whole.safetensors"
    kills = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, str(script), str(killed)], stdout=subprocess.DEVNULL)
        before = killed.stat().st_mtime_ns if killed.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if killed.exists() and killed.stat().st_mtime_ns != before:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    settings = MolecularDynamicsSettings(duration_ps=0.1, thermalisation_ps=0.02, frames=20, save_every=20)
    _, resumed = run_nve(cluster(), EMT(), settings, killed, progress)
    _, uninterrupted = run_nve(cluster(), EMT(), settings, whole, progress)
    for name in ("time_ps", "potential_eV", "kinetic_eV", "frame_time_ps"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(uninterrupted, name))
    for one, other in zip(resumed.frames, uninterrupted.frames, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


class Remembering(Springs):
    """Answers depend on the calls since it was last told to forget, as with skin lists and warm-started solvers."""

    def __init__(self, atoms, interrupted_at=None):
        super().__init__(atoms)
        self.memory, self.interrupted_at = 0, interrupted_at

    def reset(self):
        super().reset()
        self.memory = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.memory += 1
        self.results["forces"] = self.results["forces"] * (1 + 1e-7 * self.memory)
        if self.calls == self.interrupted_at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted_at", [150, 333])
def test_what_a_calculator_remembers_does_not_tell_a_continued_run_from_a_whole_one(tmp_path, progress, interrupted_at):
    atoms = molecule("CH4")
    path, settings = tmp_path / "interrupted.safetensors", short(duration_ps=0.25, thermalisation_ps=0.05)
    with pytest.raises(KeyboardInterrupt):
        run_nve(atoms, Remembering(atoms, interrupted_at), settings, path, progress)
    _, resumed = run_nve(atoms, Remembering(atoms), settings, path, progress)
    _, whole = run_nve(atoms, Remembering(atoms), settings, tmp_path / "whole.safetensors", progress)
    np.testing.assert_array_equal(resumed.potential_eV, whole.potential_eV)
    np.testing.assert_array_equal(resumed.kinetic_eV, whole.kinetic_eV)


class TestBonds:
    def test_bonds_of_a_molecule_are_the_chemist_s(self):
        assert len(Bonds(molecule("CH3CH2OH"))) == 8
        assert len(Bonds(molecule("C6H6"))) == 12

    def test_usual_lengths_are_those_of_the_reference_frames(self):
        atoms = Atoms("H2", [(0, 0, 0), (0, 0, 0.74)])
        longer = Atoms("H2", [(0, 0, 0), (0, 0, 0.84)])
        assert Bonds(atoms).largest_deviation(longer.positions)[0] == pytest.approx(0.1)
        assert Bonds(atoms, [atoms, longer]).largest_deviation(longer.positions)[0] == pytest.approx(0.05)

    def test_a_bond_across_the_boundary_is_no_broken_bond(self):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        bonds = Bonds(atoms)
        assert len(bonds) == 32 * 12 / 2
        wrapped = atoms.copy()
        wrapped.positions += 1.0
        wrapped.wrap()
        assert bonds.largest_deviation(wrapped.positions)[0] < 1e-12

    def test_frames_of_other_atoms_are_refused(self):
        with pytest.raises(InputError, match="has other atoms"):
            Bonds(molecule("CH4"), [molecule("H2O")])
