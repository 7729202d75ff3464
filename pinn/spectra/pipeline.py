"""A run that trains an emulator and fits a survey with it, from top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from pinn.fitting.result import FitResult
from pinn.fitting.table import write_csv, write_npz
from pinn.spectra.emulator import Emulator
from pinn.spectra.emulator_file import FILE_NAME, load_emulator, save_emulator
from pinn.spectra.facts import gather_facts
from pinn.spectra.figures import draw_all
from pinn.spectra.fit_spectra import fit_spectra
from pinn.spectra.formula import LABELS
from pinn.spectra.gates import judge as judge_gates
from pinn.spectra.model import SpectrumModel, continuum
from pinn.spectra.report import write_report
from pinn.spectra.results import SurveyResults, judge_survey
from pinn.spectra.settings import SpectraSettings
from pinn.spectra.survey import Survey, draw_survey
from pinn.spectra.table import columns
from pinn.spectra.training import TemplateBatches, Templates, finished, make_templates, untrained
from training.context import RunContext
from training.errors import ConfigurationError, GateFailed
from training.fitting import fit_stages
from training.loggers.metrics_file import FILE_NAME as METRICS
from training.loggers.metrics_file import read_metrics
from training.report.gates import sentence
from training.report.page import FILE_NAME as REPORT
from training.report.summary import FILE_NAME as SUMMARY
from training.report.summary import write_summary

FINISHED = "report"
"""The last phase."""


def run(settings: SpectraSettings, context: RunContext) -> dict[str, Any]:
    """Train an emulator, fit a synthetic survey, and leave a report.

    Args:
        settings: the whole configuration.
        context: run folder, tracker, hardware, progress.

    Returns:
        The final numbers, as in ``summary.json``.

    Raises:
        GateFailed: if a bar is not met; everything is written all the same.
        Diverged: if the loss is not finite.
        LimbeckError: its other subclasses say what the user can do.
    """
    if context.folder.done(FINISHED):
        return _finished_before(context)
    check(settings)
    with _phase(context, "templates"):
        templates = make_templates(settings.atmosphere, settings.emulator, settings.seed)
    context.progress.say(
        f"{templates.trained:,} templates; {templates.components.shape[1]} components leave out {templates.lost:.1e} "
        "of the flux."
    )
    path = context.folder.path / FILE_NAME
    with _phase(context, "training"):
        module = untrained(templates, settings.network, settings.seed)
        batches = TemplateBatches(templates, settings.emulator.batch, settings.seed)
        fit_stages(module, batches, settings.stages, context)
        save_emulator(path, *finished(module, templates))
    emulator, metadata = load_emulator(path)
    context.progress.say(f"Emulator: rms of flux {metadata.accuracy['flux_rms']:.2e} on held-out templates.")
    with _phase(context, "survey"):
        survey = _draw(settings, templates, context)
    with _phase(context, "fits"):
        fitted = _fit(survey, emulator, settings, context)
    results = judge_survey(survey, fitted, (*emulator.units, "km/s", "km²/s²"), metadata.accuracy)
    table = columns(fitted)
    write_csv(context.folder.path / "fits.csv", table)
    write_npz(
        context.folder.path / "fits.npz", table, truth=survey.truth.numpy(), covariance=fitted.covariance.numpy(),
        signal_to_noise=survey.signal_to_noise.numpy(),
    )  # fmt: skip
    return _conclude(results, survey, fitted, emulator, templates, settings, context)


def check(settings: SpectraSettings) -> None:
    """Find what the groups make impossible together.

    Raises:
        ConfigurationError: names everything at once.
    """
    complaints = [
        f"stages.{name}.accumulate={stage.accumulate}: batches are small enough as they are; choose a smaller "
        "emulator.batch instead"
        for name, stage in settings.stages.items()
        if stage.accumulate > 1
    ]
    if settings.emulator.components >= settings.emulator.templates:
        complaints.append(
            f"emulator.components={settings.emulator.components} is not less than "
            f"emulator.templates={settings.emulator.templates}"
        )
    if len(settings.fitting.start_labels) != len(LABELS):
        complaints.append(
            f"fitting.start_labels has {len(settings.fitting.start_labels)} numbers for the {len(LABELS)} labels "
            f"{', '.join(LABELS)}"
        )
    if complaints:
        raise ConfigurationError("This run is not possible:\n" + "\n".join(f"  {line}" for line in complaints))


def _draw(settings: SpectraSettings, templates: Templates, context: RunContext) -> Survey:
    with context.progress.phase("Drawing the survey", settings.survey.spectra, "spectra") as phase:

        def progress(n: int) -> None:
            phase.advance(n)
            context.interruption.check()

        return draw_survey(
            settings.survey, templates.grid, templates.lines, settings.fitting.continuum,
            settings.fitting.limb_darkening, progress,
        )  # fmt: skip


def _fit(survey: Survey, emulator: Emulator, settings: SpectraSettings, context: RunContext) -> FitResult:
    device = {"cpu": "cpu", "gpu": "cuda"}.get(settings.hardware.device, "auto")
    with context.progress.phase("Fits", len(survey.flux), "spectra") as phase:

        def progress(n: int) -> None:
            phase.advance(n)
            context.interruption.check()

        return fit_spectra(
            emulator, survey.wavelengths, survey.flux, survey.sigma, survey.mask, settings.fitting, device, progress,
            context.progress.say,
        )  # fmt: skip


def _conclude(
    results: SurveyResults, survey: Survey, fitted: FitResult, emulator: Emulator, templates: Templates,
    settings: SpectraSettings, context: RunContext,
) -> dict[str, Any]:  # fmt: skip
    """Judge, write summary and report, and say the verdict."""
    folder = context.folder.path
    gates = judge_gates(results.figures(), settings.validation.gates)
    verdict = sentence(gates)
    facts = gather_facts(emulator, settings, fitted.timings, context)
    summary = write_summary(folder, gates, verdict, results.figures(), results.details(), {"facts": facts.to_dict()})
    figures = draw_all(
        folder / "figures", results, example(survey, fitted, emulator, settings), _emulator_error(emulator, templates),
        read_metrics(folder / METRICS), list(settings.stages),
    )  # fmt: skip
    report = write_report(folder, results, gates, figures, facts)
    for saved in figures:
        context.tracker.figure(saved.name, saved.png)
    context.tracker.summary({name: value for name, value in results.figures().items() if value is not None})
    context.folder.mark_done(FINISHED, {"verdict": verdict})
    ended = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in results.ended.items())
    context.progress.say(f"{len(fitted):,} fits: {ended}; {fitted.timings['fits_per_second']:,.0f} per second.")
    context.progress.say(f"Report: {report}")
    _announce(summary["passed"], verdict, context)
    return summary


def example(
    survey: Survey, fitted: FitResult, emulator: Emulator, settings: SpectraSettings
) -> Mapping[str, np.ndarray]:
    """The first spectrum of the middle signal-to-noise ratio, with its fit; not a number where masked."""
    level = survey.signal_to_noise.unique()[len(survey.signal_to_noise.unique()) // 2]
    place = int((survey.signal_to_noise == level).nonzero()[0])
    model = SpectrumModel(emulator, None, settings.fitting.limb_darkening)
    shape = continuum(emulator.grid, settings.fitting.continuum) @ fitted.coefficients[place]
    flux = (model(fitted.parameters[place : place + 1])[0] * shape)[emulator.grid.observed]
    data = torch.where(survey.mask[place], torch.nan, survey.flux[place])
    return {
        "wavelengths": survey.wavelengths.numpy(), "flux": data.numpy(), "model": flux.numpy(),
        "sigma": survey.sigma[place].numpy(),
    }  # fmt: skip


def _emulator_error(emulator: Emulator, templates: Templates) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths of the observed pixels, and the rms of the emulator's error on the held-out templates at each."""
    held_out = slice(templates.trained, None)
    error = emulator(templates.labels[held_out]) - templates.flux[held_out]
    rms = error.square().mean(0).sqrt()
    observed = templates.grid.observed
    return templates.grid.wavelengths()[observed].numpy(), rms[observed].numpy()


def _finished_before(context: RunContext) -> dict[str, Any]:
    """The results of a run that needs nothing more, with its verdict."""
    folder = context.folder.path
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    context.progress.say(f"This run is finished: {folder / REPORT}. run.resume=false makes another beside it.")
    _announce(summary["passed"], summary["verdict"], context)
    return summary


def _announce(passed: bool, verdict: str, context: RunContext) -> None:
    if not passed:
        raise GateFailed(f"{verdict}\nAll files are kept in {context.folder.path}.")
    context.progress.say(verdict)


@contextmanager
def _phase(context: RunContext, name: str) -> Iterator[None]:
    """Note how long a phase took, for the report; a phase that is run again by a continued run is timed anew."""
    start = time.monotonic()
    yield
    context.folder.mark_done(name, {"seconds": time.monotonic() - start})
    context.interruption.check()
