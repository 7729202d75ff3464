"""Spectra whose labels are known: from the formula, not the emulator, with noise, masks and a crooked continuum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pinn.spectra.formula import Lines, observed
from pinn.spectra.grid import LogGrid
from pinn.spectra.model import continuum
from pinn.spectra.settings import SurveySettings
from pinn.spectra.training import random_labels

CHUNK = 16
"""Spectra that are drawn together: their tables of lines and pixels stay in the cache."""


@dataclass(frozen=True)
class Survey:
    """B observed spectra and what they were made from.

    Attributes:
        wavelengths: Å, (m,).
        flux, sigma: (B, m).
        mask: (B, m) true where a pixel does not count; it holds nonsense there.
        truth: (B, labels + 2): labels, velocity in km/s, squared rotation in km²/s².
        signal_to_noise: (B,) per pixel at the continuum.
    """

    wavelengths: Tensor
    flux: Tensor
    sigma: Tensor
    mask: Tensor
    truth: Tensor
    signal_to_noise: Tensor


def draw_survey(
    settings: SurveySettings,
    grid: LogGrid,
    lines: Lines,
    terms: int,
    limb: float = 0.6,
    progress: Callable[[int], None] | None = None,
) -> Survey:
    """Draw a survey; equal settings give equal spectra.

    Args:
        settings: how many, of what kind.
        grid, lines: of the formula.
        terms: polynomials of the continuum.
        limb: coefficient of limb darkening.
        progress: called with the number of spectra drawn since the last call.
    """
    n = settings.spectra
    random = torch.Generator().manual_seed(settings.seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=random, dtype=torch.float64)

    labels = random_labels(n, settings.seed, settings.margin)
    velocity = uniform(-settings.velocity, settings.velocity)
    rotation = uniform(*settings.rotation)
    levels = torch.tensor(settings.signal_to_noise, dtype=torch.float64)
    ratio = levels[torch.arange(n) % len(levels)]
    coefficients = settings.continuum * torch.randn(n, terms, generator=random, dtype=torch.float64)
    coefficients[:, 0] = uniform(0.5, 2.0)
    coefficients[:, 1:] *= coefficients[:, :1] / torch.arange(1, terms, dtype=torch.float64)
    shape = coefficients @ continuum(grid, terms)[grid.observed].T
    flux = torch.empty(n, grid.pixels, dtype=torch.float64)
    for rows in torch.arange(n).split(CHUNK):
        at = observed(lines, grid, labels[rows], velocity[rows], rotation[rows], limb)
        flux[rows] = at[:, grid.observed] * shape[rows]
        if progress is not None:
            progress(len(rows))
    sigma = (coefficients[:, :1] / ratio[:, None]).expand_as(flux)
    flux += sigma * torch.randn(flux.shape, generator=random, dtype=torch.float64)
    mask = torch.rand(flux.shape, generator=random, dtype=torch.float64) < settings.masked
    # what bad pixels hold: cosmic rays, and numbers that are none
    flux[mask] = 50.0
    flux[mask & (torch.rand(flux.shape, generator=random) < 0.5)] = torch.nan
    truth = torch.cat([labels, velocity[:, None], rotation[:, None] ** 2], dim=1)
    return Survey(grid.wavelengths()[grid.observed], flux, sigma, mask, truth, ratio)
