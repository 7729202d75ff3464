"""Labels, radial velocity and rotation of many spectra at once, with an emulator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pinn.fitting.fit import batched_fit
from pinn.fitting.result import FitResult
from pinn.fitting.starts import Candidates
from pinn.spectra.emulator import Emulator
from pinn.spectra.grid import LogGrid
from pinn.spectra.model import SpectrumModel, continuum
from pinn.spectra.settings import FittingSettings
from training.errors import InputError
from training.optimizers.batched_least_squares import Stopping

SAME_PIXEL = 1e-3
"""Of a pixel: wavelengths closer to the grid than this are its own; 0.05 km/s in the default grid."""


def fit_spectra(
    emulator: Emulator,
    wavelengths: Tensor,
    flux: Tensor,
    sigma: Tensor,
    mask: Tensor | None,
    settings: FittingSettings,
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> FitResult:
    """Fit every spectrum: labels, velocity (km/s), squared rotation (km²/s²), and the continuum as linear terms.

    Args:
        emulator: of the stars at rest.
        wavelengths: Å, (m,), the same for all; on the emulator's grid fits are several times faster.
        flux, sigma: (B, m).
        mask: (B, m) true where a pixel does not count.
        settings: bounds, starts, when to stop.
        device, progress, say: see `batched_fit`.

    Raises:
        InputError: if wavelengths are outside the emulator's range, or shapes do not fit.
    """
    if wavelengths.ndim != 1 or flux.ndim != 2 or flux.shape[1] != len(wavelengths):
        raise InputError(
            f"Spectra (B, m) on wavelengths (m,); got {tuple(flux.shape)} on {tuple(wavelengths.shape)}. Spectra on "
            "different wavelengths are fitted in several calls."
        )
    places = pixels_of(emulator.grid, wavelengths)
    if places is None:
        model = SpectrumModel(emulator, wavelengths, settings.limb_darkening)
        basis = continuum(emulator.grid, settings.continuum, wavelengths)
    else:
        model = SpectrumModel(emulator, None, settings.limb_darkening)
        basis = continuum(emulator.grid, settings.continuum)
        flux, sigma, mask = on_grid(emulator.grid, places, flux, sigma, mask)
    lower, upper = bounds(emulator, model, settings)
    return batched_fit(
        model, flux, sigma, mask, starts(emulator, settings), (lower, upper), linear_basis=basis, device=device,
        names=model.names, progress=progress, say=say,
        stopping=Stopping(tolerance=settings.tolerance, max_iterations=settings.max_iterations),
    )  # fmt: skip


def pixels_of(grid: LogGrid, wavelengths: Tensor) -> Tensor | None:
    """Which pixels of the grid the wavelengths are, (m,); None if they are not all the centres of different ones."""
    place = (wavelengths.double().log() - grid.log_wavelengths()[0]) / grid.step
    nearest = place.round()
    known = (place - nearest).abs().max() < SAME_PIXEL and nearest.min() >= 0 and nearest.max() < grid.size
    if not bool(known) or len(nearest.unique()) < len(nearest):
        return None
    return nearest.long()


def on_grid(
    grid: LogGrid, places: Tensor, flux: Tensor, sigma: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Flux, errors and mask on all pixels of the grid; those without a datum are masked."""
    whole = flux.new_zeros(len(flux), grid.size)
    whole[:, places] = flux
    errors = torch.ones_like(whole)
    errors[:, places] = sigma.to(whole.dtype).expand_as(flux)
    masked = torch.ones(whole.shape, dtype=torch.bool)
    masked[:, places] = False if mask is None else mask.bool().expand_as(flux)
    return whole, errors, masked


def bounds(emulator: Emulator, model: SpectrumModel, settings: FittingSettings) -> tuple[Tensor, Tensor]:
    """Lowest and highest parameters (p,): the labels that were learned, and what the broadening can express."""
    low, high = emulator.ranges.T
    more = torch.tensor(
        [[-settings.velocity, model.lowest_rotation_squared], [settings.velocity, settings.rotation**2]],
        dtype=torch.float64,
    )
    return torch.cat([low, more[0]]), torch.cat([high, more[1]])


def starts(emulator: Emulator, settings: FittingSettings) -> Candidates:
    """A grid over labels, velocity and rotation at which every fit is tried.

    Raises:
        InputError: if the settings have not one number for each label.
    """
    if len(settings.start_labels) != len(emulator.labels):
        raise InputError(
            f"fitting.start_labels has {len(settings.start_labels)} numbers for the {len(emulator.labels)} labels "
            f"{', '.join(emulator.labels)}."
        )
    axes = [
        low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        for (low, high), count in zip(emulator.ranges.tolist(), settings.start_labels, strict=True)
    ]
    half = int(settings.start_velocity / settings.start_velocity_step)
    axes.append(settings.start_velocity_step * torch.arange(-half, half + 1, dtype=torch.float64))
    axes.append(torch.tensor(settings.start_rotations, dtype=torch.float64) ** 2)
    return Candidates(torch.cartesian_prod(*axes), settings.keep_starts)
