"""A run killed at any moment and started again by the same command equals the run nobody touched, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from toy_half import toy_config

from training.checkpoints import LAST, PREVIOUS, find_checkpoint
from training.run import main

TOY = Path(__file__).with_name("toy_half.py")
ONLY_TOYS = ("toy_half.",)


def start(root: Path, *overrides: str, die_before_replace: int | None = None) -> int:
    """The command in a forked process (PyTorch is loaded already); its process number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = sys.stderr = (root / "log.txt").open("a", buffering=1)
        if die_before_replace is not None:
            kill_before_replace(die_before_replace)
        code = main(toy_config(root, *overrides), ONLY_TOYS)
        sys.stdout.flush()
        os._exit(code)
    finally:
        os._exit(99)


def kill_before_replace(count: int) -> None:
    """SIGKILL this process just before it renames its ``count``-th checkpoint file."""
    remaining = [count]
    replace = Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        if ".ckpt" in self.name:
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = replace_or_die


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(root: Path, *overrides: str) -> Path:
    code = wait(start(root, *overrides))
    assert code == 0, (root / "log.txt").read_text()
    return run_folder(root)


def run_folder(root: Path) -> Path:
    (folder,) = (root / "toy").iterdir()
    return folder


def batches(root: Path) -> list[list[str]]:
    """Every micro-batch trained, as written before its step: stage, step, indices."""
    file = next(root.glob("toy/*/order.txt"), None)
    return [line.split() for line in file.read_text().splitlines()] if file else []


def final_order(root: Path) -> dict[tuple[str, str], list[list[str]]]:
    """For each step the micro-batches of the last process that did it."""
    order: dict[tuple[str, str], list[list[str]]] = {}
    for stage, step, *indices in batches(root):
        order.setdefault((stage, step), []).append(indices)
    size = {"first": 1, "second": 3}
    return {key: groups[-size[key[0]] :] for key, groups in order.items()}


def metrics(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def kill_after(root: Path, count: int) -> None:
    """Start the command and SIGKILL it when ``count`` micro-batches are trained, counting those of killed processes."""
    child = start(root)
    while len(batches(root)) < count:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), (root / "log.txt").read_text()
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    assert wait(child) == -signal.SIGKILL


def assert_same(one: object, other: object, where: str = "") -> None:
    """Equality of nested checkpoints to the last bit."""
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
        assert one == other, where


def assert_same_run(root: Path, reference: Path) -> None:
    """Weights, averages, optimizer, scaler, schedule, stage, random streams, order of the data, and what was logged."""
    states = []
    for folder in (run_folder(root), run_folder(reference)):
        content = torch.load(folder / LAST, weights_only=True)
        content["limbeck"].pop("seconds")
        # Lightning counts its own restarts here; the progress that decides anything is in "limbeck"
        content.pop("loops")
        states.append(content)
    assert_same(*states)
    assert final_order(root) == final_order(reference)
    assert metrics(run_folder(root)) == metrics(run_folder(reference))


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The run nobody touched."""
    root = tmp_path_factory.mktemp("reference")
    finish(root)
    return root


def test_killed_in_every_stage_and_within_an_accumulation_it_equals_the_uninterrupted_run(tmp_path, reference):
    # 12 batches in the first stage, 18 in the second; some are trained again, so the counts run ahead of the steps
    for count in (1, 5, 6, 11, 16, 20, 27):
        kill_after(tmp_path, count)
    finish(tmp_path)
    assert_same_run(tmp_path, reference)


# three renames for each save: into place beside it, last to previous, new to last
@pytest.mark.parametrize("count", [1, 3, 4, 35, 37, 53])
def test_killed_while_saving_it_equals_the_uninterrupted_run(tmp_path, reference, count):
    assert wait(start(tmp_path, die_before_replace=count)) == -signal.SIGKILL
    finish(tmp_path)
    assert_same_run(tmp_path, reference)


@pytest.mark.parametrize("overrides", [["stages.first.precision=16"], ["stages.first.precision=bf16"]], ids=str)
def test_half_precision_continues_with_its_gradient_scaler(tmp_path, overrides):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    finish(tmp_path / "whole", *overrides)
    assert wait(start(tmp_path / "killed", *overrides, die_before_replace=18)) == -signal.SIGKILL
    finish(tmp_path / "killed", *overrides)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_complete_run_started_again_trains_nothing(tmp_path, reference):
    before = len(batches(reference))
    assert wait(start(reference)) == 0
    assert len(batches(reference)) == before


def test_sigterm_saves_after_the_batch_and_exits_with_75(tmp_path, reference):
    environment = {**os.environ, "TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else None
    command = [sys.executable, str(TOY), str(tmp_path), "checkpoint_seconds=1000", "sleep=0.1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(batches(tmp_path)) < 4:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "SIGTERM" in errors and "same command" in errors and "Traceback" not in errors
    _, content = find_checkpoint(run_folder(tmp_path), print)
    trained = len(batches(tmp_path))
    assert content["limbeck"]["steps"] == trained
    # sleeping is part of the configuration, so the folder is named for it; its result must not depend on it
    assert wait(start(tmp_path, "checkpoint_seconds=1000", "sleep=0.1")) == 0
    assert len(batches(tmp_path)) == 12 + 18
    assert final_order(tmp_path) == final_order(reference)


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one_loudly(tmp_path, reference):
    assert wait(start(tmp_path, die_before_replace=22)) == -signal.SIGKILL
    last = run_folder(tmp_path) / LAST
    with zipfile.ZipFile(last) as archive:
        record = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(last.read_bytes())
    # one bit of the largest record, well behind its header of at most a few hundred bytes
    content[record.header_offset + record.file_size // 2 + 300] ^= 1
    last.write_bytes(content)
    finish(tmp_path)
    assert "WARNING" in (tmp_path / "log.txt").read_text() and "damaged" in (tmp_path / "log.txt").read_text()
    assert_same_run(tmp_path, reference)


def test_two_damaged_checkpoints_are_an_error_and_not_a_fresh_start(tmp_path):
    assert wait(start(tmp_path, die_before_replace=22)) == -signal.SIGKILL
    for name in (LAST, PREVIOUS):
        (run_folder(tmp_path) / name).write_bytes(b"")
    trained = len(batches(tmp_path))
    assert wait(start(tmp_path)) == 2
    assert "run.resume=false" in (tmp_path / "log.txt").read_text()
    assert len(batches(tmp_path)) == trained
