"""What a run ran on: versions, processor, threads, seed, source revision and command, kept beside its results."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.files import write_json_atomically
from training.hardware import Hardware

FILE = "environment.json"
PACKAGES = (
    "limbeck",
    "torch",
    "pytorch-lightning",
    "torch-geometric",
    "numpy",
    "scipy",
    "ase",
    "tblite",
    "vesin",
    "hydra-core",
    "pydantic",
    "safetensors",
    "wandb",
    "trackio",
)


def write_environment(folder: Path, hardware: Hardware, seed: int) -> dict[str, Any]:
    """Write ``environment.json``; earlier starts of the same run are kept in it under ``earlier``.

    Returns:
        What was written.
    """
    file = folder / FILE
    former = json.loads(file.read_text()) if file.exists() else None
    earlier = [*former.pop("earlier", []), former] if former else []
    environment = {**describe(hardware, seed), "earlier": earlier}
    write_json_atomically(file, environment)
    return environment


def describe(hardware: Hardware, seed: int) -> dict[str, Any]:
    """This process, its packages and its machine as plain JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "seed": seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": hardware.threads,
        "device": hardware.device,
        "device_reason": hardware.reason,
        "versions": _versions(),
        "git_commit": _git_commit(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """The revision of the clone this code lies in, with a mark if files differ; None outside a clone or without git."""
    source = Path(__file__).resolve().parent.parent
    if not (source / ".git").exists():
        return None
    try:
        commit = _git(source, "rev-parse", "HEAD")
        changed = _git(source, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit} with changes" if changed else commit


def _git(source: Path, *words: str) -> str:
    command = ["git", "-C", str(source), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
