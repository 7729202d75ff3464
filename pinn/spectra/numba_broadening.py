"""Shift and rotational broadening of Fourier coefficients in one pass over memory, on the CPU."""

from __future__ import annotations

import math

import numba
import torch
from torch import Tensor

from pinn.jets.kernels import threads_for
from pinn.jets.numba_cpu import BLOCKS, LOOP
from pinn.spectra.grid import LIGHT
from pinn.spectra.rotation import LOWEST, SPACING

RESTART = 64
"""Frequencies after which the phase is computed afresh: its recurrence loses a bit or two meanwhile."""


def moved_and_broadened(
    coefficients: Tensor,
    shift: Tensor,
    slope: Tensor,
    squared: Tensor,
    wave_numbers: Tensor,
    table: Tensor,
    derivatives: bool,
) -> Tensor:
    """See `pinn.spectra.broadening.moved_and_broadened`; ``shift`` is in ln λ and ``slope`` its derivative by the
    velocity."""
    parts, n, frequencies = coefficients.shape
    out = torch.empty(n, parts + 2 * derivatives, frequencies, dtype=coefficients.dtype)
    arrays = [given.numpy() for given in (coefficients, shift, slope, squared, wave_numbers, table, out)]
    (_shared if threads_for(out.numel()) > 1 else _alone)(*arrays)
    return out


@numba.njit(**LOOP)
def _row(i, coefficients, shift, slope, squared, wave_numbers, table, out):  # type: ignore[no-untyped-def]
    parts, _, frequencies = coefficients.shape
    first, nodes = wave_numbers[1], len(table)
    turn = complex(math.cos(first * shift[i]), -math.sin(first * shift[i]))
    wave = complex(1.0, 0.0)
    for j in range(frequencies):
        k = wave_numbers[j]
        if j % RESTART == 0:
            wave = complex(math.cos(k * shift[i]), -math.sin(k * shift[i]))
        place = (squared[i] * k * k / (LIGHT * LIGHT) - LOWEST) / SPACING
        value = bend = math.nan
        if 0.0 <= place < nodes - 1:
            index = int(place)
            u = place - index
            left, rise, right, ahead = table[index, 0], table[index, 1], table[index + 1, 0], table[index + 1, 1]
            b = 3 * (right - left) - 2 * rise - ahead
            t = 2 * (left - right) + rise + ahead
            value = left + u * (rise + u * (b + u * t))
            bend = (rise + u * (2 * b + 3 * u * t)) / (SPACING * LIGHT * LIGHT)
        factor = value * wave
        for part in range(parts):
            out[i, part, j] = coefficients[part, i, j] * factor
        if out.shape[1] > parts:
            star = out[i, 0, j]
            rate = k * slope[i]
            out[i, parts, j] = complex(star.imag * rate, -star.real * rate)
            out[i, parts + 1, j] = coefficients[0, i, j] * wave * (bend * k * k)
        wave = wave * turn


@numba.njit(**BLOCKS)
def _alone(coefficients, shift, slope, squared, wave_numbers, table, out):  # type: ignore[no-untyped-def]
    for i in range(len(shift)):
        _row(i, coefficients, shift, slope, squared, wave_numbers, table, out)


@numba.njit(parallel=True, **BLOCKS)
def _shared(coefficients, shift, slope, squared, wave_numbers, table, out):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(shift)):
        _row(i, coefficients, shift, slope, squared, wave_numbers, table, out)
