"""What a survey's report says of its run beside the measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pinn.spectra.emulator import Emulator
from pinn.spectra.settings import SpectraSettings
from training.context import RunContext
from training.environment import FILE as ENVIRONMENT

FILES = {
    "emulator.safetensors": "the emulator: weights and metadata",
    "fits.csv": "one row for each spectrum, failed fits included",
    "fits.npz": "the same as arrays, with the truth",
    "summary.json": "the final numbers",
    "metrics.jsonl": "every logged value",
    "config.yaml": "what was run",
    "environment.json": "on what, with which versions",
    "figures/": "every figure as SVG and PNG",
    "last.ckpt": "the training's state, from which the same command continues",
}
PHASES = ("templates", "training", "survey", "fits")


@dataclass(frozen=True)
class SurveyFacts:
    """Everything a reader needs to judge and repeat a run.

    Attributes:
        title: of the report.
        survey: what was drawn, in words, by name.
        network: its make, in words or numbers.
        stages: what each stage does, in words, by name.
        predictions: seconds foretold for the fits, by device; empty where there was no choice.
        seeds, phases, environment, command, files, notes: see `pinn.solve.facts.SolveFacts`.
        folder: of the run, as it was given.
    """

    title: str
    survey: Mapping[str, str]
    network: Mapping[str, Any]
    stages: Mapping[str, str]
    predictions: Mapping[str, float]
    seeds: Mapping[str, int]
    phases: Mapping[str, float]
    environment: Mapping[str, Any]
    command: str
    files: Mapping[str, str]
    folder: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def gather_facts(
    emulator: Emulator, settings: SpectraSettings, timings: Mapping[str, float], context: RunContext
) -> SurveyFacts:
    """Facts of a run for summary and report."""
    folder = context.folder
    environment = json.loads((folder.path / ENVIRONMENT).read_text())
    architecture = emulator.network.architecture()
    atmosphere = settings.atmosphere
    return SurveyFacts(
        title=f"{settings.survey.spectra:,} synthetic spectra",
        survey=_survey_in_words(settings),
        network={
            "labels": ", ".join(emulator.labels),
            "pixels": f"{atmosphere.pixels} and {2 * atmosphere.padding} of padding",
            **{name: architecture[name] for name in ("width", "depth", "activation")},
            "templates": settings.emulator.templates,
            "components": settings.emulator.components,
        },
        stages={
            name: f"{str(stage.optimizer['_target_']).rpartition('.')[2]}, at most {stage.steps} steps"
            for name, stage in settings.stages.items()
        },
        predictions={
            name.removeprefix("predicted_"): value for name, value in timings.items() if name.startswith("predicted_")
        },
        seeds={"run": settings.seed, "line list": atmosphere.seed, "survey": settings.survey.seed},
        phases={phase: folder.summary(phase)["seconds"] for phase in PHASES if folder.done(phase)},
        environment={key: value for key, value in environment.items() if key != "earlier"},
        command=environment["command"],
        files={file: words for file, words in FILES.items() if (folder.path / file.rstrip("/")).exists()},
        folder=folder.path.as_posix(),
    )


def _survey_in_words(settings: SpectraSettings) -> dict[str, str]:
    survey, atmosphere = settings.survey, settings.atmosphere
    low, high = survey.rotation
    return {
        "wavelengths": f"{atmosphere.first:g} to {atmosphere.last:g} Å, {atmosphere.pixels} pixels of equal ln λ",
        "lines": f"{atmosphere.lines}",
        "velocity": f"−{survey.velocity:g} to {survey.velocity:g} km/s",
        "v sin i": f"{low:g} to {high:g} km/s",
        "signal to noise": ", ".join(f"{ratio:g}" for ratio in survey.signal_to_noise) + " per pixel",
        "masked": f"{100 * survey.masked:g} % of the pixels",
        "continuum": f"{settings.fitting.continuum} polynomials, projected out",
    }
