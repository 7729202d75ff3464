"""``python train.py experiment=burgers`` as a user runs it: whole, killed and continued, and to its bar."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import pinn

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

TINY = [
    "experiment=burgers",
    "stages=adam_ssbroyden",
    "tracker=none",
    "hardware=cpu",
    "hardware.threads=1",
    "network.width=8",
    "network.depth=2",
    "stages.adam.steps=60",
    "stages.adam.validate_every=25",
    "stages.adam.sampler.n=200",
    "stages.adam.sampler.every=20",
    "stages.adam.sampler.candidates=500",
    "stages.ssbroyden.steps=60",
    "stages.ssbroyden.validate_every=30",
    "stages.ssbroyden.sampler.n=200",
    "stages.ssbroyden.sampler.every=20",
    "stages.ssbroyden.sampler.candidates=500",
    "checkpoint_seconds=0.1",
    "validation.residual_points=200",
]
"""Every part of the run in seconds; its solution is good for nothing."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, limbeck) -> Path:
    """The folder of an uninterrupted run."""
    root = tmp_path_factory.mktemp("whole")
    finished = limbeck.train([*TINY, f"run.root={root}", "run.name=run"])
    # so small a network does not reach the bar
    assert finished.returncode == 3, finished.stdout[-2000:] + finished.stderr[-2000:]
    assert "FAILED 1 of 1 gates: relative L2 error" in finished.stderr
    assert "Training, stage ssbroyden" in finished.stdout
    return root / "burgers" / "run"


def test_a_run_states_its_error_beside_that_of_the_reference(limbeck, whole):
    summary = limbeck.summary(whole)
    assert 1e-3 < summary["relative_l2"] < 1 and summary["reference_floor"] < 1e-12
    assert summary["residual_rms"] < summary["residual_rms_before"]
    assert {"network.safetensors", "report.html", "metrics.jsonl"} <= {path.name for path in whole.iterdir()}
    solution = pinn.load(whole)
    x = np.linspace(-1, 1, 11)
    np.testing.assert_allclose(solution(x=x, t=0.0).u, -np.sin(np.pi * x), atol=1e-14)


def test_a_run_killed_in_every_stage_equals_an_uninterrupted_one(limbeck, whole, tmp_path):
    folder = tmp_path / "burgers" / "run"
    command = [*TINY, f"run.root={tmp_path}", "run.name=run"]
    # the first and the second stage write their points, and the third landmark ends the training
    for landmark, number in (
        ("points/00-*", signal.SIGKILL),
        ("points/01-*", signal.SIGTERM),
        ("network.safetensors", signal.SIGKILL),
    ):
        process = limbeck.start(command)
        deadline = time.monotonic() + 200
        while not (list(folder.glob(landmark)) and (folder / "last.ckpt").exists()):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, f"no {landmark}"
            time.sleep(0.01)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=100)
        assert process.returncode == (75 if number == signal.SIGTERM else -number), output
    finished = limbeck.train(command)
    assert finished.returncode == 3, finished.stdout[-2000:] + finished.stderr[-2000:]
    one, other = load_file(folder / "network.safetensors"), load_file(whole / "network.safetensors")
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    mine, its = limbeck.summary(folder), limbeck.summary(whole)
    assert mine["relative_l2"] == its["relative_l2"] and mine["residual_rms"] == its["residual_rms"]


@pytest.mark.parametrize(
    ("words", "complaints"),
    [
        (
            ["stages.ssbroyden.precision=16", "stages.adam.sampler.n=0"],
            ["SSBroyden compares losses", "n=0 is impossible"],
        ),
        (["stages.ssbroyden.sampler.every=5"], ["frozen=20 steps, but the sampler moves them every 5"]),
        (["problem=burger"], ["did you mean problem=burgers"]),
        (["problem.viscosity=-1"], ["ν = -1"]),
        (["+stages.adam.loss_weights.momentm=1"], ["there is no term momentm; did you mean momentum?"]),
    ],
)
def test_an_impossible_run_is_refused_with_a_remedy(limbeck, tmp_path, words, complaints):
    finished = limbeck.train([*TINY, *words, f"run.root={tmp_path}"])
    assert finished.returncode == 2, finished.stdout + finished.stderr
    for complaint in complaints:
        assert complaint in finished.stderr
    assert "Traceback" not in finished.stderr and "Training" not in finished.stdout


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_bar_is_reached_within_five_minutes(limbeck, tmp_path):
    finished = limbeck.train(["experiment=burgers", "tracker=none", f"run.root={tmp_path}", "run.name=run"])
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-2000:]
    summary = limbeck.summary(tmp_path / "burgers" / "run")
    assert summary["relative_l2"] < 1e-5 and summary["minutes"] < 5
