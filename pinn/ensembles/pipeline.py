"""A run that solves one equation under many frozen paths, from top to bottom."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from pinn.ensembles.configuration import PROCESSES, ScenarioSettings
from pinn.ensembles.driven import DrivenProblem
from pinn.ensembles.paths import Paths
from pinn.ensembles.processes import Process
from pinn.ensembles.report import write_report
from pinn.ensembles.stacked import StackedMLP
from pinn.ensembles.statistics import Summary, summarise
from pinn.ensembles.training import Ensemble
from training.configuration import instantiate
from training.context import RunContext
from training.errors import ConfigurationError, GateFailed
from training.files import write_atomically, write_text_atomically
from training.report.gates import Gate, Measure, judge, sentence
from training.report.summary import FILE_NAME as SUMMARY
from training.report.summary import write_summary

FINISHED = "report"
WEIGHTS, TABLE, SCENARIOS = "network.safetensors", "members.csv", "scenarios.safetensors"

ANYWHERE = ("",)
"""A problem of one's own may live in any module that Python finds."""

MEASURES = {
    "relative_l2": Measure("relative L2 error of the worst member"),
    "residual_rms": Measure("residual of the worst member"),
    "failed_members": Measure("members that failed"),
}


def run(settings: ScenarioSettings, context: RunContext) -> dict[str, Any]:
    """Draw paths, train all members, and leave means, bands and a report.

    Args:
        settings: the whole configuration.
        context: run folder, tracker, hardware, progress.

    Returns:
        The final numbers, as in ``summary.json``.

    Raises:
        GateFailed: if a bar is not met; everything is written all the same.
        LimbeckError: its other subclasses say what the user can do.
    """
    folder = context.folder.path
    if context.folder.done(FINISHED):
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
        context.progress.say(f"This run is finished: {folder}. run.resume=false makes another beside it.")
        return _announce(summary, context)
    ensemble = build(settings, context.hardware.device)
    members = ensemble.network.members
    weights = sum(p.numel() for p in ensemble.network.parameters()) // members
    context.progress.say(
        f"{ensemble.problem.title}: {members} paths, as many networks of {weights:,} weights, trained at once."
    )
    seconds = train(ensemble, settings, context)
    summary_of_members = summarise(ensemble, settings.band.share, limit=settings.band.largest_residual)
    gates = judge(summary_of_members.figures(), settings.band.gates.model_dump(), MEASURES)
    keep(folder, ensemble, summary_of_members, settings)
    report = write_report(folder, ensemble, summary_of_members, gates, settings, seconds)
    for name, png in report.pictures.items():
        context.tracker.figure(name, png)
    figures = {**summary_of_members.figures(), "seconds": seconds}
    summary = write_summary(
        folder, gates, sentence(gates), figures, {"failed": _named(summary_of_members.failed)}, {"facts": report.facts}
    )
    context.tracker.summary({name: value for name, value in figures.items() if value is not None})
    context.folder.mark_done(FINISHED, {"verdict": summary["verdict"]})
    _say(summary_of_members, gates, context)
    context.progress.say(f"Report: {report.path}")
    return _announce(summary, context)


def build(settings: ScenarioSettings, device: str = "cpu") -> Ensemble:
    """The ensemble that a configuration describes, untrained.

    Raises:
        ConfigurationError: if problem, process and network are not possible together.
    """
    problem = instantiate(settings.scenario, ANYWHERE)
    if not isinstance(problem, DrivenProblem):
        raise ConfigurationError(f"scenario._target_: {settings.scenario['_target_']} is no DrivenProblem.")
    process = instantiate(settings.paths, PROCESSES)
    if not isinstance(process, Process):
        raise ConfigurationError(f"paths._target_: {settings.paths['_target_']} is no process.")
    if problem.time is None or problem.domain.bounds[problem.time][0] != 0:
        raise ConfigurationError("scenario: paths begin at time 0, and so does the domain of a driven problem.")
    draws = settings.draws
    end = problem.domain.bounds[problem.time][1]
    paths = Paths.drawn(process, float(end), draws.steps, draws.members, draws.kind, settings.seed)
    follows = {"inputs": len(problem.network_bounds), "outputs": len(problem.fields)}
    bounds = [list(ends) for ends in problem.network_bounds.values()]
    network = StackedMLP.build(settings.network, draws.members, settings.seed, bounds=bounds, **follows)
    return Ensemble(problem, paths, network, settings.training, settings.seed, device)


def train(ensemble: Ensemble, settings: ScenarioSettings, context: RunContext) -> float:
    """All steps, from wherever an earlier process was stopped; returns the seconds of all processes together."""
    folder = context.folder
    before = folder.summary("training")["seconds"] if folder.done("training") else 0.0
    ensemble.restore(folder.path)
    context.tracker.resume_from(ensemble.step)
    began = saved = time.monotonic()

    def keep_state() -> None:
        ensemble.save(folder.path)
        folder.mark_done("training", {"seconds": before + time.monotonic() - began})

    with context.progress.phase("Training", settings.training.steps, done=ensemble.step) as phase:

        def on_step(step: int, losses: Tensor) -> None:
            nonlocal saved
            phase.advance()
            if step % settings.training.log_every == 0 or step == settings.training.steps:
                context.tracker.log(_logged(losses), step)
            if context.interruption.requested or time.monotonic() - saved > context.checkpoint_seconds:
                keep_state()
                saved = time.monotonic()
                context.interruption.check()

        ensemble.train(on_step)
    keep_state()
    return float(folder.summary("training")["seconds"])


def keep(folder: Path, ensemble: Ensemble, summary: Summary, settings: ScenarioSettings) -> None:
    """Write weights, paths with their solutions, and a line for every member; all paired by the member's number."""
    weights = {name: value.cpu().contiguous() for name, value in ensemble.network.state_dict().items()}
    metadata = {
        "architecture": json.dumps(ensemble.network.architecture()),
        "scenario": json.dumps(settings.scenario),
        "members": str(ensemble.network.members),
    }
    write_atomically(folder / WEIGHTS, lambda path: save_file(weights, path, metadata))
    arrays = {
        "times": ensemble.paths.times,
        "paths": ensemble.paths.values,
        "members": summary.members,
        **{name: getattr(summary, name) for name in ("x", "t", "u", "mean", "spread", "low", "high")},
    }
    content = {name: value.contiguous() for name, value in arrays.items()}
    write_atomically(folder / SCENARIOS, lambda path: save_file(content, path))
    write_text_atomically(folder / TABLE, _table(ensemble, summary))


def _table(ensemble: Ensemble, summary: Summary) -> str:
    rows = {int(member): row for row, member in enumerate(summary.members)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["member", "path_mean", "path_end", "relative_l2", "residual_rms", "failed"])
    for member, path in enumerate(ensemble.paths.values):
        row = rows.get(member)
        error = "" if row is None or summary.errors is None else f"{float(summary.errors[row]):.6g}"
        residual = "" if row is None else f"{float(summary.loss[row]) ** 0.5:.6g}"
        ends = [f"{float(path.mean()):.6g}", f"{float(path[-1]):.6g}"]
        writer.writerow([member, *ends, error, residual, summary.failed.get(member, "")])
    return buffer.getvalue()


def _logged(losses: Tensor) -> dict[str, float]:
    sound = losses[losses.isfinite()]
    if not len(sound):
        return {"failed_members": float(len(losses))}
    return {
        "train/loss_median": float(sound.median()),
        "train/loss_worst": float(sound.max()),
        "failed_members": float(len(losses) - len(sound)),
    }


def _named(failed: Mapping[int, str]) -> dict[str, str]:
    return {f"member {member}": reason for member, reason in failed.items()}


def _say(summary: Summary, gates: list[Gate], context: RunContext) -> None:
    for member, reason in summary.failed.items():
        context.progress.say(f"Member {member} failed and is left out: {reason}.")
    if not len(summary.members):
        context.progress.say("No member is left, so there is no mean and no band.")
        return
    middle = summary.mean[-1, len(summary.x) // 2], summary.spread[-1, len(summary.x) // 2]
    said = f"{float(middle[0]):.4g} ± {float(middle[1]):.2g} over {len(summary.members)} paths"
    context.progress.say(f"u in the middle at the end: {said}.")
    if summary.errors is not None:
        context.progress.say(
            f"Relative L2 error under its own path: {float(summary.errors.median()):.2g} median, "
            f"{float(summary.errors.max()):.2g} worst member."
        )


def _announce(summary: dict[str, Any], context: RunContext) -> dict[str, Any]:
    if not summary["passed"]:
        raise GateFailed(f"{summary['verdict']}\nAll files are kept in {context.folder.path}.")
    context.progress.say(summary["verdict"])
    return summary
