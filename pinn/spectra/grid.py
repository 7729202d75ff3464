"""Wavelengths with equal steps of their logarithm, on which a velocity is a shift and a rotation a convolution."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from training.errors import InputError

LIGHT = 299792.458
"""Speed of light, km/s."""


@dataclass(frozen=True)
class LogGrid:
    """Pixels from `first` to `last` Å, and as many more on both sides as shifted lines need.

    Everything periodic happens on the whole grid; the padding keeps what leaves at one end from coming back at the
    other.

    Attributes:
        first, last: wavelengths of the observed range, Å.
        pixels: in the observed range.
        padding: pixels on each side of it.
    """

    first: float
    last: float
    pixels: int
    padding: int

    def __post_init__(self) -> None:
        if not (0 < self.first < self.last and self.pixels >= 16 and self.padding >= 0):
            raise InputError(
                f"A grid runs from a positive wavelength to a larger one in at least 16 pixels; got {self.first} to "
                f"{self.last} Å in {self.pixels} pixels with {self.padding} of padding."
            )

    @property
    def size(self) -> int:
        """Pixels of the whole grid."""
        return self.pixels + 2 * self.padding

    @property
    def step(self) -> float:
        """Difference of ln λ between neighbours."""
        return math.log(self.last / self.first) / (self.pixels - 1)

    @property
    def kms_per_pixel(self) -> float:
        """The same as a velocity, km/s."""
        return LIGHT * self.step

    @property
    def observed(self) -> slice:
        """The observed pixels of the whole grid."""
        return slice(self.padding, self.padding + self.pixels)

    def log_wavelengths(self) -> Tensor:
        """ln(λ/Å) of the whole grid, (size,) float64."""
        return math.log(self.first) + self.step * (torch.arange(self.size, dtype=torch.float64) - self.padding)

    def wavelengths(self) -> Tensor:
        """Å, of the whole grid, (size,) float64."""
        return self.log_wavelengths().exp()

    def wave_numbers(self) -> Tensor:
        """Of the discrete Fourier transform in ln λ, (size // 2 + 1,): radians per unit of ln λ."""
        return 2 * math.pi * torch.arange(self.size // 2 + 1, dtype=torch.float64) / (self.size * self.step)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def log_shift(velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Shift of ln λ by a radial velocity in km/s, positive where receding, and its derivative: ``artanh(v/c)``."""
    beta = velocity / LIGHT
    return torch.atanh(beta), 1 / (LIGHT * (1 - beta * beta))
