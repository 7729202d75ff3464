"""Figures of a student's errors on held-out structures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from mlff.validate.accuracy import MEV
from training.report.gates import figure as digits
from training.report.style import BLUE, DENSITY, FAINT, GREY, INK, SavedFigure, canvas, grid, save


def energy_parity(folder: Path, reference: np.ndarray, predicted: np.ndarray, n_atoms: np.ndarray) -> SavedFigure:
    """Predicted against reference energies, and the distribution of the errors.

    Args:
        folder: where the files go.
        reference, predicted: (n_structures,) eV.
        n_atoms: (n_structures,).
    """
    reference, predicted = MEV * reference / n_atoms, MEV * predicted / n_atoms
    error = predicted - reference
    mae = float(np.abs(error).mean())
    with canvas(columns=2, height=2.9) as (figure, (parity, errors)):
        zero = np.median(reference)
        span = _span(np.concatenate([reference, predicted]) - zero)
        parity.plot(span, span, color=GREY, linewidth=0.8)
        parity.plot(reference - zero, predicted - zero, ".", color=BLUE, markersize=4, alpha=0.5, markeredgewidth=0)
        parity.set(xlabel="teacher, meV/atom", ylabel="student, meV/atom", xlim=span, ylim=span, title="Energy")
        parity.set_aspect("equal", adjustable="box")
        grid(parity, "both")
        _error_histogram(errors, error, "meV/atom")
        caption = (
            f"Energy per atom of {len(error)} held-out structures, relative to the median. MAE {digits(mae)} meV/atom."
        )
        return save(figure, folder, "energy_parity", "Energy", caption)


def force_parity(folder: Path, reference: np.ndarray, predicted: np.ndarray) -> SavedFigure:
    """Predicted against reference force components as a density, and the distribution of the errors.

    Args:
        folder: where the files go.
        reference, predicted: (n_atoms, 3) eV/Å.
    """
    reference, predicted = np.ravel(reference), np.ravel(predicted)
    error = MEV * (predicted - reference)
    mae, zero = float(np.abs(error).mean()), float(np.abs(MEV * reference).mean())
    with canvas(columns=2, height=2.9) as (figure, (parity, errors)):
        span = _span(np.concatenate([reference, predicted]))
        cells = parity.hexbin(
            *(reference, predicted),
            gridsize=60,
            extent=(*span, *span),
            norm=LogNorm(),
            cmap=DENSITY,
            mincnt=1,
            linewidths=0.1,
        )
        cells.set_rasterized(True)
        if np.isfinite(predicted).any():
            figure.colorbar(cells, ax=parity, shrink=0.8, aspect=26, pad=0.01).outline.set_visible(False)
        parity.plot(span, span, color=INK, linewidth=0.6, alpha=0.5)
        parity.set(xlabel="teacher, eV/Å", ylabel="student, eV/Å", xlim=span, ylim=span, title="Force components")
        parity.set_aspect("equal", adjustable="box")
        grid(parity, "both")
        _error_histogram(errors, error, "meV/Å")
        caption = (
            f"{len(error)} force components of held-out structures; colour counts components. MAE {digits(mae)} meV/Å, "
            f"where predicting no force at all would give {digits(zero)} meV/Å."
        )
        return save(figure, folder, "force_parity", "Forces", caption)


def error_per_element(
    folder: Path, mae: Mapping[str, float], zero: Mapping[str, float], atoms: Mapping[str, int]
) -> SavedFigure:
    """Force error of every element beside the error of predicting zero, on a logarithmic scale.

    Args:
        folder: where the files go.
        mae, zero: per element symbol, meV/Å.
        atoms: per element symbol, how many stand behind the mean.
    """
    elements = list(mae)
    with canvas(height=0.9 + 0.42 * len(elements)) as (figure, (axes,)):
        rows = np.arange(len(elements))
        axes.barh(rows - 0.19, [zero[e] for e in elements], height=0.34, color=FAINT, label="predicting zero")
        axes.barh(rows + 0.19, [mae[e] for e in elements], height=0.34, color=BLUE, label="student")
        for row, element in zip(rows, elements, strict=True):
            axes.annotate(
                *(digits(mae[element]), (mae[element], row + 0.19)),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            axes.annotate(
                digits(zero[element]),
                (zero[element], row - 0.19),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(rows, [f"{element}  ({atoms[element]})" for element in elements])
        axes.invert_yaxis()
        axes.set(xscale="log", xlabel="MAE of force components, meV/Å", title="Forces by element (atoms)")
        axes.margins(x=0.12)
        grid(axes, "x")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        caption = (
            "Mean absolute force error of each element on held-out structures, beside the error of predicting no force."
        )
        return save(figure, folder, "error_per_element", "By element", caption)


def _error_histogram(axes: Axes, error: np.ndarray, unit: str) -> None:
    """Distribution of signed errors as far as 99 % of them reach, with their means and the largest."""
    finite = error[np.isfinite(error)]
    axes.set(xlabel=f"student − teacher, {unit}", yticks=[], title="Error")
    axes.spines["left"].set_visible(False)
    if not len(finite):
        axes.text(0.5, 0.5, "no finite prediction", transform=axes.transAxes, ha="center")
        return
    reach = float(np.percentile(np.abs(finite), 99)) or 1.0
    axes.hist(finite, bins=np.linspace(-reach, reach, 41).tolist(), color=BLUE, alpha=0.85)
    mae, rmse = float(np.abs(finite).mean()), float(np.sqrt(np.square(finite).mean()))
    axes.axvline(0, color=INK, linewidth=0.6, alpha=0.5)
    text = f"MAE {digits(mae)}\nRMSE {digits(rmse)}\nlargest {digits(float(np.abs(finite).max()))}\n{unit}"
    axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=8, linespacing=1.4)


def _span(values: np.ndarray) -> tuple[float, float]:
    """Limits around finite values with a little air."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    air = 0.05 * (high - low) or 1.0
    return low - air, high + air
