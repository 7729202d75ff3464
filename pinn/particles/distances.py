"""How far two populations are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.draws import interpolated
from training.errors import InputError


def wasserstein(
    first: Tensor, second: Tensor, first_weights: Tensor | None = None, second_weights: Tensor | None = None
) -> float:
    """``∫ |F₁(x) − F₂(x)| dx`` of two sets of particles on a line: how far mass has to be carried.

    Args:
        first, second: (n,) and (m,).
        first_weights, second_weights: of the same lengths, not negative; all equal unless given.

    Raises:
        InputError: if a set is empty, or weights have another length, are negative or all zero.
    """
    places, order = torch.cat([first, second]).double().sort()
    masses = torch.cat([_masses(first, first_weights), -_masses(second, second_weights)])
    gap = masses[order].cumsum(0)[:-1]
    return float((gap.abs() * places.diff()).sum())


def wasserstein_to_quantiles(particles: Tensor, places: Tensor, cumulative: Tensor) -> float:
    """The same between particles and a distribution function that is a straight line between places.

    ``1/n Σ |X_(i) − F⁻¹((i − ½)/n)|`` of the sorted particles.

    Args:
        particles: (n,).
        places: (k,) in order.
        cumulative: (k,) the distribution function there, rising to one.
    """
    n = len(particles)
    ranks = (torch.arange(n, dtype=torch.float64, device=particles.device) + 0.5) / n
    return float((particles.double().sort().values - interpolated(ranks, cumulative, places)).abs().mean())


def _masses(particles: Tensor, weights: Tensor | None) -> Tensor:
    if not len(particles):
        raise InputError("A set of particles is empty.")
    if weights is None:
        return torch.full((len(particles),), 1 / len(particles), dtype=torch.float64, device=particles.device)
    if weights.shape != particles.shape or bool((weights < 0).any()) or not float(weights.sum()) > 0:
        raise InputError("There is one weight per particle, none negative and not all zero.")
    return weights.double() / weights.double().sum()
