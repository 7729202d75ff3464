"""The network's density, one coordinate at a time: its mass, and what part of it lies below any place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pinn.jets.layout import JetLayout
from pinn.mean_field_game import MeanFieldGame
from pinn.networks.network import Network
from pinn.residuals import fields_at, prepare

LINE, SQUARE = 4001, 401
"""Nodes along each coordinate of a line and of a square."""

DRAWS = 1 << 15
"""Points of a Sobol sequence in more dimensions."""

INFLATION = 1.2
"""Standard deviation of those points, in that of the agents: a little wider, so that no weight is large."""


@dataclass(frozen=True)
class Marginals:
    """A density at one time.

    Attributes:
        mass: its integral.
        mass_error: one standard error of that, 0.0 where it comes from a grid.
        places: for each coordinate (k,) in order.
        weights: for each coordinate (k,) mass at the places, with sum one.
    """

    mass: float
    mass_error: float
    places: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]

    def cumulative(self, coordinate: int) -> Tensor:
        """The distribution function at the places of a coordinate: (k,)."""
        weights = self.weights[coordinate]
        return weights.cumsum(0) - weights / 2


class NetworkDensity:
    """``m = exp(log_m)`` of a trained network.

    Args:
        game, network: whose.
        parameters: unknown parameters of the game, by name.
        chunk: points evaluated together.
    """

    def __init__(
        self,
        game: MeanFieldGame,
        network: Network,
        parameters: Mapping[str, Tensor] | None = None,
        chunk: int = 20_000,
    ) -> None:
        self.game, self.network, self.parameters, self.chunk = game, network, parameters, chunk
        self._layout = JetLayout(game.coordinates)

    @torch.no_grad()
    def log(self, points: Tensor) -> Tensor:
        """``ln m`` at points of space and time (n, d + 1): (n,) float64."""
        found = []
        for some in points.split(self.chunk):
            prepared = prepare(self.game, self.network, some, self._layout)
            fields = fields_at(self.network, prepared, self.parameters)
            found.append(fields["log_m"].value.double())
        return torch.cat(found)

    def marginals(self, t: float, agents: Tensor, seed: int) -> Marginals:
        """The density at a time.

        On a grid over the box in one and two dimensions; beyond, at Sobol points about the agents, each weighing the
        density there over that of the points.

        Args:
            t: the time.
            agents: (n, d) at that time, which say where to look in many dimensions.
            seed: of the Sobol points.
        """
        return self._on_grid(t, agents) if len(self.game.space) <= 2 else self._about(t, agents, seed)

    def _on_grid(self, t: float, agents: Tensor) -> Marginals:
        bounds = [self.game.domain.bounds[name] for name in self.game.space]
        nodes = LINE if len(bounds) == 1 else SQUARE
        axes = [torch.linspace(*ends, nodes, dtype=torch.float64, device=agents.device) for ends in bounds]
        cells = [float(axis[1] - axis[0]) for axis in axes]
        places = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        values = self.log(_at_time(places, t)).exp().reshape([nodes] * len(axes))
        for k in range(len(axes)):
            # the trapezoidal rule
            values.movedim(k, 0)[[0, -1]] *= 0.5
        values = values * math.prod(cells)
        mass = float(values.sum())
        others = [[other for other in range(len(axes)) if other != k] for k in range(len(axes))]
        weights = [values.sum(dim) / mass if dim else values / mass for dim in others]
        return Marginals(mass, 0.0, tuple(axes), tuple(weights))

    def _about(self, t: float, agents: Tensor, seed: int) -> Marginals:
        d = agents.shape[1]
        middle, factor = agents.mean(0), torch.linalg.cholesky(torch.cov(agents.T)) * INFLATION
        rounds = []
        for turn in range(8):
            # repeated sequences tell how far their mean can be trusted
            engine = torch.quasirandom.SobolEngine(d, scramble=True, seed=seed + turn)
            unit = engine.draw(DRAWS // 8, dtype=torch.float64).clamp(1e-12, 1 - 1e-12).to(agents.device)
            z = torch.special.ndtri(unit)
            places = middle + z @ factor.T
            log_q = -z.square().sum(1) / 2 - factor.diagonal().log().sum() - d / 2 * math.log(2 * math.pi)
            rounds.append((places, torch.exp(self.log(_at_time(places, t)) - log_q)))
        masses = torch.stack([weights.mean() for _, weights in rounds])
        places, weights = (torch.cat(parts) for parts in zip(*rounds, strict=True))
        weights = weights / weights.sum()
        ordered = [places[:, k].sort() for k in range(d)]
        return Marginals(
            float(masses.mean()),
            float(masses.std()) / math.sqrt(len(masses)),
            tuple(column.values for column in ordered),
            tuple(weights[column.indices] for column in ordered),
        )


def _at_time(places: Tensor, t: float) -> Tensor:
    return torch.cat([places, places.new_full((len(places), 1), t)], dim=1)
