"""Running ``train.py`` as a user does: another process, the project's own configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]

TINY = [
    "experiment=quick",
    "tracker=none",
    "structures.steps=40",
    "structures.held_out.steps=60",
    "structures.thermalisation=10",
    "structures.segment=20",
    "structures.relaxation.fmax=0.1",
    "labelling.shard_size=8",
    "student.channels=8",
    "stages.forces.steps=60",
    "stages.forces.max_minutes=null",
    "stages.forces.validate_every=25",
    "stages.energy.steps=30",
    "stages.energy.max_minutes=null",
    "checkpoint_seconds=0.2",
    "validation.molecular_dynamics.duration_ps=0.1",
    "validation.molecular_dynamics.thermalisation_ps=0.02",
    "validation.molecular_dynamics.relaxation_steps=30",
    "validation.molecular_dynamics.save_every=20",
    "validation.molecular_dynamics.log_every=2",
    "validation.molecular_dynamics.teacher_frames=2",
    "validation.timing=null",
]
"""A run of every phase in seconds; its student is good for nothing."""


class Limbeck:
    """The command line, for tests."""

    TINY = TINY

    @staticmethod
    def train(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """``python train.py …`` to its end."""
        command = [sys.executable, str(PROJECT / "train.py"), *arguments]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=500)

    @staticmethod
    def start(arguments: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """``python train.py …``, running."""
        return subprocess.Popen(
            [sys.executable, str(PROJECT / "train.py"), *arguments],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    @staticmethod
    def folder(root: Path) -> Path:
        """The single run folder below a root."""
        (config,) = root.glob("*/*/config.yaml")
        return config.parent

    @staticmethod
    def summary(folder: Path) -> dict[str, Any]:
        return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="session")
def limbeck() -> Limbeck:
    """``train.py`` in processes of its own."""
    return Limbeck()
