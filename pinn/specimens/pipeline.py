"""A run that solves a parametric equation and finds the coefficients of many specimens with it, from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pinn import pipeline as solving
from pinn.fitting.fit import batched_fit
from pinn.fitting.result import FitResult
from pinn.fitting.solution_model import SolutionModel
from pinn.fitting.table import write_csv, write_npz
from pinn.solve.export import load
from pinn.specimens.figures import draw_coefficients
from pinn.specimens.gates import judge
from pinn.specimens.measurements import Measurements, check, measure
from pinn.specimens.settings import SpecimenRunSettings
from training.context import RunContext
from training.errors import GateFailed
from training.files import write_json_atomically, write_text_atomically
from training.optimizers.batched_least_squares import Status
from training.report.gates import Gate, all_passed, sentence
from training.report.page import render_page
from training.report.style import SavedFigure
from training.report.summary import plain

FINISHED = "specimens"
"""The last phase."""

SUMMARY, REPORT = "specimens.json", "specimens.html"


def run(settings: SpecimenRunSettings, context: RunContext) -> dict[str, Any]:
    """Solve the equation, measure specimens, fit them, and leave a report of each.

    Args:
        settings: the whole configuration.
        context: run folder, tracker, hardware, progress.

    Returns:
        The final numbers of solution and fits.

    Raises:
        GateFailed: if a bar of the solution or of the fits is not met; everything is written all the same.
        LimbeckError: its other subclasses say what the user can do.
    """
    folder = context.folder.path
    problem = solving.build_problem(settings)
    check(problem, settings.specimens)
    solved = solving.run(settings, context)
    if context.folder.done(FINISHED):
        fits: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
        context.progress.say(f"The specimens are fitted: {folder / REPORT}.")
        _announce(fits["passed"], fits["verdict"], context)
        return solved | fits
    measured = measure(problem, settings.specimens)
    model = SolutionModel(load(folder), settings.specimens.parameters, measured.sensors, settings.specimens.field)
    with context.progress.phase("Fits", len(measured.data), "specimens") as phase:
        fitted = fit_specimens(model, measured, phase.advance, context.progress.say)
    fits = _conclude(fitted, measured, model, settings, context)
    _announce(fits["passed"], fits["verdict"], context)
    return solved | fits


def fit_specimens(model: SolutionModel, measured: Measurements, progress: Any = None, say: Any = None) -> FitResult:
    """The coefficients of all specimens; the amplitude is a linear term."""
    return batched_fit(
        model, measured.data, measured.sigma, start=(model.lower + model.upper) / 2, bounds=(model.lower, model.upper),
        linear_basis=torch.ones(measured.data.shape[1], 1), names=model.names, progress=progress, say=say,
    )  # fmt: skip


def figures_of(fitted: FitResult, measured: Measurements) -> dict[str, Any]:
    """What the fits are judged by, flat; the names of `GateSettings` are among them."""
    inside = fitted.status == Status.CONVERGED
    off = (fitted.parameters - measured.truth)[inside]
    pulls = off / fitted.errors[inside]
    enough = len(off) > 2
    return {
        "specimen_pull_mean": float(pulls.mean(0).abs().max()) if enough else None,
        "specimen_pull_spread": float((pulls.std(0) - 1).abs().max()) if enough else None,
        "specimen_error_percent": float((100 * off / measured.truth[inside]).abs().median(0).values.max())
        if enough
        else None,
        "specimens_failed_percent": 100 * float((~fitted.good).double().mean()),
        "specimens": len(fitted),
        "specimens_per_second": fitted.timings["fits_per_second"],
        "specimen_chi2_per_dof": float((fitted.chi2 / fitted.dof)[fitted.good].mean()),
    }


def _conclude(
    fitted: FitResult, measured: Measurements, model: SolutionModel, settings: SpecimenRunSettings, context: RunContext
) -> dict[str, Any]:
    """Judge the fits, write table, numbers and report."""
    folder = context.folder.path
    found = figures_of(fitted, measured)
    gates = judge(found, settings.specimens.gates)
    judged = [gate.to_dict() for gate in gates]
    summary: dict[str, Any] = plain(
        {"passed": all_passed(gates), "verdict": sentence(gates), **found, "ended": fitted.counts, "gates": judged}
    )
    _write_table(folder, fitted, measured)
    saved = draw_coefficients(folder / "figures", fitted, measured.truth.numpy())
    write_json_atomically(folder / SUMMARY, summary)
    _write_report(folder, gates, saved, fitted, found, context)
    for one in saved:
        context.tracker.figure(one.name, one.png)
    context.tracker.summary({name: value for name, value in found.items() if value is not None})
    context.folder.mark_done(FINISHED, {"seconds": fitted.timings["total"]})
    ended = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in fitted.counts.items())
    context.progress.say(f"{len(fitted):,} specimens: {ended}; {found['specimens_per_second']:,.0f} per second.")
    context.progress.say(f"Report of the specimens: {folder / REPORT}")
    return summary


def _write_table(folder: Path, fitted: FitResult, measured: Measurements) -> None:
    table: dict[str, np.ndarray] = {"specimen": np.arange(len(fitted))}
    for place, name in enumerate(fitted.names):
        table[name] = fitted.parameters[:, place].numpy()
        table[f"{name}_error"] = fitted.errors[:, place].numpy()
        table[f"{name}_true"] = measured.truth[:, place].numpy()
    table["amplitude"] = fitted.coefficients[:, 0].numpy()
    table |= {"chi2": fitted.chi2.numpy(), "dof": fitted.dof.numpy(), "status": np.array(fitted.words)}
    write_csv(folder / "specimens.csv", table)
    write_npz(folder / "specimens.npz", table, covariance=fitted.covariance.numpy())


def _write_report(
    folder: Path, gates: list[Gate], saved: list[SavedFigure], fitted: FitResult, found: dict[str, Any],
    context: RunContext,
) -> None:  # fmt: skip
    environment = json.loads((folder / "environment.json").read_text())
    facts = {
        "title": f"Coefficients of {len(fitted):,} specimens", "notes": (), "command": environment["command"],
        "phases": {"fits": fitted.timings["total"]}, "seeds": {"run": context.seed},
        "environment": {key: value for key, value in environment.items() if key != "earlier"},
        "files": {
            "specimens.csv": "one row for each specimen, failed fits included",
            "specimens.npz": "the same as arrays, with covariances",
            "specimens.json": "the final numbers",
            "report.html": "the solution that they were fitted with",
        },
    }  # fmt: skip
    text = render_page(
        "pinn.specimens", "report.html.j2", gates=gates, verdict=sentence(gates), figures=saved,
        sections={"coefficients": tuple(one.name for one in saved)}, facts=facts, found=found, ended=fitted.counts,
        device=fitted.device,
    )  # fmt: skip
    write_text_atomically(folder / REPORT, text)


def _announce(passed: bool, verdict: str, context: RunContext) -> None:
    if not passed:
        raise GateFailed(f"{verdict}\nAll files are kept in {context.folder.path}.")
    context.progress.say(verdict)
