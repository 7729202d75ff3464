"""Every balance has a file in configs/balance that names all its arguments, with the values it has by itself."""

import inspect
from pathlib import Path

import pytest
import yaml

from pinn.weighting import NTK, RBA, Fixed, GradNorm, SelfAdaptive
from training.configuration import instantiate

CONFIGS = Path(__file__).parents[3] / "configs" / "balance"
BALANCES = {"fixed": Fixed, "grad_norm": GradNorm, "ntk": NTK, "rba": RBA, "self_adaptive": SelfAdaptive}


def test_there_is_a_file_for_every_balance():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(BALANCES)


@pytest.mark.parametrize("name", BALANCES)
def test_the_file_builds_its_balance_and_shows_every_argument(name):
    spec = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert type(instantiate(spec, ("pinn.weighting.",))) is BALANCES[name]
    arguments = inspect.signature(BALANCES[name]).parameters
    assert set(spec) == {"_target_", *arguments}
    for argument, parameter in arguments.items():
        assert (spec[argument] or None) == parameter.default, argument
