"""The config files of the group are complete, valid, and wrong values are refused before work starts."""

from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from omegaconf import OmegaConf
from pydantic import ValidationError

import mlff
from mlff.data.settings import DataSettings

CONFIGS = Path(mlff.__file__).parents[1] / "configs" / "data"


@pytest.mark.parametrize("name", ["distilled", "labelled"])
def test_a_config_file_has_exactly_the_fields_of_the_settings(name):
    content = OmegaConf.load(CONFIGS / f"{name}.yaml")
    assert list(content) == list(DataSettings.model_fields)
    if name == "labelled":
        assert OmegaConf.is_missing(content, "train")
        content.train = "mine.xyz"
    DataSettings(**OmegaConf.to_container(content, resolve=True))


def test_the_default_file_is_the_default():
    assert DataSettings(**OmegaConf.to_container(OmegaConf.load(CONFIGS / "distilled.yaml"))) == DataSettings()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"test": "a.xyz"}, "needs data.train"),
        ({"energy_key": "E"}, "which is not given"),
        ({"reference_energies": "isolated"}, "go together"),
        ({"isolated_atoms": "a.xyz"}, "go together"),
        ({"reference_energies": {"Hx": -13.6}}, "Hx: no chemical symbols"),
        ({"validation": 0}, "validation"),
        ({"validation": 1.5}, "validation"),
        ({"split": "random"}, "split"),
        ({"max_edge": 5}, "max_edge"),
    ],
)
def test_a_wrong_value_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        DataSettings(**values)


def test_validation_is_a_number_or_a_share():
    assert DataSettings(validation=50).validation == 50 and isinstance(DataSettings(validation=50).validation, int)
    assert DataSettings(validation=0.2).validation == 0.2 and DataSettings(validation=1).validation == 1


def test_energies_of_isolated_atoms_come_from_the_config_or_a_file(tmp_path):
    assert DataSettings().isolated_energies() is None
    assert DataSettings(reference_energies={"H": -13.6}).isolated_energies() == {1: -13.6}
    write(tmp_path / "atoms.xyz", [Atoms("H", info={"energy": -13.5})], format="extxyz")
    named = DataSettings(reference_energies="isolated", isolated_atoms=str(tmp_path / "atoms.xyz"))
    assert named.isolated_energies() == {1: -13.5}
