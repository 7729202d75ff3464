"""Roles, references and elements of the data, before any training is paid for."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from mlff.data.material import prepare
from mlff.data.records import Labels, Record
from mlff.data.settings import DataSettings
from training.errors import InputError


def labelled(name: str, number: int, trajectory: str = "file") -> Record:
    random = np.random.default_rng(number)
    atoms: Atoms = molecule(name)
    atoms.positions += random.normal(scale=0.05, size=atoms.positions.shape)
    labels = Labels(energy=float(-len(atoms) + random.normal()), forces=random.normal(size=(len(atoms), 3)))
    return Record(atoms, trajectory, f"{trajectory}.xyz", labels)


@pytest.fixture
def waters() -> list[Record]:
    return [labelled("H2O", number) for number in range(20)]


def test_a_test_set_with_an_element_that_was_not_trained_is_refused(waters):
    test = [labelled("H2O", 30, "test"), labelled("CH3OH", 31, "test")]
    with pytest.raises(InputError, match=r"held-out structures hold C \(CH4O of test\.xyz\), which none of the 18"):
        prepare(waters, DataSettings(split="auto", train="file.xyz", test="test.xyz"), seed=0, test=test)


def test_an_element_that_only_validation_has_is_refused(waters):
    records = [*waters, labelled("SiH4", 40, "other")]
    settings = DataSettings(train="file.xyz", split="trajectory", validation=1)
    # seed 3 takes the trajectory of a single silane
    with pytest.raises(InputError, match=r"validation structures hold Si \(H4Si of other\.xyz\)"):
        prepare(records, settings, seed=3)


def test_a_test_set_of_fewer_elements_or_another_composition_is_welcome(waters):
    test = [labelled("H2", 50, "test"), labelled("H2O2", 51, "test")]
    material = prepare(waters, DataSettings(split="auto", train="file.xyz", test="test.xyz"), seed=0, test=test)
    assert [record.atoms.get_chemical_formula() for record in material.held_out] == ["H2", "H2O2"]
    assert sorted(material.references.energies) == [1, 8]


def test_without_a_test_set_validation_judges_and_a_note_says_so(waters):
    material = prepare(waters, DataSettings(split="auto", train="file.xyz"), seed=0)
    assert material.held_out is material.validation
    assert any("Nothing was held out" in note for note in material.notes)
