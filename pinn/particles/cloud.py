"""Agents in space and time: where a game takes place, as the network sees it at the moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pinn.mean_field_game import MeanFieldGame
from pinn.networks.network import Network
from pinn.particles.agents import Agents, Drift
from pinn.particles.network_drift import NetworkDrift
from pinn.particles.table import DriftTable

STEPS = 25
"""Of the whole time, for agents that only have to say roughly where they are."""


class AgentCloud:
    """Draws points of space and time from the paths of agents that follow the network.

    Args:
        game: whose agents.
        network: at any moment of its training.
        parameters: gives the game's unknown parameters as they are then, by name; None where it has none.
    """

    def __init__(
        self, game: MeanFieldGame, network: Network, parameters: Callable[[], Mapping[str, Tensor]] | None = None
    ) -> None:
        self.game, self.network, self.parameters = game, network, parameters

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """Points (n, d + 1) inside the box, at uniformly distributed times; fewer where paths leave it.

        Args:
            n: how many.
            generator: the only source of randomness.
        """
        game = self.game
        assert game.time is not None
        start, end = game.domain.bounds[game.time]
        times = torch.linspace(start, end, STEPS + 1, dtype=torch.float64)
        places = game.draw_start(-(-n // STEPS), generator)
        agents = Agents(places, self._drift(times), math.sqrt(2 * game.diffusion), generator)
        found = []
        for t, after in zip(times.tolist()[:-1], times.tolist()[1:], strict=True):
            before = agents.places.clone()
            agents.step(t, after)
            share = torch.rand(len(before), 1, dtype=torch.float64, generator=generator)
            found.append(torch.cat([torch.lerp(before, agents.places, share), t + (after - t) * share], dim=1))
        points = torch.cat(found)[torch.randperm(STEPS * len(places), generator=generator)[:n]]
        return points[game.domain.contains(points)]

    def _drift(self, times: Tensor) -> Drift:
        game = self.game
        drift = NetworkDrift(game, self.network, self.parameters and self.parameters())
        if len(game.space) > 1:
            return drift
        return DriftTable.of(drift, times, *game.domain.bounds[game.space[0]], nodes=401)
