"""Loops over particles in one pass on the CPU; the same in torch, for every device, stands beside each call."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

# the order in which numba looks for threads is decided by whoever is imported first; both halves want the same
setattr(numba.config, "THREADING_LAYER_PRIORITY", ["omp", "tbb", "workqueue"])  # noqa: B010 (numba's types lack it)

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True, "fastmath": {"contract", "nsz"}}
_loop = numba.njit(**_OPTIONS)

OPEN, PERIODIC, REFLECTING, ABSORBING = range(4)
"""Walls, in the order of `pinn.particles.walls.KINDS`."""


@_loop
def bin_linear(particles, low, cell, bins):  # type: ignore[no-untyped-def]
    """Add every particle to the two nodes around it, unless it is outside of them."""
    last, inverse = len(bins) - 1, 1 / cell
    for i in range(len(particles)):
        place = (particles[i] - low) * inverse
        if 0 <= place < last:
            node = int(place)
            share = place - node
            bins[node] += 1 - share
            bins[node + 1] += share


@_loop
def bin_quadratic(particles, low, cell, bins):  # type: ignore[no-untyped-def]
    """Add every particle to the three nodes around it, by the weights of a parabola through them."""
    last, inverse = len(bins) - 1.5, 1 / cell
    for i in range(len(particles)):
        place = (particles[i] - low) * inverse
        if 0.5 <= place < last:
            node = int(place + 0.5)
            share = place - node
            square = share * share
            bins[node - 1] += 0.5 * (square - share)
            bins[node] += 1 - square
            bins[node + 1] += 0.5 * (square + share)


@_loop
def sum_kernel(bins, low, cell, points, cells_per_bandwidth, reach, found):  # type: ignore[no-untyped-def]
    """``Σ_j bins[j] exp(−(x − x_j)²/2h²)`` at points, over the nodes within ``reach``.

    With f the distance to the nearest node, the exponent is that of f, of j cells, and of f·j: a number, a table and a
    power.
    """
    table = np.empty(reach + 1)
    for j in range(reach + 1):
        table[j] = math.exp(-0.5 * (j / cells_per_bandwidth) ** 2)
    for i in range(len(points)):
        place = (points[i] - low) / cell
        node = math.floor(place + 0.5)
        share = place - node
        up = math.exp(share / cells_per_bandwidth**2)
        down = 1 / up
        rising = falling = 1.0
        total = bins[node] if 0 <= node < len(bins) else 0.0
        for j in range(1, reach + 1):
            rising *= up
            falling *= down
            higher = bins[node + j] if 0 <= node + j < len(bins) else 0.0
            lower = bins[node - j] if 0 <= node - j < len(bins) else 0.0
            total += table[j] * (higher * rising + lower * falling)
        found[i] = total * math.exp(-0.5 * (share / cells_per_bandwidth) ** 2)


@_loop
def move(places, noise, alive, drift, low, cell, dt, kind, first, second, crossed):  # type: ignore[no-untyped-def]
    """One Euler–Maruyama step of all agents in one dimension, in place.

    Args:
        places: (n,).
        noise: (n,) with its standard deviation; float32 or float64.
        alive: (n,) bool; those that are not stay where they are.
        drift: at equally spaced nodes, continued along straight lines.
        low, cell: the first node and the distance between two.
        dt: of the step.
        kind: of the walls.
        first, second: lower and upper end.
        crossed: (2,) int64, to be added to.
    """
    last, inverse, length = len(drift) - 2, 1 / cell, second - first
    for i in range(len(places)):
        if not alive[i]:
            continue
        place = (places[i] - low) * inverse
        node = min(max(int(place), 0), last)
        x = places[i] + dt * (drift[node] + (place - node) * (drift[node + 1] - drift[node])) + noise[i]
        if kind != OPEN and (x < first or x > second or (kind == PERIODIC and x == second)):
            crossed[0 if x < first else 1] += 1
            if kind == ABSORBING:
                x = first if x < first else second
                alive[i] = False
            elif kind == PERIODIC:
                x -= length * math.floor((x - first) / length)
            else:
                folded = (x - first) % (2 * length)
                x = first + min(folded, 2 * length - folded)
        places[i] = x
