"""The multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from pinn.jets.jet import Jet
from pinn.jets.stack import dense_chain
from pinn.networks.initialisation import glorot
from pinn.networks.network import Network, linears, require_positive


class MLP(Network):
    """``h ← σ(W h + b)`` ``depth`` times, then a linear layer.

    Args:
        inputs, outputs: coordinates and fields.
        width: neurons of a hidden layer.
        depth: hidden layers.
        options: those of `Network`.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 20, depth: int = 3, **options: Any) -> None:
        super().__init__(inputs, outputs, **options)
        require_positive(width=width, depth=depth)
        widths = [self.features.width, *[width] * depth, outputs]
        self.linears = nn.ModuleList(glorot(n, m, self._generator) for n, m in pairwise(widths))
        self._arguments |= {"width": width, "depth": depth}

    def layers(self, features: Tensor) -> Tensor:
        for layer in self.linears[:-1]:
            features = self.activation(layer(features))
        return self.linears[-1](features)

    def body(self, features: Jet) -> Jet:
        return dense_chain(features, linears(self.linears), self.activation)
