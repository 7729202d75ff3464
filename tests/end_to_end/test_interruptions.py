"""Kill a run at any moment: the same command continues, and ends where an uninterrupted run ends."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from mlff.data.store import LabelStore

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

KEPT = ("student.safetensors", "md/nve.safetensors")

STOPS = (
    ("structures/*/segment-00001*", signal.SIGKILL),
    ("labels/shards/*", signal.SIGTERM),
    ("last.ckpt", signal.SIGKILL),
    ("md/*", signal.SIGKILL),
)
"""What a process has written when it is stopped, and how: in teacher MD, labelling, training, the student's own MD."""


def weights(folder: Path) -> dict[str, bytes]:
    """What must not depend on interruptions; the student's own file says when it was written."""
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory, limbeck):
    """An uninterrupted run: its exit code and its folder."""
    root = tmp_path_factory.mktemp("whole")
    finished = limbeck.train([*limbeck.TINY, f"run.root={root}", "run.name=run"])
    # so small a student does not pass its gates
    assert finished.returncode == 3, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished.returncode, root / "quick" / "run"


def test_a_run_stopped_in_every_phase_equals_an_uninterrupted_one(limbeck, tmp_path, whole):
    code, expected = whole
    folder = tmp_path / "quick" / "run"
    command = [*limbeck.TINY, f"run.root={tmp_path}", "run.name=run"]
    # a TMPDIR of its own: files are moved within the run folder, never across disks
    elsewhere = {"TMPDIR": "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)}
    dice = random.Random(0)
    for landmark, number in STOPS:
        process = limbeck.start(command, elsewhere)
        wait_for(process, folder, landmark)
        if number == signal.SIGKILL:
            time.sleep(dice.uniform(0.0, 0.2))
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        if number == signal.SIGTERM:
            assert process.returncode == 75, output
            assert "Stopped by SIGTERM" in output and "same command" in output and "Traceback" not in output
        else:
            assert process.returncode == -number, f"over before it was stopped at {landmark}:\n{output}"
    continued = limbeck.train(command)
    assert continued.returncode == code, continued.stdout[-2000:] + continued.stderr[-2000:]
    assert "Training is complete" in continued.stdout

    one, other = weights(expected), weights(folder)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    labels, others = LabelStore.open(expected / "labels"), LabelStore.open(folder / "labels")
    assert len(labels) == len(others) > 0
    assert labels.content_fingerprint == others.content_fingerprint


def test_resume_false_starts_beside_the_old_run(limbeck, whole):
    old = whole[1]
    beside = old.with_name("run-2")

    def content() -> dict[Path, tuple[int, bytes]]:
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in old.rglob("*") if path.is_file()}

    before = content()
    command = [*limbeck.TINY, f"run.root={old.parent.parent}", "run.name=run", "run.resume=false"]
    process = limbeck.start(command)
    wait_for(process, beside, "structures/*")
    process.kill()
    process.wait()
    process.stdout.close()
    assert content() == before
    assert not (beside / "labels").exists(), "structures were taken from the old run"
