"""K networks of one shape as one: every weight has a leading axis K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pinn.ensembles.chain import stacked_chain
from pinn.jets.activations import Activation
from pinn.jets.jet import Jet
from pinn.networks import build
from pinn.networks.features import Features
from pinn.networks.mlp import MLP
from pinn.networks.network import linears
from training.errors import ConfigurationError


class StackedMLP(nn.Module):
    """Multilayer perceptrons that share their shape and their fixed features, and nothing else.

    It has what `pinn.residuals.prepare` and `fields_at` need of a network, for points of all members one after another.

    Args:
        networks: one for each member, equal but for their weights.

    Attributes:
        members: K.
        features: of the first network.
        weights: of each layer, (K, outputs, inputs).
        biases: of each layer, (K, 1, outputs).

    Raises:
        ConfigurationError: if the networks are no perceptrons of one shape, or have random features.
    """

    features: Features
    activation: Activation

    def __init__(self, networks: Sequence[MLP]) -> None:
        super().__init__()
        first = networks[0]
        shapes = {_shape(network) for network in networks}
        if len(shapes) != 1:
            raise ConfigurationError("Members of an ensemble have networks of one shape.")
        if first.architecture()["fourier"]:
            raise ConfigurationError("network.fourier: members share their features, which therefore are not random; 0")
        self.members, self.inputs, self.outputs = len(networks), first.inputs, first.outputs
        self.features, self.activation = first.features, first.activation
        self._architectures = [network.architecture() for network in networks]
        layers = list(zip(*(linears(network.linears) for network in networks), strict=True))
        self.weights = nn.ParameterList(torch.stack([layer.weight.detach() for layer in row]) for row in layers)
        self.biases = nn.ParameterList(torch.stack([layer.bias.detach()[None] for layer in row]) for row in layers)

    @classmethod
    def build(cls, spec: Mapping[str, Any], members: int, seed: int, **follows: Any) -> StackedMLP:
        """Untrained networks; member k starts from the seed ``seed + k``.

        Args:
            spec: ``_target_`` and arguments of one network.
            members: how many.
            seed: of member 0.
            **follows: what follows from the problem.

        Raises:
            ConfigurationError: if the network is no `pinn.networks.MLP`.
        """
        networks = [build(dict(spec), **{**follows, "seed": seed + member}) for member in range(members)]
        if not all(type(network) is MLP for network in networks):
            raise ConfigurationError(
                f"network._target_: an ensemble is made of pinn.networks.MLP, not {spec['_target_']}."
            )
        return cls([network for network in networks if isinstance(network, MLP)])

    def body(self, features: Jet) -> Jet:
        """The trained layers: (n_parts, K · n, features) to (n_parts, K · n, outputs)."""
        return stacked_chain(features, list(self.weights), list(self.biases), self.activation)

    def forward(self, points: Tensor) -> Tensor:
        """Values (K · n, outputs) at points (K · n, inputs)."""
        rows = self.features(points)
        rows = rows.reshape(self.members, -1, rows.shape[1])
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            rows = torch.baddbmm(bias, self.activation(rows) if place else rows, weight.mT)
        return rows.reshape(-1, self.outputs)

    def member(self, index: int) -> MLP:
        """One network by itself, with its own copy of the weights."""
        network = build(self._architectures[index])
        assert isinstance(network, MLP)
        network.to(self.weights[0].dtype)
        with torch.no_grad():
            for layer, weight, bias in zip(linears(network.linears), self.weights, self.biases, strict=True):
                layer.weight.copy_(weight[index])
                layer.bias.copy_(bias[index, 0])
        return network

    def architecture(self) -> dict[str, Any]:
        """Of member 0; the others differ in their seed."""
        return dict(self._architectures[0])


def _shape(network: MLP) -> str:
    return str({key: value for key, value in network.architecture().items() if key != "seed"})
