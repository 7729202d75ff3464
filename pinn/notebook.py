"""A run from a script or a notebook, with a problem that lives in its process."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pinn.configuration import SolveSettings
from pinn.names import hint
from pinn.pipeline import run
from pinn.problem import Problem
from pinn.solve.export import load
from pinn.solve.solution import Solution
from training.composition import configs_folder
from training.context import RunContext
from training.errors import ConfigurationError, InputError
from training.overrides import composed, set_value
from training.run import execute

EXPERIMENT = "solve"
"""The experiment with the default network and stages, for any problem."""


@dataclass(frozen=True)
class Solved:
    """What `solve` returns.

    Attributes:
        solution: a function of the coordinates.
        folder: of the run, with report.html.
        summary: the final numbers, as in summary.json.
    """

    solution: Solution
    folder: Path
    summary: dict[str, Any]


def solve(problem: str | Problem, **overrides: Any) -> Solved:
    """Solve a problem as ``python train.py`` does, from a script or a notebook.

    Args:
        problem: a problem of your own, or the name of an experiment or of a file of the config group ``problem``
            ("burgers", "heat", …).
        **overrides: configuration, dots written as two underscores or given in a dictionary:
            ``stages__adam__steps=200`` or ``**{"stages.adam.steps": 200}``; a group by its name:
            ``network="piratenet"``.

    Raises:
        GateFailed: if a bar is not met; the run folder is kept and holds the network.
        LimbeckError: its subclasses say what the user can do.

    Example:
        >>> import pinn
        >>> solved = pinn.solve("burgers", tracker="none")  # doctest: +SKIP
        >>> solved.solution(x=0.5, t=0.5).u                 # doctest: +SKIP
    """
    if not isinstance(problem, str | Problem):
        raise InputError(f"solve takes a problem or the name of one; got {type(problem).__name__}.")
    config = configure(problem, overrides)
    live = None if isinstance(problem, str) else problem
    known: list[tuple[Path, Problem | None]] = []

    def keep(settings: SolveSettings, context: RunContext) -> dict[str, Any]:
        known.append((context.folder.path, live))
        return run(settings, context, live)

    summary = execute(config, pipeline=keep)
    folder, mine = known[0]
    return Solved(load(folder, mine), folder, summary)


def configure(problem: str | Problem, overrides: Mapping[str, Any]) -> DictConfig:
    """The composed configuration.

    A problem of the caller's is described in ``problem`` with a digest of its arguments and its source, so that the run
    folder is found again by the same call and by no other.

    Raises:
        ConfigurationError: if a key or the name of the problem is unknown; names the nearest known one.
    """
    if isinstance(problem, str):
        config = composed(overrides, _named(problem, overrides))
        named = problem
    else:
        config = composed(overrides, [f"experiment={EXPERIMENT}"] if "experiment" not in overrides else [])
        OmegaConf.update(config, "problem", _described(problem), merge=False, force_add=True)
        named = type(problem).__name__
    if not {"experiment", "run.experiment", "run__experiment"} & overrides.keys():
        set_value(config, "run.experiment", named)
    return config


def _named(name: str, overrides: Mapping[str, Any]) -> list[str]:
    """The words that choose an experiment of this name, or the default one with a problem of this name."""
    folder = configs_folder()
    problems = sorted(path.stem for path in (folder / "problem").glob("*.yaml"))
    experiments = [path.stem for path in (folder / "experiment").glob("*.yaml") if "half: pinn" in path.read_text()]
    if name in experiments and "experiment" not in overrides:
        return [f"experiment={name}"]
    if name not in problems:
        known = sorted({*problems, *experiments} - {EXPERIMENT})
        raise ConfigurationError(f"There is no problem {name!r}; {hint(name, known)}")
    return [f"problem={name}"] if "experiment" in overrides else [f"experiment={EXPERIMENT}", f"problem={name}"]


def _described(problem: Problem) -> dict[str, Any]:
    digest = hashlib.sha256()
    for part in (*_bytes(problem.arguments), *_code(type(problem))):
        digest.update(part)
    return {"_target_": problem.target, "described": repr(problem), "digest": digest.hexdigest()[:12]}


def _bytes(value: Any) -> Iterator[bytes]:
    """Everything that tells two sets of arguments apart."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key).encode()
            yield from _bytes(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _bytes(inner)
    elif isinstance(value, Tensor | np.ndarray):
        yield np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value).tobytes()
    elif callable(value) and hasattr(value, "__code__"):
        yield from _bytes(value.__code__)
    elif isinstance(value, CodeType):
        yield value.co_code
        yield from _bytes(value.co_consts)
    else:
        yield repr(value).encode()


def _code(kind: type) -> Iterator[bytes]:
    """The class as written, or as compiled where it was typed into a console."""
    try:
        yield inspect.getsource(kind).encode()
    except (OSError, TypeError):
        for member in vars(kind).values():
            if hasattr(member, "__code__"):
                yield from _bytes(member)
