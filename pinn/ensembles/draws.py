"""Uniform random numbers for paths: plain ones, or a scrambled Sobol sequence that fills the cube evenly."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from training.errors import ConfigurationError

Kind = Literal["plain", "sobol"]

SMALLEST = 2.0**-53
"""Numbers are kept this far from 0 and 1, whose normal quantiles are infinite."""


def uniforms(kind: Kind, members: int, steps: int, per_step: int, seed: int) -> np.ndarray:
    """Numbers between 0 and 1 (members, steps, per_step); a row is one path.

    Args:
        kind: plain or sobol; a Sobol point has one coordinate for every number of a path, in the order of time.
        members: paths.
        steps: of each.
        per_step: numbers that a step needs.
        seed: of the generator, or of the scrambling.

    Raises:
        ConfigurationError: if a path needs more numbers than a Sobol point has coordinates.
    """
    if kind == "plain":
        numbers = np.random.default_rng(seed).random((members, steps * per_step))
    else:
        if steps * per_step > qmc.Sobol.MAXDIM:
            raise ConfigurationError(
                f"A Sobol point has at most {qmc.Sobol.MAXDIM} coordinates, and {steps} steps need {steps * per_step}; "
                "take fewer steps or plain draws."
            )
        # the first points of the next power of two, which are balanced as far as their number allows
        sequence = qmc.Sobol(steps * per_step, scramble=True, rng=seed)
        numbers = sequence.random_base2((members - 1).bit_length())[:members]
    return np.clip(numbers, SMALLEST, 1 - SMALLEST).reshape(members, steps, per_step)


def normals(numbers: np.ndarray) -> np.ndarray:
    """Standard normal numbers by inversion, which keeps the evenness of a Sobol sequence."""
    return ndtri(numbers)
