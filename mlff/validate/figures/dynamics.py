"""Figures of a student's own dynamics."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.report.gates import figure as digits
from training.report.style import BLUE, FAINT, GREY, INK, ORANGE, SavedFigure, canvas, grid, save

STUDENT, TEACHER = BLUE, ORANGE


def energy_conservation(
    folder: Path, time_ps: np.ndarray, total_meV_per_atom: np.ndarray, slope: float | None, standard_error: float | None
) -> SavedFigure:
    """Total energy at constant energy with the line of its drift.

    Args:
        folder: where the files go.
        time_ps, total_meV_per_atom: (n_samples,).
        slope, standard_error: meV/atom/ps; None without a fit.
    """
    with canvas(height=2.5) as (figure, (axes,)):
        energy = total_meV_per_atom - np.mean(total_meV_per_atom)
        axes.plot(time_ps, energy, color=BLUE, linewidth=0.6, alpha=0.65, rasterized=len(time_ps) > 5000)
        caption = "Total energy relative to its mean."
        if slope is not None and standard_error is not None:
            axes.plot(time_ps, slope * (time_ps - np.mean(time_ps)), color=TEACHER, linewidth=1.6)
            caption = (
                f"Total energy relative to its mean. The line has a slope of {_signed(slope)} ± "
                f"{digits(standard_error)} meV/atom/ps (standard error from block averages)."
            )
        axes.set(xlabel="time, ps", ylabel="meV/atom", title="Total energy", xlim=_ends(time_ps))
        grid(axes)
        return save(figure, folder, "energy_conservation", "Energy conservation", caption)


def temperature(folder: Path, time_ps: np.ndarray, temperature_K: np.ndarray, aim_K: float) -> SavedFigure:
    """Instantaneous temperature and its running mean over a tenth of the run.

    Args:
        folder: where the files go.
        time_ps, temperature_K: (n_samples,).
        aim_K: the temperature that was aimed at.
    """
    with canvas(height=2.3) as (figure, (axes,)):
        axes.plot(time_ps, temperature_K, color=BLUE, linewidth=0.5, alpha=0.4, rasterized=len(time_ps) > 5000)
        window = max(1, len(time_ps) // 10)
        if len(time_ps) >= 20:
            smooth = np.convolve(temperature_K, np.full(window, 1 / window), mode="valid")
            axes.plot(
                np.convolve(time_ps, np.full(window, 1 / window), mode="valid"), smooth, color=BLUE, linewidth=1.8
            )
        axes.axhline(aim_K, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(xlabel="time, ps", ylabel="K", title="Temperature", xlim=_ends(time_ps), ylim=(0, None))
        grid(axes)
        caption = (
            f"Mean {np.mean(temperature_K):.0f} K with a spread of {np.std(temperature_K):.0f} K; dashed: the aim of "
            f"{aim_K:.0f} K. The thick line averages over a tenth of the run."
        )
        return save(figure, folder, "temperature", "Temperature", caption)


def distances(
    folder: Path,
    radius_A: np.ndarray,
    student: np.ndarray,
    teacher: np.ndarray,
    periodic: bool,
    difference: float,
    noise: float,
) -> SavedFigure:
    """Distributions of interatomic distances, and their difference below.

    Args:
        folder: where the files go.
        radius_A: (n_bins,).
        student, teacher: (n_bins,) h(r) in 1/Å, or g(r).
        periodic: whether they are g(r).
        difference, noise: integrated, dimensionless.
    """
    with canvas(rows=2, height=3.3, height_ratios=(3, 1)) as (figure, (axes, below)):
        axes.fill_between(radius_A, teacher, color=FAINT, linewidth=0, label="teacher")
        axes.plot(radius_A, teacher, color=TEACHER, linewidth=1.0)
        axes.plot(radius_A, student, color=STUDENT, linewidth=1.3, linestyle=(0, (4, 1.5)), label="student")
        handles = [axes.lines[0], axes.lines[1]]
        axes.legend(handles, ["teacher", "student"], loc="upper right", ncols=2)
        name = "g(r)" if periodic else "h(r), 1/Å"
        axes.set(ylabel=name, title="Interatomic distances", xlim=_ends(radius_A), ylim=(0, None))
        axes.tick_params(labelbottom=False)
        below.plot(radius_A, student - teacher, color=INK, linewidth=0.9)
        below.set(xlabel="distance, Å", ylabel="difference", xlim=_ends(radius_A))
        grid(axes)
        grid(below)
        caption = (
            f"Distances in the dynamics of student and teacher. They differ by {digits(difference)} of 2; two samples "
            f"of the teacher alone by {digits(noise)}."
        )
        return save(figure, folder, "distances", "Interatomic distances", caption)


def force_error_along(
    folder: Path, time_ps: np.ndarray, mae_meV_per_A: np.ndarray, held_out_mae: float | None
) -> SavedFigure:
    """Teacher's force error on structures the student itself went to.

    Args:
        folder: where the files go.
        time_ps, mae_meV_per_A: (n_frames,).
        held_out_mae: meV/Å on held-out structures of the teacher, for comparison.
    """
    with canvas(height=2.3) as (figure, (axes,)):
        axes.plot(time_ps, mae_meV_per_A, "o-", color=BLUE, markersize=3, linewidth=0.8)
        caption = f"Force MAE along the student's own trajectory: mean {digits(float(np.mean(mae_meV_per_A)))} meV/Å."
        if held_out_mae is not None:
            axes.axhline(held_out_mae, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
            caption += f" Dashed: {digits(held_out_mae)} meV/Å on held-out structures of the teacher's dynamics."
        axes.set(xlabel="time, ps", ylabel="MAE, meV/Å", title="Force error where the student went", ylim=(0, None))
        grid(axes)
        return save(figure, folder, "force_error_along", "Force error along the trajectory", caption)


def _ends(values: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    return (float(values[0]), float(values[-1])) if len(values) > 1 else (None, None)


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{digits(abs(value))}"
