"""A run that solves an equation, from top to bottom; a killed run takes up where it stopped."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pinn.configuration import SolveSettings
from pinn.facts import gather_facts
from pinn.names import hint
from pinn.problem import Problem
from pinn.references import cache
from pinn.solve.collocation import Collocation
from pinn.solve.examination import accuracy, examine, residual_rms
from pinn.solve.export import FILE_NAME, load, save_network
from pinn.solve.figures.all import draw_all
from pinn.solve.figures.equation import check_formula
from pinn.solve.gates import judge as judge_gates
from pinn.solve.judgement import Judge
from pinn.solve.module import SolveModule
from pinn.solve.report import write_report
from pinn.solve.results import Results
from pinn.solve.snapshots import PointDiary
from pinn.solve.summary import write_summary
from pinn.solve.system import System
from pinn.solve.trial import Trial, untrained
from training.configuration import instantiate
from training.context import RunContext
from training.errors import ConfigurationError, GateFailed
from training.fitting import fit_stages
from training.loggers.metrics_file import FILE_NAME as METRICS
from training.loggers.metrics_file import read_metrics
from training.module import Diverged
from training.report.gates import sentence
from training.report.page import FILE_NAME as REPORT
from training.report.summary import FILE_NAME as SUMMARY

FINISHED = "report"
"""The last phase."""

LAST_GOOD = "last_good.safetensors"
"""What is left of a training that diverged."""

ANYWHERE = ("",)
"""A problem of one's own may live in any module that Python finds."""


def run(settings: SolveSettings, context: RunContext, problem: Problem | None = None) -> dict[str, Any]:
    """Solve a problem, measure the solution, and leave a report.

    Args:
        settings: the whole configuration.
        context: run folder, tracker, hardware, progress.
        problem: one that lives in the caller's process, instead of ``problem``.

    Returns:
        The final numbers, as in ``summary.json``.

    Raises:
        GateFailed: if a bar is not met; everything is written all the same.
        Diverged: if the loss is not finite; the last good weights are kept in ``last_good.safetensors``.
        LimbeckError: its other subclasses say what the user can do.
    """
    if context.folder.done(FINISHED):
        return _finished_before(context)
    with _announcing(context):
        problem = build_problem(settings) if problem is None else problem
    system = System(problem)
    check(settings, system)
    trial = untrained(problem, settings.network, settings.seed)
    _introduce(problem, trial, context)
    with _phase(context, "reference"), _announcing(context):
        judge = Judge(system, settings.validation.residual_points, settings.validation.chunk)
        before = residual_rms(system, trial, judge.points, settings.validation.chunk)
    module = train(system, trial, judge, settings, context)
    path = context.folder.path / FILE_NAME
    judged = module.judged_model
    assert isinstance(judged, Trial)
    save_network(path, problem, judged, {})
    with _phase(context, "validation"):
        diary = PointDiary(context.folder.path, settings.stages, settings.validation.snapshots)
        results = examine(load(path, problem), module, diary.read(), before, settings.validation.chunk)
    save_network(path, problem, judged, accuracy(results))
    return _conclude(results, problem, judged, settings, context)


def build_problem(settings: SolveSettings) -> Problem:
    """The problem that the configuration names.

    Raises:
        ConfigurationError: if there is no such class, it refuses its arguments, or finds a mistake in itself.
    """
    problem = instantiate(settings.problem, ANYWHERE)
    if not isinstance(problem, Problem):
        raise ConfigurationError(f"problem._target_: {settings.problem['_target_']} is no subclass of pinn.Problem.")
    return problem


def check(settings: SolveSettings, system: System) -> None:
    """Find what configuration and problem make impossible together.

    Raises:
        ConfigurationError: names everything at once.
    """
    complaints = [
        f"stages.{name}.loss_weights: there is no term {term}; {hint(term, system.terms)}"
        for name, stage in settings.stages.items()
        for term in stage.loss_weights
        if term not in system.terms
    ]
    complaints += [
        f"stages.{name}.loss_weights: every term weighs 0, so there is nothing to learn from"
        for name, stage in settings.stages.items()
        if not any(stage.loss_weights.get(term, 1.0) for term in system.terms)
    ]
    gates = settings.validation.gates
    if gates.relative_l2 is not None and system.problem.reference is None:
        complaints.append(
            "validation.gates.relative_l2: the problem has no reference to be compared with; set it to null"
        )
    if gates.parameter_error_percent is not None and not system.problem.parameters:
        complaints.append(
            "validation.gates.parameter_error_percent: the problem has no unknown parameters; set it to null"
        )
    if complaints:
        raise ConfigurationError("This run is not possible:\n" + "\n".join(f"  {line}" for line in complaints))
    check_formula(system.problem.formula)


def _finished_before(context: RunContext) -> dict[str, Any]:
    """The results of a run that needs nothing more, with its verdict."""
    folder = context.folder.path
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    context.progress.say(f"This run is finished: {folder / REPORT}. run.resume=false makes another beside it.")
    _announce(summary["passed"], summary["verdict"], context)
    return summary


def _introduce(problem: Problem, trial: Trial, context: RunContext) -> None:
    architecture = trial.network.architecture()
    shape = ", ".join(f"{key} {architecture[key]}" for key in ("width", "depth", "activation") if key in architecture)
    context.progress.say(
        f"{problem.title or type(problem).__name__}: {', '.join(problem.fields)} of {', '.join(problem.coordinates)}; "
        f"{type(trial.network).__name__}, {shape}, {sum(p.numel() for p in trial.parameters()):,} weights."
    )


def train(system: System, trial: Trial, judge: Judge, settings: SolveSettings, context: RunContext) -> SolveModule:
    """Go through all stages, from wherever an earlier process was stopped.

    Raises:
        Diverged: if the loss is not finite; the last good weights are kept in ``last_good.safetensors``.
    """
    collocation = Collocation(system.problem, settings.stages, settings.seed, judge)
    diary = PointDiary(context.folder.path, settings.stages, settings.validation.snapshots)
    module = SolveModule(system, trial, collocation, judge, diary)
    with _phase(context, "training"):
        try:
            fit_stages(module, collocation, settings.stages, context)
        except Diverged as error:
            module.restore_good_weights()
            kept = context.folder.path / LAST_GOOD
            save_network(kept, system.problem, module.model, {})
            raise Diverged(f"{error} The last good weights are kept in {kept}.") from error
    return module


def _conclude(
    results: Results, problem: Problem, trial: Trial, settings: SolveSettings, context: RunContext
) -> dict[str, Any]:
    """Judge, write summary and report, and say the verdict."""
    folder = context.folder.path
    gates = judge_gates(results.figures(), settings.validation.gates)
    facts = gather_facts(problem, trial.network.architecture(), settings, context)
    summary = write_summary(folder, results, gates, {"facts": facts.to_dict()})
    rows = read_metrics(folder / METRICS)
    figures = draw_all(folder / "figures", results, rows, facts, settings.validation.gates.relative_l2)
    report = write_report(folder, results, gates, figures, facts)
    for saved in figures:
        context.tracker.figure(saved.name, saved.png)
    context.tracker.summary({name: value for name, value in results.figures().items() if value is not None})
    verdict = sentence(gates)
    context.folder.mark_done(FINISHED, {"verdict": verdict})
    _say_results(results, context)
    context.progress.say(f"Report: {report}")
    _announce(summary["passed"], verdict, context)
    return summary


def _say_results(results: Results, context: RunContext) -> None:
    for name, error in results.errors.items():
        floor = "" if error.floor is None else f" (the reference's own error: {error.floor:.1e})"
        context.progress.say(f"{name}: relative L2 error {error.relative_l2:.3g}{floor}")
    for name, parameter in results.parameters.items():
        off = parameter.relative_error
        truth = "" if off is None else f", {100 * off:.3g} % from the truth"
        context.progress.say(f"{name} = {parameter.value:.6g}{truth}")


def _announce(passed: bool, verdict: str, context: RunContext) -> None:
    if not passed:
        raise GateFailed(f"{verdict}\nAll files are kept in {context.folder.path}.")
    context.progress.say(verdict)


class _Announcer(logging.Handler):
    """Says to the user what a module logs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())


@contextmanager
def _announcing(context: RunContext) -> Iterator[None]:
    """Tell of a reference before it is computed, which happens wherever its values are first asked for."""
    logger, handler = logging.getLogger(cache.__name__), _Announcer(context.progress.say)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def _phase(context: RunContext, name: str) -> Iterator[None]:
    """Note how long a phase took, for the report; time spent in earlier processes is added."""
    before = context.folder.summary(name)["seconds"] if context.folder.done(name) else 0.0
    start = time.monotonic()
    yield
    # a phase that was complete already is not run again but read; that is no work of the phase
    seconds = before or time.monotonic() - start
    context.folder.mark_done(name, {"seconds": seconds})
    context.interruption.check()
