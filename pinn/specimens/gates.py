"""The bars that the fits of specimens have to pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveFloat

from training.report import gates as bars
from training.report.gates import Gate, Measure
from training.settings import Settings

MEASURES = {
    "specimen_pull_mean": Measure("largest mean pull"),
    "specimen_pull_spread": Measure("largest departure of a pull's spread from 1"),
    "specimen_error_percent": Measure("median error of a coefficient", "%"),
    "specimens_failed_percent": Measure("fits that did not end at a minimum", "%"),
}
"""The figures; their names are those of `GateSettings`."""


class GateSettings(Settings):
    """Bars to pass; null reports the figure without judging it. A bar whose figure was not measured fails."""

    specimen_pull_mean: PositiveFloat | None = None
    """Largest absolute mean of ``(found − true)/error``."""

    specimen_pull_spread: PositiveFloat | None = None
    """Largest ``|standard deviation − 1|`` of the same."""

    specimen_error_percent: PositiveFloat | None = None
    """Median of ``|found − true|/true``, of the worst parameter."""

    specimens_failed_percent: PositiveFloat | None = None
    """Fits whose status is neither converged nor at a bound."""


def judge(figures: Mapping[str, Any], settings: GateSettings) -> list[Gate]:
    """Every gate of the settings against the figures of the same names."""
    return bars.judge(figures, settings.model_dump(), MEASURES)
