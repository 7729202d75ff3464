"""Teacher MD: the temperature it was asked for, no net motion at the start, and an end where the physics ends."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes

from mlff.structures.molecular_dynamics import SegmentTask, Trajectory, _resume, next_segment, read_records, run_segment
from mlff.structures.settings import GateSettings
from mlff.structures.thermostat import Langevin
from mlff.teachers.settings import TeacherSettings
from mlff.teachers.teacher import Teacher

EMT = Teacher(TeacherSettings(name="EMT", calculator="ase.calculators.emt.EMT", keeps_state=False))


def trajectory(folder, **changes):
    values = {
        "name": "300 K",
        "start": bulk("Cu", cubic=True),
        "temperature": 300.0,
        "start_temperature": 300.0,
        "steps": 40,
        "stride": 5,
        "timestep": 2.0,
        "friction": 10.0,
        "thermalisation": 10,
        "segment": 20,
        "seed": (0, 0),
        "gates": GateSettings(),
        "folder": folder,
    }
    return Trajectory(**{**values, **changes})


def run_all(plan, teacher=EMT):
    number, _, ended = next_segment(plan, teacher)
    while not ended:
        run_segment(SegmentTask(plan, teacher, number))
        number, _, ended = next_segment(plan, teacher)
    return read_records(plan, teacher, "MD")


class Failing(Calculator):
    """No forces, a small push, and after a few calls nothing at all."""

    implemented_properties = ("energy", "forces")
    calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls > 23:
            raise RuntimeError("the SCF did not converge")
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


class Repelling(Failing):
    """Pushes the first atom away."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls = 0
        self.results["forces"][0, 2] = 0.5


def test_the_mean_temperature_is_the_thermostats(tmp_path):
    plan = trajectory(tmp_path, steps=1000, thermalisation=100, friction=100.0, segment=500)
    _, temperatures = run_all(plan)
    # 12 momenta; velocities forget within 1/friction = 10 fs = one frame
    error = 300 * np.sqrt(2 / 12) / np.sqrt(len(temperatures) / 2)
    assert len(temperatures) == 200
    assert abs(temperatures.mean() - 300) < 4 * error
    # canonical: the spread over frames is that of 12 degrees of freedom, to the same kind of error
    assert abs(temperatures.std() / (300 * np.sqrt(2 / 12)) - 1) < 0.25


@pytest.mark.parametrize("name", ["CH3CH2OH", "CO2", "H2"])
def test_a_molecule_starts_without_net_momentum_and_rotation(name, tmp_path):
    plan = trajectory(tmp_path, start=molecule(name))
    atoms, _, _ = _resume(SegmentTask(plan, EMT, 0), EMT.fingerprint())
    typical = np.sqrt(2 * units.kB * 300 * atoms.get_masses().sum())
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12 * typical
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-10 * typical
    assert atoms.get_kinetic_energy() > 0


def test_the_thermostat_samples_a_harmonic_bond_at_its_temperature():
    """The mean potential energy of a spring is kT/2 for each coordinate, exactly: four standard errors."""

    class Spring(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            self.results = {"energy": 2.0 * (atoms.positions**2).sum(), "forces": -4.0 * atoms.positions}

    atoms = Atoms("H20", np.zeros((20, 3)), calculator=Spring())
    dynamics = Langevin(atoms, timestep=1.0, temperature=300.0, friction=100.0, random=np.random.default_rng(0))
    forces = atoms.get_forces()
    energies = []
    for _ in range(2000):
        forces = dynamics.step(forces)
        energies.append(atoms.get_potential_energy() / (60 * units.kB * 300 / 2))
    # positions forget within about 30 fs
    error = np.sqrt(2 / 60) / np.sqrt(2000 / 60)
    assert abs(np.mean(energies[200:]) - 1) < 4 * error


def test_frames_begin_after_thermalisation_and_come_every_stride(tmp_path):
    records, temperatures = run_all(trajectory(tmp_path))
    assert len(records) == len(temperatures) == 8
    assert all(record.trajectory == "300 K" and not record.rejected for record in records)


def test_segments_only_decide_what_a_killed_run_loses(tmp_path):
    # EMT keeps no state, so the same trajectory comes out however it is cut
    whole, _ = run_all(trajectory(tmp_path / "whole", segment=50))
    pieces, _ = run_all(trajectory(tmp_path / "pieces", segment=7))
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)


def test_a_trajectory_is_identified_by_what_it_depends_on(tmp_path):
    plan = trajectory(tmp_path)
    assert replace(plan, name="other", folder=tmp_path / "other").identity == plan.identity
    moved = plan.start.copy()
    moved.positions[0, 0] += 1e-9
    changed = {"temperature": 301.0, "seed": (0, 1), "steps": 41, "start": moved, "gates": GateSettings(max_bond=2.0)}
    assert all(replace(plan, **{key: value}).identity != plan.identity for key, value in changed.items())


class TestEarlyEnd:
    def test_where_the_teacher_fails(self, tmp_path):
        teacher = Teacher.from_calculator(Failing())
        records, _ = run_all(trajectory(tmp_path, start=Atoms("Cu"), thermalisation=0), teacher)
        assert [bool(record.rejected) for record in records] == [False] * 4 + [True]
        assert records[-1].rejected == "teacher failed: RuntimeError: the SCF did not converge"

    def test_where_a_molecule_falls_apart(self, tmp_path):
        teacher = Teacher.from_calculator(Repelling())
        records, _ = run_all(trajectory(tmp_path, start=molecule("H2"), thermalisation=0), teacher)
        assert records[-1].rejected == "molecule fell apart"
        assert len(records) < 8 and not any(record.rejected for record in records[:-1])

    def test_unless_that_is_allowed(self, tmp_path):
        teacher = Teacher.from_calculator(Repelling())
        plan = trajectory(tmp_path, start=molecule("H2"), thermalisation=0, temperature=5e4)
        records, _ = run_all(replace(plan, gates=GateSettings(fragments=True)), teacher)
        assert len(records) == 8 and not any(record.rejected for record in records)

    def test_where_it_explodes(self, tmp_path):
        records, _ = run_all(trajectory(tmp_path, start_temperature=1e6, thermalisation=0))
        assert records[-1].rejected in ("atoms too close", "trajectory exploded")

    @pytest.mark.parametrize("segment", [5, 50])
    def test_is_remembered(self, tmp_path, segment):
        plan = trajectory(tmp_path, start_temperature=1e6, thermalisation=0, segment=segment)
        run_all(plan)
        assert next_segment(plan, EMT)[2]
