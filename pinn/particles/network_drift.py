"""Where a solved game drives its agents: ``−H_p(x, ∇u, m)``, read from the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinn.fields import JetField
from pinn.jets.layout import JetLayout
from pinn.mean_field_game import MeanFieldGame
from pinn.networks.network import Network
from pinn.residuals import fields_at, prepare


class NetworkDrift:
    """The velocity of agents that know the network's value function.

    Args:
        game: whose Hamiltonian they follow.
        network: its weights may change.
        parameters: unknown parameters of the game, by name.
    """

    def __init__(self, game: MeanFieldGame, network: Network, parameters: Mapping[str, Tensor] | None = None) -> None:
        self.game, self.network, self.parameters = game, network, parameters
        self._layout = JetLayout(game.coordinates, [(name,) for name in game.space])

    @torch.no_grad()
    def __call__(self, places: Tensor, t: float) -> Tensor:
        """Velocities (n, d) at places (n, d)."""
        return self.at(torch.cat([places, places.new_full((len(places), 1), t)], dim=1))

    @torch.no_grad()
    def at(self, points: Tensor) -> Tensor:
        """Velocities (n, d) at points of space and time (n, d + 1)."""
        game = self.game
        prepared = prepare(game, self.network, points, self._layout)
        fields = fields_at(self.network, prepared, self.parameters)
        u, log_m = fields["u"], fields["log_m"]
        assert isinstance(u, JetField)
        x = [prepared.columns[name] for name in game.space]
        slope = [u.d(name) for name in game.space]
        return torch.stack(game.velocity(x, slope, log_m.value.exp()), dim=1).double()
