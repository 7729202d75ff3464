"""Errors are known by construction: labels are made from predictions plus stated differences."""

import io
import math

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from mlff.data.records import Labels, Record
from mlff.validate.accuracy import error_to_truth, measure_accuracy
from mlff.validate.prediction import Comparison, compare, label_frames, predict
from training.errors import InputError
from training.progress import Progress


@pytest.fixture
def progress():
    return Progress(io.StringIO())


class Shifted(Calculator):
    """EMT, wrong by stated amounts: energy per atom, every force component, every stress component, atomic energies."""

    implemented_properties = ("energy", "forces", "stress", "energies")

    def __init__(self, energy_per_atom=0.0, force=0.0, stress=0.0):
        super().__init__()
        self.shift = energy_per_atom, force, stress

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, force, stress = self.shift
        honest = atoms.copy()
        honest.calc = EMT()
        self.results = {
            "energy": honest.get_potential_energy() + energy * len(atoms),
            "energies": honest.get_potential_energies() + energy,
            "forces": honest.get_forces() + force,
        }
        if atoms.pbc.all():
            self.results["stress"] = honest.get_stress() + stress


class Batched(Shifted):
    """The same with a batched call, which is to be used, in batches of the given size."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.batches = []

    def calculate_many(self, structures, properties=("energy", "forces")):
        self.batches.append(len(structures))
        answers = []
        for atoms in structures:
            self.calculate(atoms.copy())
            answers.append({name: self.results[name] for name in properties})
        return answers


def rattled(atoms, count, seed=0):
    frames = []
    for index in range(count):
        frame = atoms.copy()
        frame.rattle(0.05, seed=seed + index)
        frames.append(frame)
    return frames


def crystals(progress, count=5):
    return label_frames(
        EMT(), rattled(bulk("CuAu", "rocksalt", a=5.0, cubic=True), count), progress, "held out", "rattled"
    )


def molecules(progress, count=6):
    return label_frames(EMT(), rattled(molecule("CH3CH2OH"), count), progress, "held out", "rattled")


def test_stated_shifts_come_back_as_errors_in_their_units(progress):
    accuracy = measure_accuracy(compare(Shifted(0.002, 0.015, 0.003), crystals(progress), progress))
    close = {"rel": 1e-9}  # differences of sums of order 10 eV in double precision
    assert accuracy.energy_mae_meV_per_atom == pytest.approx(2.0, **close)
    assert accuracy.energy_bias_meV_per_atom == pytest.approx(2.0, **close)
    assert accuracy.atom_energy_mae_meV == pytest.approx(2.0, **close)
    assert accuracy.force_mae_meV_per_A == pytest.approx(15.0, **close)
    assert accuracy.force_rmse_meV_per_A == pytest.approx(15.0, **close)
    assert accuracy.stress_mae_meV_per_A3 == pytest.approx(3.0, **close)
    assert accuracy.stress_mae_GPa == pytest.approx(0.003 / units.GPa, **close)
    assert {e: x.force_mae_meV_per_A for e, x in accuracy.per_element.items()} == pytest.approx(
        {"Cu": 15.0, "Au": 15.0}
    )


def test_a_perfect_student_has_no_error_and_a_signed_shift_keeps_its_sign(progress):
    perfect = measure_accuracy(compare(EMT(), molecules(progress), progress))
    assert perfect.energy_mae_meV_per_atom == perfect.force_mae_meV_per_A == 0.0
    assert measure_accuracy(compare(Shifted(-0.01), molecules(progress), progress)).energy_bias_meV_per_atom < 0


def test_stress_is_compared_only_where_structures_are_periodic(progress):
    accuracy = measure_accuracy(compare(EMT(), molecules(progress), progress))
    assert accuracy.stress_mae_meV_per_A3 is None and accuracy.stress_mae_GPa is None


@pytest.mark.parametrize("kind", [molecules, crystals])
def test_batched_and_single_calls_give_the_same_errors_and_batches_are_as_large_as_allowed(progress, kind):
    """Stress is asked for where there is one: a molecule in a batch has none, and asking would be an error."""
    records = kind(progress, 5)
    batched, single = Batched(0.001, 0.01), Shifted(0.001, 0.01)
    together = measure_accuracy(compare(batched, records, progress, batch_size=2))
    assert batched.batches == [2, 2, 1]
    assert together.to_dict() == measure_accuracy(compare(single, records, progress)).to_dict()


def test_predictors_that_know_nothing_are_the_best_of_their_kind(progress):
    records = molecules(progress)
    accuracy = measure_accuracy(compare(EMT(), records, progress))
    forces = np.concatenate([record.labels.forces for record in records])
    energies = np.array([record.labels.energy for record in records]) / 9
    assert accuracy.force_mae_of_zero_meV_per_A == pytest.approx(1000 * np.abs(forces).mean())
    trials = [
        1000 * np.abs(energies - constant).mean() for constant in np.linspace(energies.min(), energies.max(), 2001)
    ]
    assert accuracy.energy_mae_of_constant_meV_per_atom <= min(trials) + 1e-9


def test_a_sum_of_atomic_constants_is_no_achievement_over_many_compositions():
    numbers = [[1, 1, 8], [1, 6], [6, 8, 8], [1, 8, 8, 6]]
    constants = {1: -13.0, 6: -1000.0, 8: -2000.0}
    energy = np.array([sum(constants[z] for z in structure) for structure in numbers])
    flat = np.concatenate(numbers)
    comparison = Comparison(
        numbers=flat,
        structure_index=np.repeat(np.arange(4), [len(n) for n in numbers]),
        n_atoms=np.array([len(n) for n in numbers]),
        energy=energy,
        predicted_energy=energy,
        forces=np.ones((len(flat), 3)),
        predicted_forces=np.ones((len(flat), 3)),
    )
    # the fit recovers the constants to rounding of energies of 4e6 meV
    assert measure_accuracy(comparison).energy_mae_of_constant_meV_per_atom < 1e-6


def test_the_largest_error_names_structure_and_atom(progress):
    records = molecules(progress, 4)
    wrong = records[2].labels.forces.copy()
    wrong[7, 1] += 3.0
    records[2] = Record(records[2].atoms, "held out", "rattled", Labels(records[2].labels.energy - 0.9, wrong))
    accuracy = measure_accuracy(compare(EMT(), records, progress))
    assert accuracy.largest_force_error_meV_per_A == pytest.approx(3000.0)
    assert (accuracy.largest_force_error_structure, accuracy.largest_force_error_atom) == (2, 7)
    assert accuracy.largest_energy_error_structure == 2
    assert accuracy.largest_energy_error_meV_per_atom == pytest.approx(100.0)


def test_a_prediction_that_is_no_number_is_the_largest_error_and_spoils_the_mean(progress):
    accuracy = measure_accuracy(compare(Shifted(math.nan, math.nan), molecules(progress), progress))
    assert math.isnan(accuracy.force_mae_meV_per_A) and math.isnan(accuracy.energy_mae_meV_per_atom)
    assert accuracy.largest_force_error_structure == 0


def test_constraints_of_a_structure_do_not_hide_forces(progress):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    free = predict(EMT(), [atoms], progress)[0].forces
    atoms.set_constraint(FixAtoms(range(9)))
    np.testing.assert_array_equal(predict(EMT(), [atoms], progress)[0].forces, free)
    assert np.abs(free).max() > 0.01


def test_structures_without_labels_are_refused_by_name(progress):
    with pytest.raises(InputError, match=r"Structure 0 \(by hand\) has no label"):
        compare(LennardJones(), [Record(Atoms("Ar"), "one", "by hand")], progress)
    with pytest.raises(InputError, match="no labelled structure"):
        compare(LennardJones(), [], progress)


def test_error_per_structure_averages_its_own_components(progress):
    comparison = compare(Shifted(0.0, 0.02), molecules(progress), progress)
    np.testing.assert_allclose(comparison.force_mae_per_structure(), 0.02, rtol=1e-9)


def test_independent_errors_add_in_squares():
    assert error_to_truth(3.0, 4.0) == 5.0
