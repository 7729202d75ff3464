"""Every file of the config group says exactly what its settings class knows, and the bars of the first issue."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import ValidationError

from mlff.validate.settings import MolecularDynamicsSettings, ValidationSettings

CONFIGS = Path(__file__).parents[3] / "configs" / "validation"


def read(name):
    with initialize_config_dir(str(CONFIGS.resolve()), version_base=None):
        return ValidationSettings(**OmegaConf.to_container(compose(name), resolve=True))


@pytest.mark.parametrize("name", ["molecular_dynamics", "quick", "long_nve", "accuracy"])
def test_every_choice_is_valid(name):
    assert isinstance(read(name), ValidationSettings)


def test_the_default_file_spells_out_every_field_with_the_default_of_the_class():
    assert read("molecular_dynamics") == ValidationSettings()
    written = OmegaConf.to_container(OmegaConf.load(CONFIGS / "molecular_dynamics.yaml"))
    for part, value in ValidationSettings().model_dump().items():
        assert part in written
        if isinstance(value, dict):
            assert written[part].keys() == value.keys()


def test_the_bars_are_those_promised():
    gates = read("molecular_dynamics").gates
    assert (gates.force_mae_meV_per_A, gates.energy_mae_meV_per_atom) == (25.0, 1.0)
    assert gates.nve_drift_meV_per_atom_per_ps == 0.02
    assert read("long_nve").gates.nve_drift_meV_per_atom_per_ps == 0.006
    assert read("long_nve").molecular_dynamics.duration_ps == 100.0


def test_accuracy_alone_has_no_bar_that_needs_dynamics():
    settings = read("accuracy")
    assert settings.molecular_dynamics is None and settings.timing is None
    bars = {name for name, bar in settings.gates.model_dump().items() if bar is not None}
    assert bars == {"force_mae_meV_per_A", "energy_mae_meV_per_atom"}


def test_dynamics_too_short_for_a_drift_are_refused():
    with pytest.raises(ValidationError, match="fewer than 20 energies"):
        MolecularDynamicsSettings(duration_ps=0.04)
    assert MolecularDynamicsSettings().steps == 10_000
