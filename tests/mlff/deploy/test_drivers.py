"""The calculator inside ASE's own dynamics, relaxations, vibrations and files."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.eos import calculate_eos
from ase.filters import FrechetCellFilter
from ase.io import Trajectory, read, write
from ase.md.langevin import Langevin
from ase.md.melchionna import MelchionnaNPT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations

from mlff import StudentCalculator
from mlff.neighbors import SkinNeighborList


@pytest.fixture
def calculator(student_file):
    return StudentCalculator(student_file, device="cpu", dtype="float64", skin=0.3)


def warm(atoms: Atoms, temperature: float = 300.0) -> Atoms:
    """The structure with velocities of that temperature."""
    width = np.sqrt(atoms.get_masses() * units.kB * temperature)[:, None]
    atoms.set_momenta(width * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    return atoms


@pytest.fixture(scope="module")
def minimum(student_file) -> Atoms:
    """Ethanol's atoms at a minimum of the untrained student."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = StudentCalculator(student_file, device="cpu", dtype="float64")
    assert FIRE(atoms, logfile=None).run(fmax=1e-3, steps=2000)
    return atoms.copy()


def crystal() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.02, seed=3)
    return atoms


class TestDynamics:
    def test_verlet_conserves_energy_to_the_second_order_of_the_step(self, calculator, minimum):
        excursions = []
        for timestep in (0.5, 0.25):
            atoms = warm(minimum.copy())
            atoms.calc = calculator
            dynamics = VelocityVerlet(atoms, timestep * units.fs)
            energies = []
            for _ in range(int(20 / timestep)):
                dynamics.run(1)
                energies.append(atoms.get_total_energy())
            excursions.append(np.ptp(energies))
        # velocity Verlet errs by O(dt²): halving the step quarters the excursion when the forces are the energy's slope
        assert excursions[0] < 0.1 * units.kB * 300 * len(atoms)
        assert 3.3 < excursions[0] / excursions[1] < 4.7

    def test_skin_lists_along_a_run_give_what_fresh_lists_give(self, calculator, student_file):
        atoms = warm(crystal() * (2, 1, 1), 1500)
        atoms.calc = calculator
        fresh = StudentCalculator(student_file, device="cpu", dtype="float64", skin=0.0)
        dynamics = VelocityVerlet(atoms, 2 * units.fs)
        for _ in range(30):
            dynamics.run(1)
            twin = atoms.copy()
            twin.calc = fresh
            # same edges in the same order
            assert twin.get_potential_energy() == atoms.get_potential_energy()
            np.testing.assert_array_equal(twin.get_forces(), atoms.get_forces())
        lists: SkinNeighborList = calculator.neighbors
        assert lists.calls == 31 and 1 < lists.builds < 20
        assert fresh.neighbors.builds == fresh.neighbors.calls == 30

    def test_langevin_warms_a_cold_molecule(self, calculator, minimum):
        atoms = minimum.copy()
        atoms.calc = calculator
        Langevin(
            atoms, 0.5 * units.fs, temperature_K=300, friction=0.1 / units.fs, fixcm=False, rng=np.random.default_rng(1)
        ).run(150)
        # 27 degrees of freedom leave the temperature of one moment a spread of 80 K
        assert 60 < atoms.get_temperature() < 700

    @pytest.mark.parametrize("barostat", ["Melchionna", "Berendsen"])
    def test_constant_pressure(self, calculator, barostat):
        atoms = warm(crystal())
        atoms.calc = calculator
        volume = atoms.get_volume()
        if barostat == "Melchionna":
            dynamics = MelchionnaNPT(
                atoms,
                1 * units.fs,
                temperature_K=300,
                externalstress=0.0,
                ttime=25 * units.fs,
                pfactor=(75 * units.fs) ** 2 * 100 * units.GPa,
            )
        else:
            dynamics = NPTBerendsen(
                atoms,
                1 * units.fs,
                temperature_K=300,
                pressure_au=0.0,
                taup=100 * units.fs,
                compressibility_au=1e-2 / units.GPa,
            )
        dynamics.run(10)
        assert atoms.get_volume() != volume
        # the results belong to the cell as it is at the end
        twin = atoms.copy()
        twin.calc = calculator
        np.testing.assert_allclose(twin.get_stress(), atoms.get_stress(), rtol=1e-12)
        assert np.isfinite(atoms.get_total_energy())


class TestRelaxation:
    @pytest.mark.parametrize("optimizer", [BFGS, FIRE])
    def test_finds_a_minimum(self, calculator, optimizer):
        atoms = molecule("CH3CH2OH")
        atoms.calc = calculator
        start = atoms.get_potential_energy()
        assert optimizer(atoms, logfile=None).run(fmax=0.02, steps=500)
        assert atoms.get_potential_energy() < start
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.02

    def test_of_the_cell_lowers_the_stress(self, calculator):
        atoms = crystal()
        atoms.calc = calculator
        stress, energy = np.abs(atoms.get_stress()).max(), atoms.get_potential_energy()
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=60)
        assert np.abs(atoms.get_stress()).max() < 0.2 * stress
        assert atoms.get_potential_energy() < energy

    def test_equation_of_state_agrees_with_the_stress(self, calculator):
        atoms = bulk("Si", cubic=True)
        atoms.calc = calculator
        eos = calculate_eos(atoms, npoints=7, eps=0.002)
        volumes, energies = np.array(eos.v), np.array(eos.e)
        slope = np.polyval(np.polyder(np.polyfit(volumes - atoms.get_volume(), energies, 4)), 0.0)
        # dE/dV is the mean normal stress
        assert slope == pytest.approx(atoms.get_stress()[:3].mean(), rel=1e-5)


def test_vibrations_of_a_relaxed_molecule(calculator, minimum, tmp_path):
    atoms = minimum.copy()
    atoms.calc = calculator
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.002)
    vibrations.run()
    energies = np.sort(np.abs(vibrations.get_energies()))
    assert len(energies) == 27
    # translations are free to the rounding of forces over the displacement; rotations keep what is left of the forces
    assert energies[2] < 1e-3 < energies[8]


class TestFiles:
    def test_trajectory_keeps_the_results(self, calculator, tmp_path):
        atoms = warm(crystal())
        atoms.calc = calculator
        dynamics = VelocityVerlet(atoms, 1 * units.fs, trajectory=str(tmp_path / "md.traj"))
        dynamics.run(3)
        with Trajectory(tmp_path / "md.traj") as frames:
            assert len(frames) == 4
            last = frames[-1]
        assert isinstance(last.calc, SinglePointCalculator) and last.calc.name == "studentcalculator"
        assert last.get_potential_energy() == atoms.get_potential_energy()
        np.testing.assert_array_equal(last.get_forces(), atoms.get_forces())

    def test_extxyz_and_database_keep_the_results(self, calculator, tmp_path):
        atoms = crystal()
        atoms.calc = calculator
        atoms.get_forces(), atoms.get_stress()
        write(tmp_path / "s.xyz", atoms, format="extxyz")
        back = read(tmp_path / "s.xyz")
        assert back.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
        np.testing.assert_allclose(back.get_forces(), atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(back.get_stress(), atoms.get_stress(), atol=1e-7)
        with connect(tmp_path / "s.db") as database:
            database.write(atoms)
        row = connect(tmp_path / "s.db").get(1)
        assert row.energy == atoms.get_potential_energy() and row.calculator == "studentcalculator"
