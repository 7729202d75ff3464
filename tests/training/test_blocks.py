"""Steps taken by the module itself: where a block ends changes nothing, and a killed run continues bit for bit."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from toy_blocks import blocks_config

from training import blocks
from training.checkpoints import LAST, find_checkpoint
from training.module import Diverged
from training.run import execute, main

HALVES = ("toy_blocks.",)


def train(root: Path, *overrides: str) -> object:
    return execute(blocks_config(root, "run.name=run", *overrides), HALVES)


def folder(root: Path) -> Path:
    return root / "toy" / "run"


def rows(root: Path, key: str) -> dict[int, float]:
    lines = map(json.loads, (folder(root) / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[key] for line in lines if key in line}


def state(root: Path) -> dict:
    content = torch.load(folder(root) / LAST, weights_only=True)
    content["limbeck"].pop("seconds")
    content.pop("loops")  # how many blocks there were
    return content


def metrics(root: Path) -> list[dict]:
    lines = map(json.loads, (folder(root) / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def assert_same(one: object, other: object, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    else:
        assert one == other or one != one, where


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run nobody touched, in blocks that end only where validations are due."""
    root = tmp_path_factory.mktemp("whole")
    train(root, "checkpoint_seconds=1000")
    return root


def test_every_step_is_counted_logged_and_validated_where_it_is_due(whole):
    # every 7 of 30 steps and after the last; the second stage of 6 after its last
    assert list(rows(whole, "validation/mse")) == [7, 14, 21, 28, 30, 36]
    assert list(rows(whole, "train/loss")) == [4, 8, 12, 16, 20, 24, 28, 30, 34, 36]
    assert rows(whole, "size/first").keys() == rows(whole, "train/loss").keys()
    rates = rows(whole, "learning_rate")
    assert rates[4] > rates[16] > rates[28] > 0
    # L-BFGS after Adam: the loss falls by more than the noise of 0.01 in x could hide
    losses = rows(whole, "train/loss")
    assert losses[36] < 0.3 * losses[4]


@pytest.mark.parametrize("seconds", [0.0, 0.002])
def test_where_blocks_end_changes_nothing(tmp_path, whole, monkeypatch, seconds):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", seconds)
    train(tmp_path, "checkpoint_seconds=1000")
    assert_same(state(tmp_path), state(whole))
    assert metrics(tmp_path) == metrics(whole)


def steps(root: Path) -> int:
    file = folder(root) / "steps.txt"
    return len(file.read_text().splitlines()) if file.exists() else 0


def start(root: Path) -> int:
    """The command in a forked process; its process number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = sys.stderr = (root / "log.txt").open("a", buffering=1)
        os._exit(main(blocks_config(root, "run.name=run"), HALVES))
    finally:
        os._exit(99)


def test_killed_in_every_stage_it_equals_the_uninterrupted_run(tmp_path, whole):
    for count in (1, 9, 20, 33, 38):
        child = start(tmp_path)
        while steps(tmp_path) < count:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), (tmp_path / "log.txt").read_text()
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert os.waitstatus_to_exitcode(os.waitpid(start(tmp_path), 0)[1]) == 0, (tmp_path / "log.txt").read_text()
    assert steps(tmp_path) > 36
    assert_same(state(tmp_path), state(whole))
    assert metrics(tmp_path) == metrics(whole)


def test_a_stage_ends_early_when_the_module_has_a_reason(tmp_path, capsys):
    module = train(tmp_path, "stop_below=0.6", "checkpoint_seconds=1000")
    words = capsys.readouterr().out
    assert words.count("is low enough") == 2 and "Stage first ends after" in words
    content = state(tmp_path)["limbeck"]
    # the second stage stops at its first step, for the loss is low already
    assert content["steps"] == content["total_steps"] == 1 and content["steps_before"] < 30
    last = content["steps_before"]
    assert list(rows(tmp_path, "validation/mse"))[-2:] == [last, last + 1]
    assert module.last < 0.6
    assert execute(blocks_config(tmp_path, "run.name=run", "stop_below=0.6"), HALVES).total_steps == 1


def test_a_loss_that_is_not_finite_stops_at_its_step(tmp_path):
    with pytest.raises(Diverged, match="square is not finite at step 9 of stage first"):
        train(tmp_path, "bad_step=8", "checkpoint_seconds=0")
    _, content = find_checkpoint(folder(tmp_path), print)
    assert content["limbeck"]["steps"] == 8
    assert all(value.isfinite().all() for value in content["state_dict"].values())
