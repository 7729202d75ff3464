"""Densities and agents against scipy and numpy, called in turn on the same numbers.

    python benchmarks/particles.py [--seconds 3] [--threads 1] [--particles 100000] [--output FILE]

Three questions: what the density of particles on 100 points costs beside ``scipy.stats.gaussian_kde`` with the same
bandwidth; for how few particles that is still worth it; and what a whole solver costs, 50 Euler–Maruyama steps of all
agents in a drift that is looked up, reflecting walls, and a density on 100 points after every step. The other solver
does the same with ``numpy.interp``, numpy's generator and scipy's kernels. Medians and quartiles of milliseconds.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_file import RESULTS, asked, keep
from scipy.stats import gaussian_kde

from pinn.particles.agents import Agents
from pinn.particles.bandwidth import scott
from pinn.particles.density import density, kernel_sum
from pinn.particles.table import DriftTable
from pinn.particles.walls import Walls

POINTS = 100
STEPS = 50
NOISE = 0.5
WALL = 3.0
NODES = 2001
LEAST = 3
"""Calls of each, however long they take."""

FEW = (30, 100, 200, 500, 1000, 10_000)


def alternating(actions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, dict[str, Any]]:
    """Milliseconds of each action, called in turn so that all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < LEAST:
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            times[name].append((time.perf_counter() - start) * 1e3)
    found = {}
    for name, some in times.items():
        low, middle, high = statistics.quantiles(some, n=4)
        found[name] = {"median_ms": middle, "quartiles_ms": [low, high], "least_ms": min(some), "calls": len(some)}
    return found


def of_density(particles: int, seconds: float) -> dict[str, Any]:
    """One density, both ways, bandwidth by Scott's rule included; and the error against every kernel one by one."""
    sample = np.random.default_rng(0).normal(size=particles)
    at = np.linspace(sample.min(), sample.max(), POINTS)
    mine, places = torch.from_numpy(sample), torch.from_numpy(at)
    exact = kernel_sum(mine, places, scott(mine))
    actions = {
        "limbeck": lambda: density(mine, places, scott(mine)),
        "scipy": lambda: gaussian_kde(sample)(at),
    }
    results = {name: torch.as_tensor(action()) for name, action in actions.items()}
    times = alternating(actions, seconds)
    return {
        "particles": particles,
        "points": POINTS,
        "largest_relative_error": float((results["limbeck"] / exact - 1).abs().max()),
        "largest_relative_error_of_scipy": float((results["scipy"] / exact - 1).abs().max()),
        **times,
        "ratio_of_medians": times["scipy"]["median_ms"] / times["limbeck"]["median_ms"],
    }


def drift(x: Any, t: float) -> Any:
    """Towards the origin, and around it in time."""
    return -x + math.sin(2 * math.pi * t) * (1 - x**2 / 10)


def mine(particles: int, table: DriftTable, places: torch.Tensor, seed: int) -> torch.Tensor:
    """The whole solver: densities (steps, points)."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.empty(particles, dtype=torch.float64).normal_(generator=generator)
    walls = Walls("reflecting", -WALL, WALL)
    agents = Agents(start.clamp_(-WALL, WALL), table, NOISE, generator, walls)
    return torch.stack(
        [density(agents.places, places, scott(agents.places)[0], walls) for _ in agents.snapshots(0.0, 1.0, STEPS, 1)]
    )


def theirs(particles: int, nodes: np.ndarray, table: np.ndarray, places: np.ndarray, seed: int) -> np.ndarray:
    """The same with numpy and scipy."""
    generator = np.random.default_rng(seed)
    x = np.clip(generator.normal(size=particles), -WALL, WALL)
    dt = 1.0 / STEPS
    mirrored = np.concatenate([places, -2 * WALL - places, 2 * WALL - places])
    found = []
    for step in range(STEPS):
        x = x + dt * np.interp(x, nodes, table[step]) + NOISE * math.sqrt(dt) * generator.normal(size=particles)
        x = WALL - np.abs((x + WALL) % (4 * WALL) - 2 * WALL)
        # a wall matters within a few bandwidths only, so that three times the points are not needed everywhere
        near = np.concatenate([np.ones(POINTS, bool), (np.abs(mirrored[POINTS:]) < WALL + 1.0)])
        values = np.zeros(3 * POINTS)
        values[near] = gaussian_kde(x)(mirrored[near])
        found.append(values.reshape(3, POINTS).sum(0))
    return np.stack(found)


def of_solver(particles: int, seconds: float) -> dict[str, Any]:
    """Fifty steps, both ways."""
    times = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    table = DriftTable.of(drift, times, -WALL, WALL, NODES)
    places = torch.linspace(-WALL, WALL, POINTS, dtype=torch.float64)
    nodes = np.linspace(-WALL, WALL, NODES)
    values = table.values.numpy()
    actions = {
        "limbeck": lambda: mine(particles, table, places, 0),
        "numpy_and_scipy": lambda: theirs(particles, nodes, values, places.numpy(), 0),
    }
    first, second = (torch.as_tensor(action()) for action in actions.values())
    measured = alternating(actions, seconds)
    cell = float(places[1] - places[0])
    return {
        "particles": particles,
        "steps": STEPS,
        "largest_l1_between_both": float((first - second).abs().sum(1).max()) * cell,
        **measured,
        "ratio_of_medians": measured["numpy_and_scipy"]["median_ms"] / measured["limbeck"]["median_ms"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--particles", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=RESULTS / "particles.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    few = [of_density(count, arguments.seconds / 3) for count in FEW]
    ahead = [row["particles"] for row in few if row["ratio_of_medians"] > 1]
    found = {
        "density": of_density(arguments.particles, arguments.seconds),
        "few_particles": few,
        "faster_from": min(ahead) if ahead else None,
        "solver": of_solver(arguments.particles, arguments.seconds),
    }
    print(json.dumps(found, indent=2))
    keep(arguments.output, **asked(arguments), **found)


if __name__ == "__main__":
    main()
