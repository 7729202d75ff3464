"""Where weights begin, drawn in float64 from a generator, so that every precision starts from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from training.errors import ConfigurationError


def glorot(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A float64 linear layer with weights uniform in ``±√(6/(inputs + outputs))`` and zero bias.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    2010, eq. 16.
    """
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float64)
    bound = math.sqrt(6 / (inputs + outputs))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer


def random_waves(layer: nn.Linear, frequencies: Sequence[float], generator: torch.Generator) -> None:
    """Let every neuron of a first layer begin as a wave of random direction, length and phase.

    Weights of feature k are normal with standard deviation ``frequencies[k]``, biases uniform in ``±π``.

    Raises:
        ConfigurationError: unless there is one positive frequency for each feature.

    Source: Rahimi and Recht, "Random features for large-scale kernel machines", NeurIPS 2007; trained here, not fixed.
    """
    if len(frequencies) != layer.in_features or not all(math.isfinite(f) and f > 0 for f in frequencies):
        raise ConfigurationError(
            f"frequencies={list(frequencies)}: give {layer.in_features} positive numbers, one for each feature (a "
            "periodic coordinate counts two for each harmonic, random Fourier features two for each frequency)."
        )
    with torch.no_grad():
        layer.weight.normal_(generator=generator).mul_(layer.weight.new_tensor(list(frequencies)))
        layer.bias.uniform_(-math.pi, math.pi, generator=generator)
