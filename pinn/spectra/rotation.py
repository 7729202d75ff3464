"""The rotational broadening of a spectrum in Fourier space, as a function of the squared velocity.

The profile of a rotating, limb-darkened disc is even in v sin i, and its Fourier transform at the wave number k is an
entire function of ``q = k² (v sin i)²/c²``:

``g(q) = [2π(1 − ε) J₁(z)/z + 2πε (sin z − z cos z)/z³] / π(1 − ε/3)`` with ``z = √q``.

So ``(v sin i)²`` is the parameter that data determine linearly: its derivative does not vanish at zero, and values a
little below zero, where noise makes lines narrower than those of a star at rest, mean what they say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import j1, jv
from torch import Tensor

LOWEST = -16.0
"""Smallest q of the table."""

SPACING = 1 / 32
"""Of its nodes; cubic interpolation is then exact to 1e-12."""

SERIES_UP_TO = 16.0
"""Where the power series gives way to the closed form, which cancels at small z."""


@dataclass(frozen=True)
class BroadeningTable:
    """g and its derivative at equal steps of q from `LOWEST` on, for cubic Hermite interpolation.

    Attributes:
        values: (nodes, 2) g and ``SPACING · dg/dq``.
    """

    values: Tensor

    @classmethod
    def up_to(cls, highest: float, limb: float = 0.6) -> BroadeningTable:
        """A table for q up to ``highest``, with the coefficient ε of limb darkening."""
        nodes = int(np.ceil((highest - LOWEST) / SPACING)) + 2
        q = LOWEST + SPACING * np.arange(nodes)
        value, slope = profile_transform(q, limb)
        return cls(torch.from_numpy(np.stack([value, SPACING * slope], axis=1)))

    @property
    def highest(self) -> float:
        """Largest q of the table."""
        return LOWEST + SPACING * (len(self.values) - 1)

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """g and dg/dq; not a number outside of the table."""
        place = (q - LOWEST) / SPACING
        inside = (place >= 0) & (place < len(self.values) - 1)
        index = torch.where(inside, place, 0.0).long()
        u = place - index
        (left, rise), (right, ahead) = self.values[index].unbind(-1), self.values[index + 1].unbind(-1)
        bend = 3 * (right - left) - 2 * rise - ahead
        twist = 2 * (left - right) + rise + ahead
        value = left + u * (rise + u * (bend + u * twist))
        slope = (rise + u * (2 * bend + 3 * u * twist)) / SPACING
        return torch.where(inside, value, torch.nan), torch.where(inside, slope, torch.nan)

    def to(self, device: torch.device | str) -> BroadeningTable:
        return BroadeningTable(self.values.to(device))


def profile_transform(q: np.ndarray, limb: float) -> tuple[np.ndarray, np.ndarray]:
    """g and dg/dq at q ≥ `LOWEST`, float64."""
    bessel, d_bessel, sine, d_sine = (np.empty_like(q) for _ in range(4))
    small = q < SERIES_UP_TO
    bessel[small], d_bessel[small], sine[small], d_sine[small] = _series(q[small])
    z = np.sqrt(q[~small])
    bessel[~small] = j1(z) / z
    d_bessel[~small] = -jv(2, z) / (2 * z**2)
    sine[~small] = (np.sin(z) - z * np.cos(z)) / z**3
    d_sine[~small] = (z**2 * np.sin(z) - 3 * np.sin(z) + 3 * z * np.cos(z)) / (2 * z**5)
    first, second = 2 * (1 - limb) / (1 - limb / 3), 2 * limb / (1 - limb / 3)
    return first * bessel + second * sine, first * d_bessel + second * d_sine


def _series(q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``J₁(z)/z = Σ (−q/4)ᵐ / 2 m!(m+1)!`` and ``(sin z − z cos z)/z³ = Σ (−q)ᵐ (2m+2)/(2m+3)!``, with derivatives."""
    bessel, d_bessel, sine, d_sine = (np.zeros_like(q) for _ in range(4))
    power, before = np.ones_like(q), np.zeros_like(q)
    b, s = 0.5, 1 / 3
    for m in range(40):
        bessel += b * power
        sine += s * power
        d_bessel += m * b * before
        d_sine += m * s * before
        before, power = power, power * q
        b *= -0.25 / ((m + 1) * (m + 2))
        s *= -(2 * m + 4) / (2 * m + 2) / ((2 * m + 4) * (2 * m + 5))
    return bessel, d_bessel, sine, d_sine
