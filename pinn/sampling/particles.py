"""Particles: collocation points where the agents of a game are, beside everywhere and where the residual is large."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pinn.particles.bandwidth import scott
from pinn.particles.density import density_on_grid
from pinn.particles.walls import OPEN, Walls
from pinn.sampling.density import draw
from pinn.sampling.sampler import Domain, Draw, Kind, PointFunction, Sampler
from training.errors import ConfigurationError

Cloud = Callable[[int, torch.Generator], Tensor]
"""A number and a generator to points of space and time (about that many, d)."""

MOST_GRIDDED = 2
"""Coordinates, time among them, up to which the agents' density is estimated by kernels; beyond, it is a normal one
that follows their mean and covariance in time."""

NODES = 65
"""Of the density's grid along each coordinate."""

SLICES = 20
"""Of time, for means and covariances."""


class Particles(Sampler):
    """A mixture of three densities, with weights that undo it as far as is wanted.

    Every ``every`` steps candidates are drawn afresh from the domain, and n are chosen among them without replacement
    with ``q = uniform + agents · m/mean m + residual · |r|^k/mean |r|^k``; m is the density of agents that follow the
    network as it is. Weights are ``p^−undo`` of mean one, p being the probability to be chosen. With ``undo=1`` the
    loss stays the mean over the domain, and ``effective_size`` says how many points of the domain would estimate it as
    well. With ``undo=0`` it is the mean over the mixture, which asks most of the network where agents are.

    Whoever trains calls `follow` first; the first points come from the domain alone.

    Args:
        n: number of points.
        every: optimizer steps between two changes.
        candidates: size of the candidate set, at least n; ten times n or more.
        uniform, agents, residual: shares of the mixture, with sum one; ``uniform`` bounds the largest weight by its
            inverse.
        k: power of the residual.
        undo: power of the weights ``1/p``, from 0 to 1.
        paths: points of space and time on the agents' paths.
        first: steps before the first change, ``every`` unless given.
        kind: how candidates and first points are drawn.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: the weights as in `pinn.sampling.importance`.
    """

    def __init__(
        self,
        n: int,
        every: int,
        candidates: int = 20_000,
        uniform: float = 0.2,
        agents: float = 0.6,
        residual: float = 0.2,
        k: float = 1.0,
        undo: float = 0.0,
        paths: int = 20_000,
        first: int | None = None,
        kind: Kind = "uniform",
    ) -> None:
        super().__init__(n, every, first, kind)
        self._require("candidates", candidates, candidates >= n, f"at least n={n}, better ten times as many")
        for name, share in (("uniform", uniform), ("agents", agents), ("residual", residual)):
            self._require(name, share, 0 <= share <= 1, "a share from 0 to 1")
        self._require("uniform", uniform, uniform > 0, "positive, or a weight has no bound")
        total = uniform + agents + residual
        self._require("uniform + agents + residual", total, abs(total - 1) < 1e-9, "one")
        self._require("k", k, k >= 0, "zero or a positive power")
        self._require("undo", undo, 0 <= undo <= 1, "a power from 0 to 1")
        self._require("paths", paths, paths >= 1000, "at least 1000")
        self.candidates, self.k, self.undo, self.paths = candidates, k, undo, paths
        self.uniform, self.agents, self.residual = uniform, agents, residual
        self._cloud: Cloud | None = None
        self._inverse = torch.ones(n, dtype=torch.float64)

    def start(self, domain: Domain, generator: torch.Generator, points: Tensor | None = None) -> None:
        """Draw the first points, see `Sampler.start`."""
        super().start(domain, generator, points)
        self._inverse = torch.ones(self.n, dtype=torch.float64)

    def follow(self, cloud: Cloud) -> None:
        """Say where agents are: see `pinn.particles.cloud.AgentCloud`."""
        self._cloud = cloud

    @property
    def effective_size(self) -> float:
        """``(Σ w)²/Σ w²`` with ``w = 1/p``: points of the domain's own density that would estimate a mean over it with
        the same error; at most n."""
        return float(self._inverse.sum() ** 2 / self._inverse.square().sum())

    def state_dict(self) -> dict[str, Any]:
        """Everything that later points depend on, and the inverse probabilities of the present ones."""
        return {**super().state_dict(), "inverse": self._inverse.clone()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state, see `Sampler.load_state_dict`."""
        super().load_state_dict(state_dict)
        self._inverse = state_dict["inverse"].clone()

    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        if self._cloud is None:
            raise ConfigurationError(
                "Particles puts points where the agents of a mean-field game are, and this problem has none. Choose "
                "pinn.sampling.RAD, or make the problem a pinn.mean_field_game.MeanFieldGame."
            )
        candidates = self._candidates(self.candidates)
        cloud = self._cloud(self.paths, self.generator)
        scores = self._scores(candidates, residual)
        mixture = torch.full((len(candidates),), self.uniform, dtype=torch.float64)
        for share, values in ((self.agents, self._crowd(cloud, candidates)), (self.residual, _power(scores, self.k))):
            mean = values.mean()
            # where there is nothing to follow, the share is spread over the domain
            mixture += share * values / mean if mean > 0 else share
        rows, probability = draw(mixture / mixture.sum(), self.n, self.generator)
        self._inverse = 1 / probability
        weights = self._inverse**self.undo
        return self._fresh(candidates[rows])._replace(weights=weights / weights.mean())

    def _crowd(self, cloud: Tensor, points: Tensor) -> Tensor:
        """The agents' density at points, up to a constant: (m,)."""
        if points.shape[1] > MOST_GRIDDED:
            return normal_in_time(cloud, points)
        bounds = list(self.domain.bounds.values())
        axes = [torch.linspace(*ends, NODES, dtype=torch.float64) for ends in bounds]
        # paths begin and end at full density
        walls = [*[OPEN] * (len(axes) - 1), Walls("reflecting", *bounds[-1])]
        return on_grid(density_on_grid(cloud, axes, scott(cloud), walls, cells=4), axes, points)


def on_grid(values: Tensor, axes: list[Tensor], points: Tensor) -> Tensor:
    """Values of a regular grid at points (m, d), by straight lines between its nodes: (m,)."""
    total = torch.zeros(len(points), dtype=torch.float64)
    places = [(points[:, k] - axis[0]) / (axis[1] - axis[0]) for k, axis in enumerate(axes)]
    nodes = [place.long().clamp(0, len(axis) - 2) for place, axis in zip(places, axes, strict=True)]
    for corner in range(1 << len(axes)):
        upper = [corner >> k & 1 for k in range(len(axes))]
        share = torch.ones(len(points), dtype=torch.float64)
        for place, node, up in zip(places, nodes, upper, strict=True):
            share = share * (place - node if up else 1 - (place - node))
        total += share * values[tuple(node + up for node, up in zip(nodes, upper, strict=True))]
    return total


def normal_in_time(cloud: Tensor, points: Tensor) -> Tensor:
    """A normal density with the cloud's mean and covariance in slices of time, at points (m, d + 1): (m,).

    The last column is time.
    """
    start, end = float(cloud[:, -1].min()), float(cloud[:, -1].max())
    found = torch.zeros(len(points), dtype=torch.float64)
    width = max(end - start, 1e-300) / SLICES
    own, theirs = (((given[:, -1] - start) / width).long().clamp(0, SLICES - 1) for given in (cloud, points))
    for number in range(SLICES):
        some, rows = cloud[own == number, :-1], (theirs == number).nonzero()[:, 0]
        if len(some) <= some.shape[1] + 1 or not len(rows):
            continue
        covariance = torch.cov(some.T).reshape(some.shape[1], -1)
        factor = torch.linalg.cholesky(
            covariance + 1e-9 * covariance.diagonal().mean() * torch.eye(len(covariance)).double()
        )
        z = torch.linalg.solve_triangular(factor, (points[rows, :-1] - some.mean(0)).T, upper=False)
        found[rows] = torch.exp(-z.square().sum(0) / 2 - factor.diagonal().log().sum())
    return found


def _power(values: Tensor, k: float) -> Tensor:
    """``|r|^k`` over its largest, zero where all are."""
    largest = values.max()
    return (values / largest) ** k if largest > 0 else values
