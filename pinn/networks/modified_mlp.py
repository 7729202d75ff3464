"""The perceptron with two encoders that gate every layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pinn.jets.jet import Jet
from pinn.networks.initialisation import glorot
from pinn.networks.network import Network, linears, require_positive


class ModifiedMLP(Network):
    """``U = σ(W_U x + b_U)``, ``V = σ(W_V x + b_V)``; ``z = σ(W h + b)``, ``h ← (1 − z) U + z V``.

    Args:
        inputs, outputs: coordinates and fields.
        width: neurons of a hidden layer.
        depth: hidden layers.
        options: those of `Network`.

    Source: Wang, Teng, Perdikaris, "Understanding and mitigating gradient flow pathologies in physics-informed neural
    networks", SIAM J. Sci. Comput. 2021, section 2.6.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 64, depth: int = 4, **options: Any) -> None:
        super().__init__(inputs, outputs, **options)
        require_positive(width=width, depth=depth)
        given = self.features.width
        self.encoders = nn.ModuleList(glorot(given, width, self._generator) for _ in range(2))
        self.linears = nn.ModuleList(glorot(given if n == 0 else width, width, self._generator) for n in range(depth))
        self.last = glorot(width, outputs, self._generator)
        self._arguments |= {"width": width, "depth": depth}

    def layers(self, features: Tensor) -> Tensor:
        first, second = (self.activation(encoder(features)) for encoder in self.encoders)
        for layer in self.linears:
            gate = self.activation(layer(features))
            features = (1 - gate) * first + gate * second
        return self.last(features)

    def body(self, features: Jet) -> Jet:
        first, second = (self.dense(features, encoder) for encoder in linears(self.encoders))
        difference = second - first
        for layer in linears(self.linears):
            features = first + self.dense(features, layer) * difference
        return self.dense(features, self.last, activated=False)
