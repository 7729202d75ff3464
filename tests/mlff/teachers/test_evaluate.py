"""Labels are right: forces are minus the slope of the energy, atoms' energies sum to it, stress follows a strain."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import voigt_6_to_full_3x3_stress

from mlff.teachers.evaluate import PropertyMissing, TeacherFailed, evaluate
from mlff.teachers.settings import TeacherSettings
from mlff.teachers.teacher import Teacher

CONFIGS = Path(__file__).parents[3] / "configs" / "teacher"


def calculator(name):
    return Teacher(TeacherSettings(**yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))).build()


class Answers(Calculator):
    """A calculator that gives the answers it is told to give."""

    implemented_properties = ("energy", "forces", "energies", "stress")

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        sound = {"energy": -3.0, "forces": np.zeros((3, 3)), "energies": -np.ones(3), "stress": np.zeros(6)}
        self.results = {**sound, **self.answers}


def test_gfn2_forces_are_minus_the_slope_of_its_energy():
    atoms = molecule("CH3CH2OH")
    atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=atoms.positions.shape)
    teacher = calculator("gfn2")
    forces = evaluate(teacher, atoms).forces
    step = 1e-3
    slopes = np.empty_like(forces)
    for index in np.ndindex(forces.shape):
        sides = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index] += sign * step
            sides.append(evaluate(teacher, moved).energy)
        slopes[index] = -(sides[0] - sides[1]) / (2 * step)
    # 1e-4 of third derivatives times step², and the noise of the self-consistent field
    np.testing.assert_allclose(forces, slopes, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["gfn2", "gfn1"])
def test_xtb_atom_energies_sum_to_the_energy(name):
    labels = evaluate(calculator(name), molecule("CH3CH2OH"), {"energies"})
    assert abs(labels.energies.sum() - labels.energy) < 1e-8 * abs(labels.energy)


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("lj", bulk("Ar", a=5.1, cubic=True)),
        ("gfn1", Atoms("H2", [[0, 0, 0], [0.74, 0.1, 0]], cell=[4, 4, 4], pbc=True)),
    ],
)
def test_stress_is_the_slope_of_the_energy_with_strain(name, atoms):
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.array([[1, 0.5, 0], [0.5, -1, 0], [0, 0, 0.3]])), True)
    teacher = calculator(name)
    stress = evaluate(teacher, atoms, {"stress"}).stress
    step = 1e-3
    for row, column in [(0, 0), (1, 1), (0, 1), (1, 2)]:
        sides = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[row, column] += sign * step / 2
            strain[column, row] += sign * step / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            sides.append(evaluate(teacher, moved).energy)
        slope = (sides[0] - sides[1]) / (2 * step) / atoms.get_volume()
        # relative error of the central difference, and the noise of the self-consistent field, in eV/Å³
        assert abs(stress[row, column] - slope) < 1e-3 * abs(stress).max() + 2e-5
    np.testing.assert_allclose(stress, stress.T)


class TestSuspiciousAnswers:
    water = molecule("H2O")

    @pytest.mark.parametrize(
        ("answers", "asked", "message"),
        [
            ({"energy": np.nan}, (), "energy not finite"),
            ({"forces": np.full((3, 3), np.inf)}, (), "forces not finite"),
            ({"forces": np.zeros((2, 3))}, (), r"forces of shape \(2, 3\) instead of \(3, 3\)"),
            ({"energies": np.zeros(3)}, {"energies"}, "do not sum to the energy"),
            ({}, {"stress"}, "not periodic"),
        ],
    )
    def test_are_refused(self, answers, asked, message):
        with pytest.raises(TeacherFailed, match=message):
            evaluate(Answers(**answers), self.water, asked)

    def test_sums_within_single_precision_are_believed(self):
        energies = -np.ones(3) * (1 + 1e-7)
        assert evaluate(Answers(energies=energies), self.water, {"energies"}).energies is not None

    def test_a_property_no_structure_has_is_told_from_a_failure(self):
        from ase.calculators.tip3p import TIP3P

        with pytest.raises(PropertyMissing, match="it has no energies"):
            evaluate(TIP3P(), self.water, {"energies"})

    def test_a_calculator_that_does_not_converge_is_a_failure_with_its_own_words(self):
        from tblite.ase import TBLite

        with pytest.raises(TeacherFailed, match=r"(?i)converge"):
            evaluate(TBLite(verbosity=0, max_iterations=2), self.water)

    def test_only_what_was_asked_for_is_returned(self):
        labels = evaluate(Answers(), self.water)
        assert labels.energies is None and labels.stress is None

    def test_stress_comes_as_a_matrix_from_either_form(self):
        crystal = bulk("Cu", cubic=True)[:3]
        crystal.pbc = True
        voigt = np.array([1.0, 2, 3, 4, 5, 6])
        full = voigt_6_to_full_3x3_stress(voigt)
        for form in (voigt, full):
            np.testing.assert_array_equal(evaluate(Answers(stress=form), crystal, {"stress"}).stress, full)

    def test_labels_do_not_change_when_the_calculator_reuses_its_buffers(self):
        buffer = np.zeros((3, 3))
        labels = evaluate(Answers(forces=buffer), self.water)
        buffer += 1
        assert np.abs(labels.forces).max() == 0


def test_the_energy_is_the_one_the_forces_derive_from():
    class Smeared(Answers):
        implemented_properties = ("energy", "free_energy", "forces")

    assert evaluate(Smeared(energy=-3.0, free_energy=-3.1), molecule("H2O")).energy == -3.1
