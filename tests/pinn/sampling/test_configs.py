"""Every sampler has a file in configs/sampler that names all its arguments, with the values it has by itself."""

import inspect
from pathlib import Path

import pytest
import yaml
from sampled_domains import SAMPLERS

import pinn.sampling
from pinn.sampling.sampler import Sampler
from training.configuration import instantiate

CONFIGS = Path(__file__).parents[3] / "configs" / "sampler"


def test_there_is_a_file_for_every_sampler():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(SAMPLERS)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_file_builds_its_sampler_and_shows_every_argument(name):
    spec = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    sampler = instantiate(spec, ("pinn.sampling.",))
    assert isinstance(sampler, Sampler) and type(sampler) is type(SAMPLERS[name]())
    arguments = inspect.signature(getattr(pinn.sampling, type(sampler).__name__)).parameters
    assert set(spec) == {"_target_", *arguments}
    for argument, parameter in arguments.items():
        if parameter.default is not inspect.Parameter.empty:
            assert spec[argument] == parameter.default, argument
