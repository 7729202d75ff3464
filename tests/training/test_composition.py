"""Words on the command line become one configuration, or one message that names every wrong word and the right one."""

import shutil
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from pydantic import Field

from training.composition import compose, configs_folder
from training.configuration import instantiate, validate
from training.context import RunSettings
from training.errors import ConfigurationError
from training.settings import Settings


class Student(Settings):
    channels: int = 64
    cutoff: float


class ToySettings(RunSettings):
    teacher: dict[str, str]
    student: Student
    layers: dict[str, Student] = Field(default_factory=dict)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The project's own main file and shared groups, with toy halves."""
    project = configs_folder()
    shutil.copy(project / "train.yaml", tmp_path)
    for group in ("hardware", "hydra"):
        shutil.copytree(project / group, tmp_path / group)
    files = {
        "half/mlff": "# @package _global_\ndefaults:\n  - /teacher: gfn2\n  - /student: painn\n"
        "half: {pipeline: mlff.toy.run, settings: mlff.toy.Settings}\n",
        "half/pinn": "# @package _global_\ndefaults:\n  - /problem: heat\n"
        "half: {pipeline: pinn.toy.run, settings: pinn.toy.Settings}\n",
        "teacher/gfn2": "name: gfn2\n",
        "teacher/emt": "name: emt\n",
        "student/painn": "channels: 64\ncutoff: 5.0\n",
        "student/painn_small": "channels: 16\ncutoff: 5.0\n",
        "problem/heat": "viscosity: 1.0\n",
        "problem/burgers": "viscosity: 0.01\n",
        "tracker/wandb": "kind: wandb\n",
        "tracker/none": "kind: none\n",
        "experiment/aspirin_gfn2": "# @package _global_\n",
        "experiment/quick": "# @package _global_\ndefaults:\n  - override /teacher: emt\nstudent:\n  channels: 8\n",
        "experiment/burgers": "# @package _global_\ndefaults:\n  - override /half: pinn\n"
        "  - override /problem: burgers\n",
        "experiment/typo": "# @package _global_\nstudent:\n  chanels: 8\nseeed: 3\n",
        "student/open": "cutoff: ???\n",
    }
    for name, text in files.items():
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_without_words_the_default_experiment_runs_and_names_the_folder(folder):
    config = compose([], folder)
    assert config.run.experiment == "aspirin_gfn2"
    assert config.half.pipeline == "mlff.toy.run" and config.teacher.name == "gfn2" and "hydra" not in config


def test_an_experiment_overrides_values_and_groups_and_the_command_line_overrides_it(folder):
    config = compose(["experiment=quick"], folder)
    assert (config.run.experiment, config.teacher.name, config.student.channels) == ("quick", "emt", 8)
    config = compose(["experiment=quick", "teacher=gfn2", "student.channels=9", "run.experiment=mine"], folder)
    assert (config.run.experiment, config.teacher.name, config.student.channels) == ("mine", "gfn2", 9)


def test_composing_leaves_a_program_alone_that_uses_hydra_itself(folder):
    with initialize_config_dir(str(folder / "student"), version_base=None):
        assert compose([], folder).student.channels == 64
        with pytest.raises(ConfigurationError):
            compose(["no=1"], folder)
        assert hydra_compose("painn_small").channels == 16


def test_an_experiment_switches_the_half_with_all_its_groups(folder):
    config = compose(["experiment=burgers"], folder)
    assert config.half.pipeline == "pinn.toy.run" and config.problem.viscosity == 0.01
    assert "teacher" not in config and "student" not in config


def test_every_unknown_word_is_named_with_the_nearest_known_one(folder):
    with pytest.raises(ConfigurationError) as error:
        compose(["student.chanels=3", "sed=1", "student=pain", "hardwear=cpu", "teacher=emt"], folder)
    message = str(error.value)
    assert "student.chanels=3" in message and "did you mean student.channels?" in message
    assert "did you mean seed?" in message
    assert "did you mean student=painn?" in message and "painn_small" in message
    assert "did you mean hardware?" in message
    assert "teacher=emt" not in message


def test_a_group_set_to_null_is_named(folder):
    with pytest.raises(ConfigurationError, match="teacher=null: a group cannot be null; name one of its files"):
        compose(["seed=3", "teacher=null"], folder)


def test_unknown_keys_inside_an_experiment_file_or_added_with_a_plus_are_found_after_composing(folder):
    with pytest.raises(ConfigurationError) as error:
        validate(compose(["experiment=typo", "+student.cutof=4", "hardware.threads=-1"], folder), ToySettings)
    message = str(error.value)
    assert "student.chanels: unknown key; did you mean student.channels?" in message
    assert "student.cutof: unknown key; did you mean student.cutoff?" in message
    assert "seeed: unknown key; did you mean seed?" in message
    assert "hardware.threads" in message and "-1" in message


def test_a_misplaced_key_names_its_place(folder):
    with pytest.raises(ConfigurationError, match=r"channels: unknown key; did you mean student\.channels\?"):
        validate(compose(["+channels=3"], folder), ToySettings)


def test_keys_of_named_members_carry_their_whole_path(folder):
    with pytest.raises(ConfigurationError, match=r"layers\.first\.cutofff: .* did you mean layers\.first\.cutoff\?"):
        validate(compose(["+layers.first={cutoff: 3, cutofff: 4}"], folder), ToySettings)


def test_a_mandatory_value_that_is_missing_is_named_with_the_remedy(folder):
    with pytest.raises(ConfigurationError, match=r"student\.cutoff: has no default; add student\.cutoff="):
        validate(compose(["student=open"], folder), ToySettings)


def test_a_valid_configuration_gives_typed_settings(folder):
    settings = validate(compose(["hardware=cpu", "tracker=none"], folder), ToySettings)
    assert settings.hardware.device == "cpu" and settings.student.channels == 64 and settings.run.resume


def test_instantiate_builds_allowed_targets_only(tmp_path):
    path = instantiate({"_target_": "pathlib.PurePosixPath"}, ["pathlib."])
    assert str(path) == "."
    with pytest.raises(ConfigurationError, match=r"os\.system is not allowed"):
        instantiate({"_target_": "os.system", "command": f"touch {tmp_path}/x"}, ["pathlib."])
    with pytest.raises(ConfigurationError, match=r"os\.system \(in inner\) is not allowed"):
        instantiate({"_target_": "pathlib.PurePath", "inner": {"_target_": "os.system"}}, ["pathlib."])
    with pytest.raises(ConfigurationError, match="_target_ is missing"):
        instantiate({"lr": 1}, ["torch."])
    with pytest.raises(ConfigurationError, match="nonsense=1"):
        instantiate({"_target_": "fractions.Fraction", "nonsense": 1}, ["fractions."])
