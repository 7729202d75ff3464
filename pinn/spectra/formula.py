"""A stellar atmosphere for tests of emulators and fits: absorption lines whose depth and width follow three labels.

``S(x) = 1 − Σ dᵢ exp(−(x − xᵢ)² / 2wᵢ²)`` with ``x = ln λ``. With the labels scaled to [−1, 1], τ (temperature), γ
(surface gravity) and φ (iron),

``dᵢ = D sᵢ/(1 + sᵢ)``, ``sᵢ = exp(aᵢ + bᵢτ + cᵢγ + eᵢφ + hᵢτ²)``: weak lines grow with their strength, strong ones
saturate;
``wᵢ = W (1 + 0.25 (1 + tanh(aᵢ + cᵢγ)) (1 + 0.4γ) + 0.1τ)``: strong lines grow wings with pressure.

No star: the constants are drawn from a seed. But it is known at every wavelength, so that what an emulator and a fit
make of it is compared with the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinn.spectra.grid import LIGHT, LogGrid, log_shift

LABELS = ("temperature", "gravity", "iron")
UNITS = ("K", "log g", "[Fe/H]")
RANGES = ((4500.0, 7000.0), (3.0, 5.0), (-1.0, 0.5))
"""Lowest and highest value of each label."""

WINGS = 6.0
"""Widths from its centre beyond which a line is zero: exp(−18)."""

NODES = 20
"""Of the quadrature over the star's disc; with twice as many, no pixel changes by more than 1e-6 up to 300 km/s."""


@dataclass(frozen=True)
class Lines:
    """The line list.

    Attributes:
        centre: ln(λ/Å), (lines,).
        strength: a, b, c, e, h of the module's formula, (5, lines).
        depth: D, of a saturated line.
        width: W in ln λ.
    """

    centre: Tensor
    strength: Tensor
    depth: float
    width: float

    @classmethod
    def drawn(cls, grid: LogGrid, count: int = 90, seed: int = 0, width_pixels: float = 1.8) -> Lines:
        """Lines at random places of the observed range, one in each of ``count`` equal parts."""
        random = np.random.default_rng(seed)
        low, high = math.log(grid.first), math.log(grid.last)
        centre = low + (high - low) * (np.arange(count) + random.uniform(0.1, 0.9, count)) / count
        scales = np.array([0.9, 0.9, 0.35, 0.6, 0.25])
        strength = random.normal(size=(5, count)) * scales[:, None]
        strength[0] -= 0.6
        strength[3] = np.abs(strength[3]) + 0.2
        return cls(torch.from_numpy(centre), torch.from_numpy(strength), 0.75, width_pixels * grid.step)

    def at(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Depths and widths (n, lines) at labels (n, 3)."""
        low, high = torch.tensor(RANGES, dtype=torch.float64).T
        tau, gamma, phi = (2 * (labels - low) / (high - low) - 1).T[:, :, None]
        a, b, c, e, h = self.strength
        strength = torch.exp(a + b * tau + c * gamma + e * phi + h * tau * tau)
        depth = self.depth * strength / (1 + strength)
        wings = 0.25 * (1 + torch.tanh(a + c * gamma)) * (1 + 0.4 * gamma)
        return depth, self.width * (1 + wings + 0.1 * tau)


def templates(lines: Lines, grid: LogGrid, labels: Tensor) -> Tensor:
    """Spectra at rest without rotation on the whole grid, (n, grid.size), for labels (n, 3)."""
    zero = labels.new_zeros(len(labels))
    return _summed(lines, grid, labels, zero[:, None], labels.new_ones(1))


def observed(
    lines: Lines, grid: LogGrid, labels: Tensor, velocity: Tensor, rotation: Tensor, limb: float = 0.6
) -> Tensor:
    """Spectra of moving, rotating stars, from the formula by quadrature over the disc.

    A strip of the disc at y in (−1, 1) moves with ``y·rotation`` and has the share ``[2(1 − ε)√(1 − y²) + (πε/2)(1 −
    y²)] / π(1 − ε/3)`` of the light.

    Args:
        labels: (n, 3).
        velocity: radial, km/s, (n,).
        rotation: v sin i, km/s, (n,).
        limb: ε, the linear law's coefficient of limb darkening.

    Returns:
        (n, grid.size).

    Source: D. F. Gray, "The Observation and Analysis of Stellar Photospheres", 3rd ed., eq. 18.14.
    """
    # y = cos θ takes the square root out of the integrand, so the midpoint rule converges like a Fourier series
    angle = (torch.arange(NODES, dtype=torch.float64) + 0.5) * (math.pi / NODES)
    y, sine = torch.cos(angle), torch.sin(angle)
    share = (2 * (1 - limb) * sine + 0.5 * math.pi * limb * sine**2) * sine
    share = share / share.sum()
    shifts = log_shift(velocity)[0][:, None] + rotation[:, None] * y / LIGHT
    return _summed(lines, grid, labels, shifts, share)


def _summed(lines: Lines, grid: LogGrid, labels: Tensor, shifts: Tensor, share: Tensor) -> Tensor:
    """``1 −`` the lines, each moved by every shift (n, nodes) and weighted with its share (nodes,)."""
    depth, width = lines.at(labels)
    n, nodes = shifts.shape
    x = grid.log_wavelengths()
    mean = shifts.mean(1, keepdim=True)
    reach = math.ceil((WINGS * float(width.max()) + float((shifts - mean).abs().max())) / grid.step) + 1
    centre = lines.centre + mean
    middle = ((centre - x[0]) / grid.step).round().long()
    window = torch.arange(-reach, reach + 1)
    flux = torch.zeros(n, grid.size + 2 * reach, dtype=torch.float64)
    off = middle[:, :, None] + window
    distance = x[0] + off.double() * grid.step - lines.centre[:, None]
    absorbed = torch.zeros_like(distance)
    for node in range(nodes):
        scaled = (distance - shifts[:, node, None, None]) / width[:, :, None]
        absorbed += share[node] * torch.exp(-0.5 * scaled * scaled)
    absorbed *= depth[:, :, None]
    place = (off + reach).clamp(0, flux.shape[1] - 1)
    absorbed[(off + reach) != place] = 0.0
    flux.scatter_add_(1, place.reshape(n, -1), absorbed.reshape(n, -1))
    return 1 - flux[:, reach : reach + grid.size]
