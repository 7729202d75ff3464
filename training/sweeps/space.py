"""The values of one key: a list to choose from, or an interval to draw from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.errors import ConfigurationError

DIGITS = 6
"""Significant digits of a drawn number: enough for any study, and a word that can be read and typed."""


@dataclass(frozen=True)
class Choices:
    """Values to choose from, as they are written on the command line."""

    key: str
    values: tuple[str, ...]

    def at(self, share: float) -> str:
        """The value at a share in [0, 1) of the list."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def ends(self) -> tuple[str, ...]:
        """Values that show whether the key can take what is asked of it: all of them."""
        return self.values


@dataclass(frozen=True)
class Interval:
    """All numbers between two ends, which belong to it.

    Attributes:
        key: what they are values of.
        low, high: the ends; whole numbers if both are written as such.
        logarithmic: equal factors instead of equal steps are equally likely.
    """

    key: str
    low: float
    high: float
    whole: bool
    logarithmic: bool

    @classmethod
    def checked(cls, key: str, low: float, high: float, logarithmic: bool) -> Interval:
        """The interval.

        Raises:
            ConfigurationError: if its ends are in the wrong order, or a logarithm of them does not exist.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigurationError(f"{key}: an interval goes from a smaller to a larger number; got {low} to {high}.")
        if logarithmic and low <= 0:
            raise ConfigurationError(f"{key}: a logarithmic interval begins above zero; got {low}.")
        return cls(key, low, high, isinstance(low, int) and isinstance(high, int), logarithmic)

    def at(self, share: float) -> str:
        """The value at a share in [0, 1) of the way."""
        # half a number is added at either end, so that the ends are as likely as the numbers between them
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.logarithmic:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self.written(value)

    def written(self, value: float) -> str:
        """A number of the interval as a word."""
        if self.whole:
            return str(min(max(math.floor(value + 0.5), int(self.low)), int(self.high)))
        rounded = float(f"{value:.{DIGITS}g}")
        return repr(min(max(rounded, float(self.low)), float(self.high)))

    def ends(self) -> tuple[str, ...]:
        """Values that show whether the key can take what is asked of it."""
        return self.written(self.low), self.written(self.high)


Values = Choices | Interval
