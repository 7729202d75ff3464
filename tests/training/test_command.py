"""The command as a shell sees it: exit codes, words on the error stream, nothing left in the working folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from toy_half import toy_config

from training.command import worst
from training.composition import configs_folder
from training.run import main

PROJECT = configs_folder().parent
TOYS = Path(__file__).parent
HALF = '''"""A half of this test's own, which the command may load because of its name."""
from toy_half import ToySettings, run
'''


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the command with the toy for its half."""
    shutil.copy(PROJECT / "train.py", tmp_path)
    configs = tmp_path / "configs"
    for group in ("hardware", "hydra", "sweep"):
        shutil.copytree(PROJECT / "configs" / group, configs / group)
    shutil.copy(PROJECT / "configs" / "train.yaml", configs)
    toy = OmegaConf.create({"stages": toy_config(tmp_path).stages, "fail_gate": False})
    files = {
        "configs/half/mlff.yaml": "# @package _global_\ndefaults:\n  - /student: a\n"
        "half: {pipeline: pinn.toy.run, settings: pinn.toy.ToySettings}\n",
        "configs/student/a.yaml": "# @package _global_\nfail_gate: false\n",
        "configs/student/b.yaml": "# @package _global_\nfail_gate: true\n",
        "configs/tracker/wandb.yaml": "kind: none\n",
        "configs/experiment/aspirin_gfn2.yaml": "# @package _global_\n" + OmegaConf.to_yaml(toy),
        "pinn/__init__.py": "",
        "pinn/toy.py": HALF,
    }
    # the group of students is global here, and must win over the experiment
    files["configs/experiment/aspirin_gfn2.yaml"] = files["configs/experiment/aspirin_gfn2.yaml"].replace(
        "fail_gate: false\n", ""
    )
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def command(folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TOYS), str(PROJECT)])}
    environment.pop("HYDRA_FULL_ERROR", None)
    return subprocess.run(
        [sys.executable, "train.py", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_multirun_makes_every_run_in_its_own_folder_and_exits_with_the_worst_code(folder):
    before = set(folder.rglob("*"))
    shorter = ["hardware.threads=1", "stages.first.steps=4", "stages.second.steps=2"]
    done = command(folder, "-m", "seed=0,1", "student=a,b", *shorter)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("The toy gate is not met.") == 2 and "Traceback" not in done.stderr
    runs = list((folder / "checkpoints/aspirin_gfn2").iterdir())
    assert len(runs) == 4 and sum(run.name.startswith("seed1-") for run in runs) == 2
    for run in runs:
        assert "training" in json.loads((run / "phases.json").read_text())
    # nothing beside the run folders, but what Python caches
    left = {path.relative_to(folder).parts[0] for path in set(folder.rglob("*")) - before}
    assert left - {"__pycache__", "pinn"} == {"checkpoints"}


def test_wrong_words_exit_with_2_and_name_the_right_ones_before_anything_is_loaded(folder):
    done = command(folder, "studnt=a", "sed=1")
    assert done.returncode == 2 and not (folder / "checkpoints").exists()
    assert "did you mean student?" in done.stderr and "did you mean seed?" in done.stderr
    assert "Traceback" not in done.stderr and "HYDRA_FULL_ERROR" not in done.stderr and "+s" not in done.stderr


def test_help_is_a_short_manual(folder):
    done = command(folder, "--help")
    assert done.returncode == 0
    for words in ("Examples", "hardware: auto, cpu, gpu", "student: a, b", "Exit codes", "checkpoints/<experiment>"):
        assert words in done.stdout
    assert len(done.stdout.splitlines()) < 60 and "$" not in done.stdout


def test_the_command_loads_no_pytorch_before_it_runs():
    code = "import sys, train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


TOY_ONLY = ("toy_half.",)


def test_errors_of_the_user_are_one_message_and_a_code(tmp_path, capsys):
    assert main(toy_config(tmp_path, "stages.first.stps=3", "hardware.device=tpu"), TOY_ONLY) == 2
    message = capsys.readouterr().err
    assert "stages.first.stps: unknown key; did you mean stages.first.steps?" in message
    assert "hardware.device" in message and "Traceback" not in message and not list(tmp_path.iterdir())


def test_code_outside_the_halves_is_not_loaded(tmp_path, capsys):
    assert main(toy_config(tmp_path, "half.pipeline=os.system"), TOY_ONLY) == 2
    assert "os.system" in capsys.readouterr().err
    assert main(toy_config(tmp_path), ["mlff."]) == 2
    assert main(toy_config(tmp_path, "half.pipeline=toy_half.nothing"), TOY_ONLY) == 2
    assert "there is no toy_half.nothing" in capsys.readouterr().err


def test_an_unexpected_error_keeps_its_trace(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("toy_half.ToyData.batch_done", lambda self: 1 / 0)
    assert main(toy_config(tmp_path), TOY_ONLY) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_worst_exit_code_is_the_one_that_asks_for_most_attention():
    assert (
        worst([]) == 0 and worst([0, 3, 0]) == 3 and worst([3, 2]) == 2 and worst([2, 1]) == 1 and worst([1, 75]) == 75
    )
