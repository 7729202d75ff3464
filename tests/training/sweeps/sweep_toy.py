"""A half without PyTorch, and a job without a half: whatever a run can do to a sweep, in milliseconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training.context import RunContext, RunSettings
from training.errors import GateFailed
from training.sweeps.job import Job, Result, print_into


class ToySettings(RunSettings):
    width: int = 1
    rate: float = 0.1
    kind: str = "plain"


def run(settings: ToySettings, context: RunContext) -> None:
    """Leaves a number that depends on the settings, and the process it was made in."""
    folder = context.folder.path
    (folder / "process.txt").write_text(str(os.getpid()))
    end = time.monotonic() + float(os.environ.get("TOY_NAP", 0))
    while time.monotonic() < end:
        time.sleep(0.02)
        context.interruption.check()
    error = (settings.width - 3) ** 2 + settings.rate
    gates = [{"key": "error"}]
    (folder / "summary.json").write_text(json.dumps({"passed": True, "size": 7, "error": error, "gates": gates}))
    if settings.kind == "gate":
        raise GateFailed("The toy gate is not met.")


def behave(job: Job) -> Result:
    """Do what the configuration says, as often as it says."""
    received = time.monotonic()
    folder = Path(job.config["folder"])
    print_into(str(job.log))
    tries = folder / f"tries-{job.config['number']}"
    with tries.open("a") as file:
        print(os.getpid(), file=file)
    number = len(tries.read_text().split())
    if number <= job.config.get("killed", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.config.get("ends"):
        os._exit(job.config["ends"])
    if job.config.get("hangs"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
        (folder / "child").write_text(str(child.pid))
        time.sleep(100)
    while "meets" in job.config and not (folder / f"tries-{job.config['meets']}").exists():
        time.sleep(0.02)
    time.sleep(job.config.get("nap", 0.1))
    facts = {"cores": sorted(os.sched_getaffinity(0)), "threads": os.environ.get("OMP_NUM_THREADS")}
    (folder / f"facts-{job.config['number']}").write_text(
        json.dumps({**facts, "device": os.environ.get("CUDA_VISIBLE_DEVICES")})
    )
    print("printed by", job.config["number"])
    return Result(job.config.get("code", 0), received, received, time.monotonic())
