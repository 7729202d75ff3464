"""Kill a run at any moment: the same command continues, and ends where an uninterrupted run ends."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

KEPT = ("student.safetensors", "md/nve.safetensors")


def weights(folder: Path) -> dict[str, bytes]:
    """What must not depend on interruptions; the student's own file says when it was written."""
    from safetensors.numpy import load_file

    return {
        f"{name}/{key}": value.tobytes()
        for name in KEPT
        for key, value in load_file(folder / name).items()
        if "seconds" not in key
    }


def wait_for(process, folder: Path, pattern: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.02)


def test_a_run_killed_in_every_phase_equals_an_uninterrupted_one(limbeck, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished = limbeck.train([*limbeck.TINY, f"run.root={whole}", "run.name=run"])
    assert finished.returncode in (0, 3), finished.stdout[-2000:] + finished.stderr[-2000:]
    folder = killed / "quick" / "run"
    # a TMPDIR of its own: files are moved within the run folder, never across disks
    elsewhere = {"TMPDIR": "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)}
    dice = random.Random(0)
    for landmark in ("structures/*/segment-00001*", "labels/shards/*", "last.ckpt", "md/*"):
        process = limbeck.start([*limbeck.TINY, f"run.root={killed}", "run.name=run"], elsewhere)
        wait_for(process, folder, landmark)
        time.sleep(dice.uniform(0.0, 0.3))
        process.kill()
        process.wait()
    continued = limbeck.train([*limbeck.TINY, f"run.root={killed}", "run.name=run"])
    assert continued.returncode == finished.returncode, continued.stdout[-2000:] + continued.stderr[-2000:]
    expected, found = weights(whole / "quick" / "run"), weights(folder)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []

    from mlff.data.store import LabelStore

    one, other = (LabelStore.open(path / "labels") for path in (whole / "quick" / "run", folder))
    assert len(one) == len(other)
    assert one.content_fingerprint == other.content_fingerprint


def test_sigterm_saves_and_exits_with_75(limbeck, tmp_path):
    process = limbeck.start([*limbeck.TINY, f"run.root={tmp_path}", "run.name=run", "stages.forces.steps=100000"])
    folder = tmp_path / "quick" / "run"
    wait_for(process, folder, "last.ckpt")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "same command" in output


def test_resume_false_starts_beside_the_old_run(limbeck, tmp_path):
    arguments = [*limbeck.TINY, f"run.root={tmp_path}", "run.name=run", "validation=accuracy"]
    arguments = [a for a in arguments if not a.startswith("validation.")]
    first = limbeck.train(arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "quick" / "run").rglob("*") if path.is_file()}
    second = limbeck.train([*arguments, "run.resume=false"])
    assert first.returncode == second.returncode
    assert (tmp_path / "quick" / "run-2" / "student.safetensors").exists()
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "quick" / "run").rglob("*") if path.is_file()}
    assert before == after
