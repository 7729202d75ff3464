"""Shift and rotational broadening of Fourier coefficients, with derivatives: in torch, and in one pass of numba."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.spectra import numba_broadening
from pinn.spectra.grid import LIGHT, log_shift
from pinn.spectra.rotation import BroadeningTable


def moved_and_broadened(
    coefficients: Tensor, velocity: Tensor, squared: Tensor, wave_numbers: Tensor, table: Tensor, derivatives: bool
) -> Tensor:
    """``c(k) g(k² s/c²) exp(−ikΔ)``, and its derivatives by whatever c depends on, by the velocity and by s.

    Args:
        coefficients: (parts, n, frequencies) complex: c, and its derivatives.
        velocity: radial, km/s, (n,).
        squared: s, the squared rotation, km²/s², (n,).
        wave_numbers: k, (frequencies,).
        table: of `BroadeningTable`.
        derivatives: whether to give those by velocity and s.

    Returns:
        (n, parts, frequencies), or (n, parts + 2, frequencies).
    """
    if coefficients.device.type == "cpu" and coefficients.dtype == torch.complex128:
        shift, slope = log_shift(velocity)
        return numba_broadening.moved_and_broadened(
            coefficients, shift, slope, squared.contiguous(), wave_numbers, table, derivatives
        )
    return in_torch(coefficients, velocity, squared, wave_numbers, table, derivatives)


def in_torch(
    coefficients: Tensor, velocity: Tensor, squared: Tensor, wave_numbers: Tensor, table: Tensor, derivatives: bool
) -> Tensor:
    """The same in plain torch."""
    shift, slope = log_shift(velocity)
    k2 = (wave_numbers / LIGHT) ** 2
    value, bend = BroadeningTable(table)(squared[:, None] * k2)
    wave = torch.polar(torch.ones_like(value), -shift[:, None] * wave_numbers)
    parts = (coefficients * (value * wave)).transpose(0, 1)
    if not derivatives:
        return parts
    by_velocity = parts[:, :1] * (-1j * slope[:, None] * wave_numbers)[:, None, :]
    by_squared = (coefficients[0] * (bend * k2 * wave))[:, None, :]
    return torch.cat([parts, by_velocity, by_squared], dim=1)
