"""Rules of thumb for the width of a kernel, in the units of the particles."""

from __future__ import annotations

import torch
from torch import Tensor

from training.errors import InputError


def scott(particles: Tensor) -> Tensor:
    """``s n^(−1/(d + 4))`` with the standard deviation s of each coordinate: (d,); () for particles (n,).

    In one dimension this is what ``scipy.stats.gaussian_kde`` takes by itself.

    Raises:
        InputError: if there are fewer than two particles.

    Source: D. W. Scott, "Multivariate density estimation", Wiley 1992.
    """
    return _deviation(particles) * len(particles) ** (-1 / (_dimension(particles) + 4))


def silverman(particles: Tensor) -> Tensor:
    """``s (n (d + 2)/4)^(−1/(d + 4))``: as `scott`.

    Source: B. W. Silverman, "Density estimation for statistics and data analysis", Chapman & Hall 1986.
    """
    d = _dimension(particles)
    return _deviation(particles) * (len(particles) * (d + 2) / 4) ** (-1 / (d + 4))


def _dimension(particles: Tensor) -> int:
    return 1 if particles.ndim == 1 else particles.shape[1]


def _deviation(particles: Tensor) -> Tensor:
    if len(particles) < 2:
        raise InputError(f"A bandwidth is estimated from two particles or more; got {len(particles)}.")
    return particles.to(torch.float64).std(0)
