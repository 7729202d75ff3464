"""The pieces of a run for problems that train in seconds; makes these problems importable for the tests and for the
processes they start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_problems import Bump, Decay

from pinn.solve.stage import SolveStage
from pinn.solve.system import System
from pinn.solve.trial import Trial, untrained

NETWORK = {"_target_": "pinn.networks.MLP", "width": 6, "depth": 2}


@pytest.fixture
def bump() -> tuple[System, Trial]:
    """A problem without a condition to learn, and a network for it."""
    system = System(Bump())
    return system, untrained(system.problem, NETWORK, seed=1)


@pytest.fixture
def decay() -> tuple[System, Trial]:
    """A problem with learned conditions, data and an unknown parameter, and a network for it."""
    system = System(Decay())
    return system, untrained(system.problem, NETWORK, seed=1)


@pytest.fixture
def stage():
    """A stage of 20 steps on 50 points; keyword arguments change it."""

    def make(**changes) -> SolveStage:
        settings = {
            "steps": 20,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "sampler": {"_target_": "pinn.sampling.RAD", "n": 50, "every": 5, "candidates": 200},
            "condition_points": 16,
        }
        return SolveStage.model_validate(settings | changes)

    return make
