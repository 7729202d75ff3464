"""The bars that a survey's fits have to pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveFloat

from training.report import gates as bars
from training.report.gates import Gate, Measure
from training.settings import Settings

MEASURES = {
    "pull_mean": Measure("largest mean pull"),
    "pull_spread": Measure("largest departure of a pull's spread from 1"),
    "chi2_per_dof": Measure("departure of the mean χ²/dof from 1"),
    "failed_percent": Measure("fits that did not end at a minimum", "%"),
    "emulator_rms": Measure("error of the emulated flux, rms"),
    "fits_per_second": Measure("fits per second", "1/s", at_least=True),
}
"""The figures a survey may be judged by; their names are those of `GateSettings` and `SurveyResults.figures`."""


class GateSettings(Settings):
    """Bars to pass; null reports the figure without judging it. A bar whose figure was not measured fails."""

    pull_mean: PositiveFloat | None = None
    """Largest absolute mean of ``(found − true)/error`` over parameters and signal-to-noise ratios."""

    pull_spread: PositiveFloat | None = None
    """Largest ``|standard deviation − 1|`` of the same."""

    chi2_per_dof: PositiveFloat | None = None
    """``|mean − 1|`` over all fits at a minimum."""

    failed_percent: PositiveFloat | None = None
    """Fits whose status is neither converged nor at a bound."""

    emulator_rms: PositiveFloat | None = None
    """Of flux over all held-out templates and pixels; the continuum is 1."""

    fits_per_second: PositiveFloat | None = None
    """At least; candidates included."""


def judge(figures: Mapping[str, Any], settings: GateSettings) -> list[Gate]:
    """Every gate of the settings against the figures of the same names."""
    return bars.judge(figures, settings.model_dump(), MEASURES)
