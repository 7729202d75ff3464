"""What a survey with known truth says about its fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pinn.fitting.result import FitResult
from pinn.spectra.model import rotation_of
from pinn.spectra.survey import Survey
from training.optimizers.batched_least_squares import Status

FAINTEST = 20
"""Fits below which no mean and no spread is stated."""


@dataclass(frozen=True)
class ParameterAccuracy:
    """One parameter at one signal-to-noise ratio, over the fits that converged inside their bounds.

    Attributes:
        bias: median of found minus true, in the parameter's unit.
        scatter: half the width of the central 68.3 % of it.
        error: median of the stated standard errors.
        pull_mean, pull_spread: mean and standard deviation of (found − true)/error.
        pull_spread_error: statistical error of the spread.
    """

    bias: float
    scatter: float
    error: float
    pull_mean: float
    pull_spread: float
    pull_spread_error: float


@dataclass(frozen=True)
class SurveyResults:
    """A survey's fits, judged.

    Attributes:
        names, units: of the parameters.
        truth, found, errors: (B, p).
        ratio: (B,) signal to noise.
        inside: (B,) converged, not at a bound.
        accuracy: by signal-to-noise ratio and parameter.
        rotation_bias, rotation_scatter: km/s by signal-to-noise ratio, of v sin i where the truth is above 40 km/s.
        chi2_per_dof: mean over fits at a minimum.
        ended: number of fits by status.
        iterations: mean evaluations of a fit.
        timings: of the fits, seconds.
        device: where they were computed.
        emulator: its errors on held-out templates.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    truth: np.ndarray
    found: np.ndarray
    errors: np.ndarray
    ratio: np.ndarray
    inside: np.ndarray
    accuracy: Mapping[float, Mapping[str, ParameterAccuracy]]
    rotation_bias: Mapping[float, float]
    rotation_scatter: Mapping[float, float]
    chi2_per_dof: float
    ended: Mapping[str, int]
    iterations: float
    timings: Mapping[str, float]
    device: str
    emulator: Mapping[str, float]

    @property
    def pulls(self) -> np.ndarray:
        """(B, p)."""
        return np.asarray((self.found - self.truth) / self.errors)

    def figures(self) -> dict[str, Any]:
        """Flat figures for gates and summary; the names of `GateSettings` are among them."""
        all_rows = [row for rows in self.accuracy.values() for row in rows.values()]
        total = sum(self.ended.values())
        good = self.ended.get("converged", 0) + self.ended.get("at_bound", 0)
        return {
            "pull_mean": max((abs(row.pull_mean) for row in all_rows), default=None),
            "pull_spread": max((abs(row.pull_spread - 1) for row in all_rows), default=None),
            "chi2_per_dof": abs(self.chi2_per_dof - 1),
            "failed_percent": 100 * (total - good) / total,
            "emulator_rms": self.emulator["flux_rms"],
            "fits_per_second": self.timings["fits_per_second"],
            "fits": total,
            "iterations": self.iterations,
            "seconds": self.timings["fit"],
        }

    def details(self) -> dict[str, Any]:
        """What stands behind the figures, nested; no arrays."""
        return {
            "accuracy": {
                f"{ratio:g}": {name: asdict(row) for name, row in rows.items()} for ratio, rows in self.accuracy.items()
            },
            "rotation_bias_kms": {f"{ratio:g}": value for ratio, value in self.rotation_bias.items()},
            "rotation_scatter_kms": {f"{ratio:g}": value for ratio, value in self.rotation_scatter.items()},
            "mean_chi2_per_dof": self.chi2_per_dof,
            "ended": dict(self.ended),
            "timings": dict(self.timings),
            "device": self.device,
            "emulator": dict(self.emulator),
        }


def judge_survey(
    survey: Survey, fitted: FitResult, units: tuple[str, ...], emulator: Mapping[str, float]
) -> SurveyResults:
    """Compare the fits with the truth."""
    found, truth, errors = (values.numpy() for values in (fitted.parameters, survey.truth, fitted.errors))
    ratio = survey.signal_to_noise.numpy()
    inside = (fitted.status == Status.CONVERGED).numpy()
    accuracy, bias, scatter = {}, {}, {}
    rotation = rotation_of(fitted.parameters[:, -1], fitted.errors[:, -1])[0].numpy()
    known = np.sqrt(truth[:, -1])
    for level in np.unique(ratio):
        rows = inside & (ratio == level)
        if rows.sum() < FAINTEST:
            continue
        accuracy[float(level)] = {
            name: _accuracy(found[rows, i] - truth[rows, i], errors[rows, i]) for i, name in enumerate(fitted.names)
        }
        fast = rows & (known > 40)
        if fast.sum() >= FAINTEST:
            off = rotation[fast] - known[fast]
            bias[float(level)], scatter[float(level)] = float(np.median(off)), _scatter(off)
    good = fitted.good.numpy()
    per_dof = (fitted.chi2 / fitted.dof).numpy()[good]
    return SurveyResults(
        fitted.names, units, truth, found, errors, ratio, inside, accuracy, bias, scatter, float(per_dof.mean()),
        fitted.counts, float(fitted.iterations.double().mean()), fitted.timings, fitted.device, emulator,
    )  # fmt: skip


def _accuracy(off: np.ndarray, errors: np.ndarray) -> ParameterAccuracy:
    pulls = off / errors
    spread = float(pulls.std(ddof=1))
    return ParameterAccuracy(
        float(np.median(off)), _scatter(off), float(np.median(errors)), float(pulls.mean()), spread,
        spread / float(np.sqrt(2 * (len(pulls) - 1))),
    )  # fmt: skip


def _scatter(off: np.ndarray) -> float:
    low, high = np.quantile(off, [0.1587, 0.8413])
    return float(high - low) / 2
