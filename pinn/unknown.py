"""Unknown parameters of an inverse problem, learned together with the fields."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from training.errors import ConfigurationError

_NEAREST = 1 - 1e-6
"""A start at a bound has no slope; it is moved into the range by this."""


@dataclass(frozen=True)
class Unknown:
    """A number that is learned, through a smooth map from all real numbers to the values it may take.

    Free: ``value = initial + scale·θ``; positive: ``value = initial·exp(θ)``; between bounds:
    ``value = low + (high − low)(1 + tanh(θ + θ₀))/2``. Each map gives the initial value at θ = 0.

    Args:
        initial: where the search begins.
        bounds: lower and upper bound, both excluded; None for none.
        positive: larger than zero.
        scale: how far a free value moves for a step of 1 in θ; None takes ``max(|initial|, 1)``.

    Raises:
        ConfigurationError: if the initial value is not finite, or outside what is allowed.
    """

    initial: float
    bounds: tuple[float, float] | None = None
    positive: bool = False
    scale: float | None = None

    def __post_init__(self) -> None:
        if not abs(self.initial) < float("inf"):
            raise ConfigurationError(f"An unknown starts from a finite number; got {self.initial}.")
        if self.positive and self.initial <= 0:
            raise ConfigurationError(f"A positive unknown starts from a positive number; got {self.initial:g}.")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise ConfigurationError(f"The scale of an unknown is positive and finite; got {self.scale}.")
        if self.bounds is not None:
            low, high = self.bounds
            if not (abs(low) < float("inf") and abs(high) < float("inf") and low < high):
                raise ConfigurationError(f"An unknown lies between two finite bounds, lower first; got {self.bounds}.")
            if not low <= self.initial <= high:
                raise ConfigurationError(f"The initial value {self.initial:g} is outside ({low:g}, {high:g}).")
            if self.positive and low < 0:
                raise ConfigurationError(f"A positive unknown has no negative lower bound; got {low:g}.")

    def value(self, raw: Tensor) -> Tensor:
        """The value for a free parameter θ, in its shape."""
        if self.bounds is not None:
            low, high = self.bounds
            return low + (high - low) * (1 + torch.tanh(raw + self._shift)) / 2
        if self.positive:
            return self.initial * torch.exp(raw)
        return self.initial + self._step * raw

    def raw(self, value: float) -> float:
        """The θ that gives a value; the inverse of `value`."""
        if self.bounds is not None:
            low, high = self.bounds
            return _artanh(2 * (value - low) / (high - low) - 1) - self._shift
        return log(value / self.initial) if self.positive else (value - self.initial) / self._step

    @property
    def _step(self) -> float:
        return max(abs(self.initial), 1.0) if self.scale is None else self.scale

    @property
    def _shift(self) -> float:
        assert self.bounds is not None
        low, high = self.bounds
        return _artanh(2 * (self.initial - low) / (high - low) - 1)


def _artanh(x: float) -> float:
    x = min(max(x, -_NEAREST), _NEAREST)
    return 0.5 * log((1 + x) / (1 - x))
