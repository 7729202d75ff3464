"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from pinn.jets.jet import Jet
from pinn.jets.stack import dense_chain
from pinn.networks.initialisation import glorot, random_waves
from pinn.networks.network import Network, linears, require_positive


class MLP(Network):
    """``h ← σ(W h + b)`` ``depth`` times, then a linear layer.

    Args:
        inputs, outputs: coordinates and fields.
        width: neurons of a hidden layer.
        depth: hidden layers.
        frequencies: one for each feature, or one for all: the first layer starts as random waves of these standard
            deviations, in radians per half width of the domain, see `pinn.networks.initialisation.random_waves`; None
            starts it as the others. With ``depth=1`` and ``activation="sin"`` the network is nearly linear in what
            matters, and Gauss-Newton solves a linear equation with it in some ten steps.
        options: those of `Network`.

    Raises:
        ConfigurationError: for impossible numbers.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 20,
        depth: int = 3,
        frequencies: Sequence[float] | float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(inputs, outputs, **options)
        require_positive(width=width, depth=depth)
        widths = [self.features.width, *[width] * depth, outputs]
        self.linears = nn.ModuleList(glorot(n, m, self._generator) for n, m in pairwise(widths))
        if isinstance(frequencies, int | float):
            frequencies = [frequencies] * self.features.width
        if frequencies is not None:
            random_waves(linears(self.linears)[0], frequencies, self._generator)
        self._arguments |= {
            "width": width,
            "depth": depth,
            "frequencies": None if frequencies is None else [float(frequency) for frequency in frequencies],
        }

    def layers(self, features: Tensor) -> Tensor:
        for layer in self.linears[:-1]:
            features = self.activation(layer(features))
        return self.linears[-1](features)

    def body(self, features: Jet) -> Jet:
        return dense_chain(features, linears(self.linears), self.activation)
