"""What a benchmark ran on, and the file of its raw numbers in ``benchmarks/results``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
PACKAGES = ("torch", "numpy", "scipy", "numba", "pytorch-lightning")


def keep(path: Path, **content: Any) -> None:
    """Write raw numbers, and before them what they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    print(f"Every number: {path}")


def asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a command, without where things lie on this machine, which is nobody's business."""
    return {name: value for name, value in vars(arguments).items() if not isinstance(value, Path)}


def machine() -> dict[str, Any]:
    """Processor, versions, commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "load": os.getloadavg()[0],
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
