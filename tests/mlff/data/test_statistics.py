"""Reference energies say what the data determine, and statistics are those of the labels."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff.data.records import Labels, Record
from mlff.data.statistics import data_statistics, element_histogram, reference_energies
from training.errors import InputError

TRUE = {1: -13.6, 6: -1027.5, 8: -2041.25, 14: -289.0}


def record(formula, excess=0.0, source="md", forces=None):
    """A structure whose energy is the sum of the true element energies and an excess in eV."""
    atoms = Atoms(formula)
    energy = sum(TRUE[z] for z in atoms.numbers) + excess
    return Record(atoms, "t", source, Labels(energy, np.zeros((len(atoms), 3)) if forces is None else forces))


class TestReferenceEnergies:
    def test_enough_compositions_determine_every_element(self):
        found = reference_energies([record(f) for f in ("H2O", "CH4", "CO2", "C2H6O", "H2")])
        # exact data: rounding of energies of 2000 eV in float64, times the condition of the fit
        for z, energy in found.energies.items():
            assert abs(energy - TRUE[z]) < 1e-8
        assert found.rank == 3 and "all are determined" in found.note

    @settings(max_examples=30, deadline=None)
    @given(
        formulas=st.lists(
            st.sampled_from(["H2O", "H4O2", "CH4", "CO2", "C2H6O", "SiO2", "SiH4"]), min_size=1, max_size=8
        )
    )
    def test_the_fit_explains_all_that_compositions_can_whatever_the_rank(self, formulas):
        records = [record(formula) for formula in formulas]
        found = reference_energies(records)
        matrix = np.array([[(r.atoms.numbers == z).sum() for z in found.energies] for r in records])
        assert found.rank == np.linalg.matrix_rank(matrix)
        assert ("all are determined" in found.note) == (found.rank == len(found.energies))
        for r in records:
            assert abs(found.of(r.atoms.numbers) - r.labels.energy) < 1e-7

    def test_one_molecule_leaves_equal_energies_per_atom_and_says_so(self):
        found = reference_energies([record("C2H6O", excess) for excess in (-0.3, 0.1, 0.2)])
        per_atom = (2 * TRUE[6] + 6 * TRUE[1] + TRUE[8]) / 9
        assert found.rank == 1 and found.energies == pytest.approx(dict.fromkeys((1, 6, 8), per_atom), abs=1e-9)
        assert "determine 1 of 3 reference energies (H, C, O)" in found.note and "mean nothing for others" in found.note

    def test_the_mean_energy_is_taken_out_so_that_the_student_starts_in_the_middle(self):
        records = [record("C2H6O", excess) for excess in (-0.3, 0.1, 0.5)]
        found = reference_energies(records)
        assert np.mean([r.labels.energy - found.of(r.atoms.numbers) for r in records]) == pytest.approx(0.0, abs=1e-9)

    def test_a_large_structure_does_not_outweigh_small_ones(self):
        """Per-atom errors count alike: +1 meV/atom in a small and −1 in a large structure average out."""
        found = reference_energies([record("Si", 0.001), record("Si100", -0.1)])
        assert found.energies[14] == pytest.approx(TRUE[14], abs=1e-9)

    def test_isolated_atoms_are_taken_as_given_and_must_be_complete(self):
        found = reference_energies([record("H2O")], isolated={1: -13.0, 8: -2040.0, 6: -1.0})
        assert found.energies == {1: -13.0, 8: -2040.0} and "isolated atoms" in found.note
        with pytest.raises(InputError, match="lack O, Si"):
            reference_energies([record("H2O"), record("SiO2")], isolated={1: -13.0})

    @pytest.mark.parametrize("records", [[], [Record(Atoms("H"), "t", "md")]], ids=["none", "unlabelled"])
    def test_without_labels_there_is_nothing_to_fit(self, records):
        with pytest.raises(InputError, match="need labels on every structure"):
            reference_energies(records)


def test_statistics_are_those_of_the_labels():
    forces = np.array([[3.0, 0.0, 0.0], [0.0, -4.0, 0.0], [0.0, 0.0, 1.0]])
    records = [record("OH2", 0.3, forces=forces), record("OH2", -0.3, forces=-forces)]
    found = data_statistics(records, reference_energies(records))
    assert (found.structures, found.atoms) == (2, 6)
    assert found.forces.rms == pytest.approx(np.sqrt((9 + 16 + 1) / 9), rel=1e-12)
    assert found.forces.mean_abs == pytest.approx(8 / 9, rel=1e-12)  # the error of saying zero
    assert found.forces.largest == 4.0
    assert found.forces_by_element["O"].rms == pytest.approx(np.sqrt(3), rel=1e-12)
    assert found.forces_by_element["H"].atoms == 4 and found.forces_by_element["H"].mean_abs == pytest.approx(5 / 6)
    assert found.energy_spread == pytest.approx(0.1) and found.energy_mean_abs == pytest.approx(0.1)
    assert found.as_dict()["forces_by_element"]["H"]["largest"] == 4.0


class TestElements:
    def test_are_counted_by_source_with_the_share_of_hydrogen(self):
        found = element_histogram([record("CH4", source="a"), record("H2O", source="a"), record("Si2", source="b")])
        assert found.counts == {"a": {"H": 6, "C": 1, "O": 1}, "b": {"Si": 2}}
        assert found.hydrogen_share("a") == 0.75 and found.hydrogen_share("b") == 0.0 and found.warnings == ()

    def test_carbon_without_any_hydrogen_is_warned_about_by_source(self):
        found = element_histogram([record("C6", source="lost.mol"), record("CO2", source="lost.mol"), record("CH4")])
        (warning,) = found.warnings
        assert "WARNING" in warning and "'lost.mol'" in warning and "not one hydrogen" in warning
