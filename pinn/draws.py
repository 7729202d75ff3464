"""Independent places from a density that is known by its logarithm."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pinn.geometry.box import Box

NODES = 4001
"""Of a line, for the distribution function."""

CANDIDATES = 16
"""Places per draw, in two and more dimensions, among which the first are chosen by their weights."""

MOVES = 100
"""Steps of each draw's own Markov chain after that."""


def draw(log_density: Callable[[Tensor], Tensor], box: Box, n: int, generator: torch.Generator) -> Tensor:
    """Places with a density inside a box: (n, d) float64.

    On a line by the inverse of the distribution function. In more dimensions places are chosen among points of the box
    with weights and then walk by Metropolis' rule, which leaves the density as it is and parts those that were chosen
    twice; in many dimensions, where few points of a box have weight, a formula of one's own is better.

    Args:
        log_density: of places (k, d), up to a constant: (k,).
        box: where the density is.
        n: how many.
        generator: the only source of randomness.
    """
    if len(box.coordinates) == 1:
        nodes = torch.linspace(*box.bounds[box.coordinates[0]], NODES, dtype=torch.float64)
        density = torch.exp(log_density(nodes[:, None]))
        cumulative = torch.cat([nodes.new_zeros(1), torch.cumulative_trapezoid(density, nodes)])
        unit = torch.rand(n, dtype=torch.float64, generator=generator)
        return interpolated(unit, cumulative / cumulative[-1], nodes)[:, None]
    return _walked(log_density, box, n, generator)


def interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The function through (x, y), straight between them and constant beyond: (n,) at points (n,).

    Args:
        at: (n,).
        x: (k,) not falling.
        y: (k,).
    """
    right = torch.searchsorted(x.contiguous(), at).clamp(1, len(x) - 1)
    width = x[right] - x[right - 1]
    share = ((at - x[right - 1]) / torch.where(width > 0, width, 1.0)).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)


def _walked(log_density: Callable[[Tensor], Tensor], box: Box, n: int, generator: torch.Generator) -> Tensor:
    # Sobol points of a uniform box, so that every weight is the density
    plain = Box("", **box.bounds)
    candidates = plain.sample(CANDIDATES * n, generator, "sobol")
    logs = log_density(candidates)
    weights = torch.exp(logs - logs.max())
    unit = (torch.arange(n, dtype=torch.float64) + torch.rand(n, dtype=torch.float64, generator=generator)) / n
    cumulative = (weights / weights.sum()).cumsum(0)
    rows = torch.searchsorted(cumulative, unit).clamp(max=len(candidates) - 1)
    places, logs = candidates[rows], logs[rows]
    step = places.std(0) * 2.4 / len(box.coordinates) ** 0.5
    for _ in range(MOVES):
        tried = places + step * torch.randn(places.shape, dtype=torch.float64, generator=generator)
        tried_logs = torch.where(box.contains(tried), log_density(tried), -torch.inf)
        chance = torch.rand(n, dtype=torch.float64, generator=generator).log()
        taken = chance < tried_logs - logs
        places, logs = torch.where(taken[:, None], tried, places), torch.where(taken, tried_logs, logs)
    return places
