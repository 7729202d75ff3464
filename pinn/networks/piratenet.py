"""Residual blocks that start as the identity and learn how much of themselves to use."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from pinn.jets.capture import per_point
from pinn.jets.jet import Jet
from pinn.networks.initialisation import glorot
from pinn.networks.network import Network, linears, require_positive
from training.errors import ConfigurationError


class Block(nn.Module):
    """``f = σ(W₁ x + b₁)``, ``z = f U + (1 − f) V``; ``g = σ(W₂ z + b₂)``, ``z' = g U + (1 − g) V``;
    ``h = σ(W₃ z' + b₃)``; ``x ← α h + (1 − α) x``, with ``α = 0`` at the start."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linears = nn.ModuleList(glorot(width, width, generator) for _ in range(3))
        self.alpha = nn.Parameter(torch.zeros((), dtype=torch.float64))


class PirateNet(Network):
    """Gated residual blocks on random Fourier features.

    Args:
        inputs, outputs: coordinates and fields.
        width: neurons, even; half of it is the number of random frequencies.
        depth: blocks of three layers.
        fourier_scale: see `Network`.
        options: those of `Network`, except ``fourier``.

    Raises:
        ConfigurationError: if the width is odd, or ``fourier`` is given and is not half of it.

    Source: Wang, Li, Chen, Perdikaris, "PirateNets: physics-informed deep learning with residual adaptive networks",
    JMLR 2024, eqs. 4.1 to 4.8; the physics-informed start of the last layer is left out.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 64, depth: int = 2, **options: Any) -> None:
        require_positive(width=width, depth=depth)
        if width % 2 or options.get("fourier", width // 2) != width // 2:
            raise ConfigurationError(
                f"The blocks of a PirateNet are as wide as its Fourier features: width={width} asks for an even number "
                f"and fourier={width // 2}; leave fourier out."
            )
        options["fourier"] = width // 2
        super().__init__(inputs, outputs, **options)
        self.encoders = nn.ModuleList(glorot(width, width, self._generator) for _ in range(2))
        self.blocks = nn.ModuleList(Block(width, self._generator) for _ in range(depth))
        self.last = glorot(width, outputs, self._generator)
        self._arguments |= {"width": width, "depth": depth}

    def layers(self, features: Tensor) -> Tensor:
        first, second = (self.activation(encoder(features)) for encoder in self.encoders)
        for block in self._blocks():
            inner = features
            *gates, last = linears(block.linears)
            for layer in gates:
                gate = self.activation(layer(inner))
                inner = gate * first + (1 - gate) * second
            inner = self.activation(last(inner))
            features = block.alpha * inner + (1 - block.alpha) * features
        return self.last(features)

    def body(self, features: Jet) -> Jet:
        first, second = (self.dense(features, encoder) for encoder in linears(self.encoders))
        difference = first - second
        for block in self._blocks():
            inner = features
            *gates, last = linears(block.linears)
            for layer in gates:
                inner = second + self.dense(inner, layer) * difference
            inner = self.dense(inner, last)
            features = features + (inner - features) * per_point(block.alpha, features.n_points)
        return self.dense(features, self.last, activated=False)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))
