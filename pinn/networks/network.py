"""What every network is: points in, fields out, in plain torch (`forward`) and with derivatives (`jet`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pinn.jets.activations import activate, activation
from pinn.jets.jet import Jet
from pinn.jets.linear import linear
from pinn.networks.features import Features
from training.errors import ConfigurationError


class Network(nn.Module, ABC):
    """Fixed features of the points, then trained layers; weights start in float64.

    A network of another kind derives from this class and writes its layers twice: `layers` in plain torch and `body`
    for jets, where every parameter is used through `Network.dense` or `pinn.jets.capture.per_point`.

    Args:
        inputs: coordinates.
        outputs: fields.
        bounds: lowest and highest value of each coordinate, to normalise it to [−1, 1]; None takes it as it is.
        activation: tanh, sin, silu (swish) or gelu.
        periods: coordinates in which the network is exactly periodic, by column: the period.
        harmonics: cosines and sines of each periodic coordinate.
        fourier: random frequencies; 0 leaves the coordinates themselves as features.
        fourier_scale: standard deviation of the frequencies, in radians per half width of the domain.
        seed: of all random numbers.

    Attributes:
        inputs, outputs: as given.
        features: see `pinn.networks.features.Features`.

    Raises:
        ConfigurationError: for impossible numbers.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bounds: Sequence[Sequence[float]] | None = None,
        activation: str = "tanh",
        periods: Mapping[int, float] | Mapping[str, float] | None = None,
        harmonics: int = 1,
        fourier: int = 0,
        fourier_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_positive(inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        self.activation = _activation(activation)
        self._generator = torch.Generator().manual_seed(seed)
        self.features = Features(inputs, bounds, periods, harmonics, fourier, fourier_scale, self._generator)
        self._arguments: dict[str, Any] = {
            "inputs": inputs,
            "outputs": outputs,
            "bounds": None if bounds is None else [[float(low), float(high)] for low, high in bounds],
            "activation": activation,
            "periods": {str(column): float(period) for column, period in (periods or {}).items()} or None,
            "harmonics": harmonics,
            "fourier": fourier,
            "fourier_scale": float(fourier_scale),
            "seed": seed,
        }

    @abstractmethod
    def layers(self, features: Tensor) -> Tensor:
        """The trained layers in plain torch: (n_points, features.width) to (n_points, outputs)."""

    @abstractmethod
    def body(self, features: Jet) -> Jet:
        """The trained layers: a jet of width ``features.width`` to one of width ``outputs``."""

    def forward(self, points: Tensor) -> Tensor:
        """Values (n_points, outputs) at points (n_points, inputs)."""
        return self.layers(self.features(points))

    def jet(self, coordinates: Jet) -> Jet:
        """Values and derivatives.

        Args:
            coordinates: of width ``inputs``: `Jet.of_points`, or any functions of the coordinates.

        Returns:
            A jet of the same layout and of width ``outputs``.
        """
        return self.body(self.features.jet(coordinates))

    def architecture(self) -> dict[str, Any]:
        """What `pinn.networks.build` makes an untrained copy from; plain JSON."""
        return {"_target_": f"pinn.networks.{type(self).__name__}", **self._arguments}

    def dense(self, jet: Jet, layer: nn.Linear, activated: bool = True) -> Jet:
        """A linear layer on a jet, and the network's activation."""
        jet = linear(jet, layer.weight, layer.bias)
        return activate(self.activation, jet) if activated else jet


_activation = activation


def linears(layers: nn.ModuleList) -> list[nn.Linear]:
    """The layers of a list as what they are."""
    return cast(list[nn.Linear], list(layers))


def require_positive(**counts: int) -> None:
    """Raises a ConfigurationError that names the first of the numbers below one."""
    for name, count in counts.items():
        if count < 1:
            raise ConfigurationError(f"A network with {name}={count} is impossible; {name} is at least 1.")
