"""What the report says of a run beside its measurements."""

from __future__ import annotations

import json
from typing import Any

from pinn.configuration import SolveSettings
from pinn.problem import Problem
from pinn.solve.facts import SolveFacts
from pinn.solve.stage import SolveStage
from pinn.solve.words import condition_in_words, domain_in_words, network_in_words, reference_in_words
from training.context import RunContext
from training.environment import FILE as ENVIRONMENT

FILES = {
    "network.safetensors": "the solution: weights and metadata, for pinn.load",
    "summary.json": "the final numbers",
    "metrics.jsonl": "every logged value",
    "config.yaml": "what was run",
    "environment.json": "on what, with which versions",
    "figures/": "every figure as SVG and PNG",
    "points/": "collocation points at several moments",
    "last.ckpt": "the training's state, from which the same command continues",
}
PHASES = ("reference", "training", "validation")


def gather_facts(
    problem: Problem, architecture: dict[str, Any], settings: SolveSettings, context: RunContext
) -> SolveFacts:
    """Facts of a run for summary and report."""
    folder = context.folder
    environment = json.loads((folder.path / ENVIRONMENT).read_text())
    first = next(iter(settings.stages.values()))
    return SolveFacts(
        title=problem.title or type(problem).__name__,
        formula=problem.formula,
        coordinates=problem.coordinates,
        bounds=problem.domain.bounds,
        fields=problem.fields,
        domain=domain_in_words(problem.domain),
        conditions={condition.name: condition_in_words(condition) for condition in problem.conditions},
        ansatz=_ansatz(problem),
        reference="" if problem.reference is None else reference_in_words(problem.reference),
        network=network_in_words(architecture),
        stages={name: in_words(stage) for name, stage in settings.stages.items()},
        sampling=_spec(first.sampler) if first.sampler else "",
        seeds={"run": settings.seed},
        phases={phase: folder.summary(phase)["seconds"] for phase in PHASES if folder.done(phase)},
        environment={key: value for key, value in environment.items() if key != "earlier"},
        command=environment["command"],
        files={file: words for file, words in FILES.items() if (folder.path / file.rstrip("/")).exists()},
        notes=tuple(_notes(settings)),
    )


def in_words(stage: SolveStage) -> str:
    """A stage on one line."""
    sampler = _spec(stage.sampler) if stage.sampler else "the points of the stage before"
    return f"{_spec(stage.optimizer)}, at most {stage.steps} steps, {stage.precision}; points: {sampler}"


def _ansatz(problem: Problem) -> str:
    """That the hard conditions are built in; each states its formula in its own documentation."""
    names = [condition.name for condition in problem.hard_conditions]
    return f"u = lift + factor · N, exact for {', '.join(names)}" if names else ""


def _notes(settings: SolveSettings) -> list[str]:
    return [
        f"Stage {name} takes second-order steps in single precision, which ends its descent early."
        for name, stage in settings.stages.items()
        if stage.closure is not None and stage.precision == "32-true"
    ]


def _spec(spec: dict[str, Any]) -> str:
    name = str(spec["_target_"]).rpartition(".")[2]
    arguments = ", ".join(f"{key}={value}" for key, value in spec.items() if key != "_target_" and value is not None)
    return f"{name}({arguments})"
