"""The spectrum of a moving, rotating star from an emulator, with derivatives by all parameters.

Shift and rotation are products in Fourier space, and so is the emulator's last layer: its weights are transformed once,
and the network writes Fourier coefficients. One matrix product, one multiplication and one inverse transform then give
values and derivatives of a whole batch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pinn.spectra.broadening import moved_and_broadened
from pinn.spectra.emulator import Emulator
from pinn.spectra.grid import LIGHT, LogGrid
from pinn.spectra.rotation import BroadeningTable
from training.errors import InputError

HIGHEST_ROTATION = 300.0
"""km/s that the broadening knows."""


class SpectrumModel(nn.Module):
    """Labels, radial velocity (km/s) and squared rotation (km²/s²) to the flux at every pixel.

    Args:
        emulator: of the star at rest.
        wavelengths: Å at which the flux is wanted, (m,); None: the emulator's own grid, padding included, which is
            faster.
        limb: coefficient of limb darkening.

    Attributes:
        names: of the parameters.
        lowest_rotation_squared: below it the broadening is not defined.

    Raises:
        InputError: if a wavelength is outside the emulator's range.
    """

    weight: Tensor
    bias: Tensor
    wave_numbers: Tensor
    table: Tensor
    synthesis: Tensor | None

    def __init__(self, emulator: Emulator, wavelengths: Tensor | None = None, limb: float = 0.6) -> None:
        super().__init__()
        self.emulator = emulator
        grid = emulator.grid
        self.names = (*emulator.labels, "velocity", "rotation_squared")
        self.work = f"SpectrumModel {emulator.network.architecture()['width']} wide"
        waves = grid.wave_numbers()
        last = emulator.last
        # (2 frequencies, width): real and imaginary parts in turn, as complex numbers lie in memory
        columns = torch.view_as_real(torch.fft.rfft(last.weight.detach().double(), dim=0))
        self.register_buffer("weight", columns.transpose(1, 2).reshape(-1, last.in_features).contiguous())
        self.register_buffer("bias", torch.view_as_real(torch.fft.rfft(last.bias.detach().double())).reshape(-1))
        self.register_buffer("wave_numbers", waves)
        table = BroadeningTable.up_to(float((waves[-1] * HIGHEST_ROTATION / LIGHT) ** 2), limb)
        self.register_buffer("table", table.values)
        self.lowest_rotation_squared = -15.0 * (LIGHT / float(waves[-1])) ** 2
        self.register_buffer("synthesis", None if wavelengths is None else _synthesis(grid, wavelengths))

    def forward(self, parameters: Tensor) -> Tensor:
        """Flux (n, m) at parameters (n, p)."""
        return self._spectra(parameters, derivatives=False)[:, 0]

    @torch.no_grad()
    def linearise(self, parameters: Tensor) -> Tensor:
        """(n, 1 + p, m): the flux, then its derivative by each parameter."""
        return self._spectra(parameters, derivatives=True)

    def _spectra(self, parameters: Tensor, derivatives: bool) -> Tensor:
        n, labels = len(parameters), len(self.emulator.labels)
        hidden = self.emulator.hidden(parameters[:, :labels], derivatives)
        parts = hidden.shape[0]
        rows = torch.mm(hidden.reshape(parts * n, -1), self.weight.T)
        rows[:n] += self.bias
        coefficients = torch.view_as_complex(rows.view(parts, n, -1, 2))
        moved = moved_and_broadened(
            coefficients, parameters[:, labels], parameters[:, labels + 1], self.wave_numbers, self.table, derivatives
        )
        if self.synthesis is None:
            return torch.fft.irfft(moved, self.emulator.grid.size)
        return torch.view_as_real(moved).flatten(2) @ self.synthesis

    def extra_repr(self) -> str:
        return ", ".join(self.names)


def _synthesis(grid: LogGrid, wavelengths: Tensor) -> Tensor:
    """The matrix (2 frequencies, m) from Fourier coefficients to the flux at any wavelengths: exact for what the grid
    can hold."""
    x = wavelengths.double().log() - grid.log_wavelengths()[0]
    if not bool(((x >= 0) & (x <= grid.step * (grid.size - 1))).all()):
        ends = grid.wavelengths()
        raise InputError(
            f"The emulator knows wavelengths from {ends[0]:.2f} to {ends[-1]:.2f} Å; asked for "
            f"{wavelengths.min():.2f} to {wavelengths.max():.2f}."
        )
    phase = grid.wave_numbers()[:, None] * x
    twice = torch.full((len(phase), 1), 2.0 / grid.size, dtype=torch.float64)
    twice[0] = 1 / grid.size
    if grid.size % 2 == 0:
        twice[-1] = 1 / grid.size
    return torch.stack([twice * torch.cos(phase), -twice * torch.sin(phase)], dim=1).reshape(-1, len(x))


def continuum(grid: LogGrid, terms: int, wavelengths: Tensor | None = None) -> Tensor:
    """Legendre polynomials of ln λ, (m, terms), orthogonal over the observed range, on the grid or at wavelengths."""
    x = grid.log_wavelengths() if wavelengths is None else wavelengths.double().log()
    low, high = math.log(grid.first), math.log(grid.last)
    scaled = 2 * (x - low) / (high - low) - 1
    columns = [torch.ones_like(scaled), scaled]
    for degree in range(1, terms - 1):
        columns.append(((2 * degree + 1) * scaled * columns[-1] - degree * columns[-2]) / (degree + 1))
    return torch.stack(columns[:terms], dim=1)


def rotation_of(squared: Any, error: Any) -> tuple[Any, Any]:
    """v sin i in km/s and its standard error from its square and the square's error; 0 below zero.

    The error is where the square one error higher lies, so that it stays finite at v sin i = 0.
    """
    value = squared.clamp(min=0).sqrt()
    return value, (squared.clamp(min=0) + error).sqrt() - value
