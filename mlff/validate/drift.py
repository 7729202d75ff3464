"""Slope of a fluctuating total energy, with a standard error that knows of its correlations in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK_COUNTS = (10, 20, 40)
"""Numbers of blocks tried; few long blocks see slow correlations, many short ones have more statistics."""


@dataclass(frozen=True)
class Drift:
    """Straight line through an energy: ``energy ≈ start + slope · time``.

    Attributes:
        slope: energy per time.
        standard_error: of the slope.
        start: the line at time zero.
        fluctuation: standard deviation about the line.
        largest_excursion: largest distance from the first value.
    """

    slope: float
    standard_error: float
    start: float
    fluctuation: float
    largest_excursion: float


def fit_drift(time: np.ndarray, energy: np.ndarray) -> Drift:
    """Least-squares line through an energy.

    The noise of a total energy is correlated (it follows the vibrations), so the textbook error of the slope is far too
    small. The series is cut into equal blocks; block means are nearly independent once blocks are longer than the
    correlation time, and the textbook error of a line through them holds. The largest error over several numbers of
    blocks is taken.

    Args:
        time: (n_samples,), evenly spaced.
        energy: (n_samples,), in any unit.

    Raises:
        ValueError: with fewer than 20 samples.

    Source: H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989), for block means.
    """
    if len(time) < 20:
        raise ValueError(f"A drift with an error needs at least 20 samples; got {len(time)}.")
    slope, start = _line(time, energy)
    errors = [_slope_error_of_block_means(time, energy, blocks) for blocks in BLOCK_COUNTS if len(time) >= 2 * blocks]
    return Drift(
        slope=slope,
        standard_error=max(errors),
        start=start,
        fluctuation=float(np.std(energy - start - slope * time)),
        largest_excursion=float(np.abs(energy - energy[0]).max()),
    )


def _line(time: np.ndarray, energy: np.ndarray) -> tuple[float, float]:
    """Slope and value at time zero; means are taken off first, because a total energy has many leading digits."""
    centre, mean = time.mean(), energy.mean()
    away = time - centre
    slope = float(away @ (energy - mean) / (away @ away))
    return slope, float(mean - slope * centre)


def _slope_error_of_block_means(time: np.ndarray, energy: np.ndarray, blocks: int) -> float:
    length = len(time) // blocks
    used = blocks * length
    block_time = time[:used].reshape(blocks, length).mean(axis=1)
    block_energy = energy[:used].reshape(blocks, length).mean(axis=1)
    slope, start = _line(block_time, block_energy)
    residual = block_energy - start - slope * block_time
    away = block_time - block_time.mean()
    return float(np.sqrt(residual @ residual / (blocks - 2) / (away @ away)))
