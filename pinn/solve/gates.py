"""The bars a solution has to pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveFloat

from training.report import gates as bars
from training.report.gates import Gate, Measure
from training.settings import Settings

MEASURES = {
    "relative_l2": Measure("relative L2 error"),
    "residual_rms": Measure("residual"),
    "parameter_error_percent": Measure("error of the unknown parameters", "%"),
    "minutes": Measure("training time", "min"),
}
"""The figures a solution may be judged by; their names are those of `GateSettings` and `Results.figures`."""


class GateSettings(Settings):
    """Bars to pass; null reports the figure without judging it. A bar whose figure was not measured fails."""

    relative_l2: PositiveFloat | None = None
    """Relative L2 error against the reference on the evaluation points, of the worst field."""

    residual_rms: PositiveFloat | None = None
    """Root mean square of the equations' residuals on the evaluation points."""

    parameter_error_percent: PositiveFloat | None = None
    """Largest relative error of the unknown parameters of an inverse problem."""

    minutes: PositiveFloat | None = None
    """Training time of all stages together."""


def judge(figures: Mapping[str, Any], settings: GateSettings) -> list[Gate]:
    """Every gate of the settings against the figures of the same names (`Results.figures`).

    A gate without a bar appears only if its figure was measured.
    """
    return bars.judge(figures, settings.model_dump(), MEASURES)
