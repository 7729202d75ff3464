"""Figures of a survey: pulls, accuracy against noise, one spectrum with its fit, the emulator's error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pinn.spectra.results import SurveyResults
from training.report.learning import Panel, learning_curves, stage_starts
from training.report.style import BLUE, CYCLE, GREY, INK, ORANGE, SavedFigure, canvas, grid, save

BINS = np.linspace(-4, 4, 41)
WIDTH = 0.2
"""Of the histograms of pulls."""

PANELS = (Panel("rms of flux", "continuum = 1", validation="validation/flux_rms"),)


def draw_all(
    folder: Path,
    results: SurveyResults,
    example: Mapping[str, np.ndarray],
    emulator_error: tuple[np.ndarray, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
    stages: Sequence[str],
) -> list[SavedFigure]:
    """Draw what there is to draw.

    Args:
        folder: where the files go.
        results: what was measured.
        example: ``wavelengths``, ``flux``, ``model``, ``sigma`` of one spectrum, not a number where masked.
        emulator_error: wavelengths and rms of the emulator's error at each.
        rows: logged values.
        stages: names, in order.
    """
    drawn = [
        draw_example(folder, example),
        draw_pulls(folder, results),
        draw_scatter(folder, results),
        draw_emulator(folder, *emulator_error),
        learning_curves(folder, rows, stage_starts(rows, stages), PANELS),
    ]
    return [saved for saved in drawn if saved is not None]


def draw_example(folder: Path, example: Mapping[str, np.ndarray]) -> SavedFigure:
    """One spectrum, its fit, and what is left in standard errors."""
    x, sigma = example["wavelengths"], example["sigma"]
    with canvas(rows=2, height=3.6, height_ratios=(3, 1)) as (figure, (above, below)):
        above.plot(x, example["flux"], color=GREY, linewidth=0.6, label="data")
        above.plot(x, example["model"], color=BLUE, linewidth=1.0, label="fit")
        above.set(ylabel="flux")
        above.legend(loc="lower right", ncols=2)
        rest = (example["flux"] - example["model"]) / sigma
        below.plot(x, rest, color=GREY, linewidth=0.5)
        below.axhline(0, color=INK, linewidth=0.6)
        below.set(xlabel="wavelength, Å", ylabel="rest / σ")
        for axes in (above, below):
            axes.set_xlim(float(x.min()), float(x.max()))
            grid(axes)
        caption = (
            "One of the spectra with its fit, continuum included, and what is left over the standard error of each "
            f"pixel; its root mean square is {np.nanstd(rest):.3f}. Gaps are masked pixels."
        )
        return save(figure, folder, "example", "A spectrum and its fit", caption)


def draw_pulls(folder: Path, results: SurveyResults) -> SavedFigure | None:
    """Distribution of (found − true)/error for each parameter, with the normal distribution; None without fits."""
    pulls = results.pulls[results.inside]
    if not len(pulls):
        return None
    x = np.linspace(-4, 4, 161)
    normal = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    share = np.full(len(pulls), 1 / (len(pulls) * WIDTH))
    with canvas(columns=len(results.names), height=2.1) as (figure, all_axes):
        for place, (axes, name) in enumerate(zip(all_axes, results.names, strict=True)):
            axes.hist(
                pulls[:, place],
                bins=BINS.tolist(),
                weights=share,
                color=BLUE,
                alpha=0.75,
            )
            axes.plot(x, normal, color=ORANGE, linewidth=1.2)
            axes.set(title=name.replace("_", " ").replace("rotation squared", "rotation²"), xticks=[-3, 0, 3])
            axes.tick_params(labelleft=False)
        caption = (
            f"Pulls, (found − true)/error, of {len(pulls):,} fits that converged inside their bounds. Line: the normal "
            "distribution that right error bars give."
        )
        return save(figure, folder, "pulls", "Pulls", caption)


def draw_scatter(folder: Path, results: SurveyResults) -> SavedFigure | None:
    """Scatter and stated error of every parameter against the signal-to-noise ratio; None for a single ratio."""
    levels = list(results.accuracy)
    if len(levels) < 2:
        return None
    with canvas(height=2.8) as (figure, (axes,)):
        first = results.accuracy[levels[0]]
        for colour, name in zip(CYCLE, results.names, strict=False):
            scatter = [results.accuracy[level][name].scatter / first[name].error for level in levels]
            stated = [results.accuracy[level][name].error / first[name].error for level in levels]
            axes.plot(levels, scatter, "o", color=colour, markersize=4, label=name.replace("_", " "))
            axes.plot(levels, stated, "-", color=colour, linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel="signal to noise per pixel", ylabel="relative to the noisiest")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        grid(axes, "both")
        axes.legend(loc="lower left", ncols=2)
        caption = "Scatter of found minus true (points) and the median of the stated errors (lines)."
        return save(figure, folder, "scatter", "Scatter and stated errors", caption)


def draw_emulator(folder: Path, wavelengths: np.ndarray, rms: np.ndarray) -> SavedFigure:
    """The emulator's error along the spectrum."""
    with canvas(height=2.2) as (figure, (axes,)):
        axes.plot(wavelengths, rms, color=BLUE, linewidth=0.8)
        axes.set(yscale="log", xlabel="wavelength, Å", ylabel="rms of flux")
        axes.set_xlim(float(wavelengths.min()), float(wavelengths.max()))
        grid(axes)
        caption = (
            "Error of the emulator against the formula, over held-out templates; the noise of the best spectra is two "
            f"orders of magnitude above. Root mean square {np.sqrt(np.mean(rms**2)):.2e}."
        )
        return save(figure, folder, "emulator", "Error of the emulator", caption)
