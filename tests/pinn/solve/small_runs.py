"""Whole runs of the small problems in seconds: their configuration, and processes that may be killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from pinn import pipeline
from pinn.configuration import SolveSettings
from pinn.solve.export import FILE_NAME, save_network
from pinn.solve.judgement import Judge
from pinn.solve.module import SolveModule
from pinn.solve.system import System
from pinn.solve.trial import untrained
from training.checkpoints import LAST
from training.context import RunContext
from training.run import execute, main

ADAM = {
    "steps": 12,
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.02},
    "schedule": {"_target_": "training.schedules.Cosine", "warmup_steps": 2},
    "sampler": {"_target_": "pinn.sampling.RAD", "n": 40, "every": 4, "candidates": 120},
    "balance": {"_target_": "pinn.weighting.GradNorm", "every": 5},
    "condition_points": 10,
    "chunk": 25,
    "ema_decay": 0.8,
    "validate_every": 5,
    "log_every": 3,
}
QUASI_NEWTON = ADAM | {
    "steps": 9,
    "optimizer": {"_target_": "training.optimizers.ssbroyden.SSBroyden"},
    "schedule": {"_target_": "training.schedules.Constant"},
    "balance": {"_target_": "pinn.weighting.Fixed"},
    "ema_decay": None,
    "frozen": 4,
}
GAUSS_NEWTON = QUASI_NEWTON | {
    "steps": 5,
    "optimizer": {"_target_": "training.optimizers.gauss_newton.GaussNewton"},
    "sampler": {"_target_": "pinn.sampling.R3", "n": 40},
}
LBFGS = QUASI_NEWTON | {
    "steps": 4,
    "optimizer": {"_target_": "torch.optim.LBFGS", "max_iter": 3, "line_search_fn": "strong_wolfe"},
    "sampler": None,
}
HALVES = ("pinn.", "small_runs.")
STAGES = {"adam": ADAM, "ssbroyden": QUASI_NEWTON, "gauss_newton": GAUSS_NEWTON, "lbfgs": LBFGS}


def small_config(root: Path, name: str = "Decay", stages: dict | None = None, **changes: Any) -> DictConfig:
    """A run of a small problem; keyword arguments are dotted keys with two underscores for the dots."""
    config = {
        "half": {"pipeline": "small_runs.run", "settings": "pinn.configuration.SolveSettings"},
        "run": {"experiment": "small", "name": "run", "resume": True, "root": str(root)},
        "seed": 3,
        "hardware": {"device": "cpu", "threads": 1},
        "tracker": {"kind": "none"},
        "checkpoint_seconds": 1000,
        "problem": {"_target_": f"small_problems.{name}"},
        "network": {"_target_": "pinn.networks.MLP", "width": 6, "depth": 2},
        "stages": STAGES if stages is None else stages,
        "validation": {"residual_points": 50, "snapshots": 4, "gates": {"relative_l2": 100.0}},
    }
    made = OmegaConf.create(config)
    for key, value in changes.items():
        OmegaConf.update(made, key.replace("__", "."), value, merge=False)
    return made


def run(settings: SolveSettings, context: RunContext) -> SolveModule:
    """A run as far as its export, without examination and report."""
    problem = pipeline.build_problem(settings)
    system = System(problem)
    judge = Judge(system, settings.validation.residual_points, settings.validation.chunk)
    module = pipeline.train(system, untrained(problem, settings.network, settings.seed), judge, settings, context)
    save_network(context.folder.path / FILE_NAME, problem, module.judged_model, {})
    return module


def train(root: Path, *arguments: Any, **changes: Any) -> SolveModule:
    """Such a run in this process; the module as it is afterwards."""
    return execute(small_config(root, *arguments, **changes), HALVES)


def folder(root: Path) -> Path:
    return root / "small" / "run"


def rows(root: Path, key: str) -> dict[int, float]:
    """A logged value by step."""
    lines = map(json.loads, (folder(root) / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[key] for line in lines if key in line}


def start(root: Path, die_before_rename: int | None = None, **changes: Any) -> int:
    """The command in a forked process, which SIGKILLs itself before it renames its n-th checkpoint file."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = sys.stderr = (root / "log.txt").open("a", buffering=1)
        if die_before_rename is not None:
            _kill_before_rename(die_before_rename)
        code = main(small_config(root, **changes), HALVES)
        sys.stdout.flush()
        os._exit(code)
    finally:
        os._exit(99)


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(root: Path) -> dict[str, Any]:
    """The last checkpoint without what counts seconds and blocks."""
    content = torch.load(folder(root) / LAST, weights_only=True)
    content["limbeck"].pop("seconds")
    content.pop("loops")
    for entry in content["state_dict"]["_extra_state"]["record"].values():
        entry.pop("seconds")
    return content


def metrics(root: Path) -> list[dict[str, Any]]:
    """Everything logged while training, without the clock."""
    lines = map(json.loads, (folder(root) / "metrics.jsonl").read_text().splitlines())
    values = [{k: v for k, v in line.items() if k not in ("time", "seconds")} for line in lines]
    return [line for line in values if not {"figure", "summary"} & line.keys()]


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equality of nested checkpoints to the last bit."""
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0)), where
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


def _kill_before_rename(count: int) -> None:
    remaining = [count]
    replace = Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        if ".ckpt" in self.name:
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = replace_or_die
