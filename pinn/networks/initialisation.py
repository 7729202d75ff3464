"""Glorot's initialisation, drawn in float64 from a generator, so that every precision starts from the same numbers."""

from __future__ import annotations

import math

import torch
from torch import nn


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
