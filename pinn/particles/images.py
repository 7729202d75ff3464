"""Where a kernel is looked at again because of walls: mirror images of the points, and their signs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.particles.walls import OPEN, Walls


def images(points: Tensor, walls: Walls, reach: float) -> list[tuple[float, Tensor]]:
    """Copies of points, so that a density with walls is the sum of the plain kernel sums at them.

    A kernel is even, so the kernels of mirrored particles at a point are those of the particles at the mirrored point.
    A reflecting wall adds what it sends back, an absorbing one takes it away, so that the density is zero there; a
    periodic coordinate adds what comes in on the other side.

    Args:
        points: (m,) between the walls.
        walls: of this coordinate.
        reach: distance beyond which the kernel is nothing.

    Returns:
        Signs and points (m,), the points themselves first.
    """
    found = [(1.0, points)]
    if walls.kind == OPEN.kind:
        return found
    length = walls.high - walls.low
    period = length if walls.kind == "periodic" else 2 * length
    turns = math.ceil(reach / period)
    found += [(1.0, points + turn * period) for turn in range(-turns, turns + 1) if turn]
    if walls.kind != "periodic":
        sign = 1.0 if walls.kind == "reflecting" else -1.0
        found += [(sign, 2 * walls.low - points + turn * period) for turn in range(-turns, turns + 1)]
    return found


def outside(points: Tensor, walls: Walls) -> Tensor:
    """Which points (m,) lie beyond the walls, where there is no density."""
    if walls.kind == OPEN.kind:
        return torch.zeros_like(points, dtype=torch.bool)
    return (points < walls.low) | (points > walls.high)
