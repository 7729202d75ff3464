"""From residuals to a density, and from a density to distinct points."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-290
"""Below any density that counts, far enough above zero to divide by."""


def residual_density(residuals: Tensor, k: float, c: float) -> Tensor:
    """``p ∝ |r|^k / mean |r|^k + c`` over candidates, with sum one; constant where every residual is zero.

    Args:
        residuals: (m,) float64, finite.
        k: 0 is uniform; the larger, the more the largest residuals count.
        c: share of a uniform density that is added, in units of the mean.

    Source: Wu et al., "A comprehensive study of non-adaptive and residual-based adaptive sampling for PINNs",
    CMAME 403 (2023) 115671, eq. 2.
    """
    largest = residuals.abs().max()
    if largest == 0:
        return torch.full_like(residuals, 1 / len(residuals))
    # powers of values up to one neither overflow nor lose the ratio
    powers = (residuals.abs() / largest) ** k
    density = powers / powers.mean() + c
    return density / density.sum()


def draw(density: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n distinct candidates, each next one drawn with probability ∝ density among those that are left.

    Candidate i waits for a time E_i / p_i with E_i exponentially distributed; the first n to arrive are drawn.
    Candidates of density zero come last.

    Args:
        density: (m,) with sum one, m ≥ n.
        n: how many.
        generator: source of the m exponential numbers.

    Returns:
        Their rows (n,) int64 in order of arrival, and the probability (n,) of each to be among the n, given the
        arrival of the candidate after them. Divided by it, a value summed over the drawn candidates has the expectation
        of the sum over all candidates; for n ≪ m it is proportional to the density.

    Source: Efraimidis, Spirakis, Information Processing Letters 97 (2006) 181; for the probabilities Cohen, Kaplan,
    "Summarizing data using bottom-k sketches", PODC 2007.
    """
    rates = density.clamp(min=SMALLEST)
    arrivals = torch.empty_like(rates).exponential_(1.0, generator=generator) / rates
    times, order = torch.topk(arrivals, min(n + 1, len(density)), largest=False)
    rows = order[:n]
    if n == len(density):
        return rows, torch.ones(n, dtype=density.dtype)
    return rows, -torch.expm1(-rates[rows] * times[n])
