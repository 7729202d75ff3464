"""Every run is composed as the command composes it, and everything wrong is said before anything is run."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from sweep_configs import toy_configs

from training.composition import compose, configs_folder
from training.errors import ConfigurationError
from training.run_folder import default_name
from training.sweeps.plan import Planner
from training.sweeps.sweep import prepare

HALVES = ("sweep_toy.",)


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> Path:
    return toy_configs(tmp_path_factory.mktemp("toy"))


def test_values_put_into_a_composed_configuration_are_what_composing_gives(configs):
    planner = Planner(configs, ["kind=gate", "tracker=wandb"], HALVES)
    for words in (["shape=wide", "rate=1e-3", "seed=3"], ["++checkpoint_seconds=5", "width=2"], ["run.name='a b'"]):
        quick = planner._compose(("kind=gate", "tracker=wandb", *words))
        assert quick == compose(["kind=gate", "tracker=wandb", *words], configs)


def test_a_run_is_called_as_its_folder_will_be(configs):
    sweep = prepare(["seed=0,1", "shape=narrow,wide"], configs, HALVES)
    assert [run.values for run in sweep.runs][1] == {"seed": "0", "shape": "wide"}
    for run in sweep.runs:
        assert run.id == default_name(run.config) == run.folder.name and run.folder.parent.name == "aspirin_gfn2"
    assert len({run.id for run in sweep.runs}) == 4 and {run.config["width"] for run in sweep.runs} == {1, 9}


def test_combinations_that_come_to_the_same_are_one_run(configs):
    assert len(prepare(["rate=0.5,0.50,1", "seed=4"], configs, HALVES).runs) == 2


def test_a_worker_s_threads_are_those_of_its_run(configs):
    (run,) = prepare(["sweep.threads_per_worker=1"], configs, HALVES).runs
    assert run.config["hardware"]["threads"] == 1
    with pytest.raises(ConfigurationError, match=r"hardware\.threads=3: a worker has 1"):
        prepare(["sweep.threads_per_worker=1", "hardware.threads=3"], configs, HALVES)


def test_all_complaints_come_at_once_and_say_whose_they_are(configs):
    with pytest.raises(ConfigurationError) as caught:
        prepare(["seed=0,-1", "width=1,many,2.5", "hardware.device=cpu,tpu"], configs, HALVES)
    message = str(caught.value)
    for words in ("seed: ", "width: ", "hardware.device: ", "seed=-1 width=1 hardware.device=cpu", "and 3 more"):
        assert words in message, message
    assert not list(configs.parent.glob("runs"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["widht=1,2"], "did you mean width?"),
        (["shape=narrow,wdie"], "did you mean shape=wide?"),
        (["run.name=one", "seed=0,1"], "run.name=one would be the folder of several runs"),
        (["run.resume=false", "seed=0,1"], "sweep.name=NAME begins another"),
        (["half.settings=os.system"], "must begin with sweep_toy."),
        (["hydra/launcher=submitit_slurm", "seed=0,1"], "pip install hydra-submitit-launcher"),
    ],
)
def test_words_that_no_run_can_have_are_explained(configs, monkeypatch, words, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as caught:
        prepare(words, configs, HALVES)
    assert message in str(caught.value)


def test_optuna_s_absence_is_said_with_its_remedy(configs, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigurationError, match="pip install 'optuna"):
        prepare(["sweep=optuna", "sweep.metric=error", "width=1,2"], configs, HALVES)


def test_a_configuration_of_the_project_composes_the_quick_way_too():
    words = ["experiment=heat", "network.width=9", "stages.adam.optimizer.lr=0.002", "run.root=somewhere"]
    planner = Planner(configs_folder(), [], HALVES)
    quick, full = planner._compose(tuple(words)), compose(words)
    assert OmegaConf.to_yaml(quick) == OmegaConf.to_yaml(full)
