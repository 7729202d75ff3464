"""Noise processes and their paths at given times; every step is drawn from its exact distribution.

The values at the times have the exact joint distribution whatever the spacing is. Between two times a path is taken as
the straight line (`pinn.ensembles.paths.Paths`), which is the only discretisation there is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.stats import ncx2, poisson

from pinn.ensembles.draws import normals
from training.errors import ConfigurationError


@dataclass(frozen=True)
class Process(ABC):
    """A random function of time.

    Attributes:
        per_step: uniform numbers that a step needs.
    """

    per_step: ClassVar[int] = 1

    def __post_init__(self) -> None:
        complaints = self.complaints()
        if complaints:
            raise ConfigurationError(f"{type(self).__name__} is not possible: {'; '.join(complaints)}.")

    def paths(self, times: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Values at the times.

        Args:
            times: (n_steps + 1,), ascending; the first is where the start holds.
            numbers: uniform, (members, n_steps, per_step).

        Returns:
            (members, n_steps + 1).
        """
        values = np.empty((len(numbers), len(times)))
        values[:, 0] = self.first
        for step, duration in enumerate(np.diff(times)):
            values[:, step + 1] = self.follow(values[:, step], float(duration), numbers[:, step])
        return values

    @property
    @abstractmethod
    def first(self) -> float:
        """The value at the first time."""

    @abstractmethod
    def follow(self, values: np.ndarray, duration: float, numbers: np.ndarray) -> np.ndarray:
        """Values (members,) a duration later, from uniform numbers (members, per_step)."""

    @abstractmethod
    def complaints(self) -> list[str]:
        """What is wrong with the parameters."""


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Process):
    """``dX = rate (mean − X) dt + volatility dW``: returns to its mean, Gaussian, of either sign.

    Source: Uhlenbeck and Ornstein, Phys. Rev. 36 (1930) 823; the exact step is Gillespie, Phys. Rev. E 54 (1996) 2084.
    """

    mean: float = 1.0
    rate: float = 2.0
    volatility: float = 0.5
    start: float | None = None
    """The mean if None."""

    @property
    def first(self) -> float:
        return self.mean if self.start is None else self.start

    def follow(self, values: np.ndarray, duration: float, numbers: np.ndarray) -> np.ndarray:
        kept = math.exp(-self.rate * duration)
        spread = self.volatility * math.sqrt(-math.expm1(-2 * self.rate * duration) / (2 * self.rate))
        return self.mean + (values - self.mean) * kept + spread * normals(numbers[:, 0])

    def complaints(self) -> list[str]:
        return [*_positive(rate=self.rate), *_not_negative(volatility=self.volatility)]


@dataclass(frozen=True)
class CoxIngersollRoss(Process):
    """``dX = rate (mean − X) dt + volatility √X dW``: returns to its mean and is never negative.

    A step is a noncentral chi-square variable, drawn by inversion.

    Source: Cox, Ingersoll, Ross, Econometrica 53 (1985) 385, eq. 18.
    """

    mean: float = 1.0
    rate: float = 2.0
    volatility: float = 0.5
    start: float | None = None
    """The mean if None."""

    @property
    def first(self) -> float:
        return self.mean if self.start is None else self.start

    def follow(self, values: np.ndarray, duration: float, numbers: np.ndarray) -> np.ndarray:
        kept = math.exp(-self.rate * duration)
        scale = self.volatility**2 * (1 - kept) / (4 * self.rate)
        freedom = 4 * self.rate * self.mean / self.volatility**2
        return scale * ncx2.ppf(numbers[:, 0], freedom, values * kept / scale)

    def complaints(self) -> list[str]:
        return [
            *_positive(rate=self.rate, mean=self.mean, volatility=self.volatility),
            *_not_negative(start=self.first),
        ]


@dataclass(frozen=True)
class GeometricBrownianMotion(Process):
    """``dX = drift X dt + volatility X dW``: positive, its logarithm is a Brownian motion with drift."""

    drift: float = 0.0
    volatility: float = 0.3
    start: float = 1.0

    @property
    def first(self) -> float:
        return self.start

    def follow(self, values: np.ndarray, duration: float, numbers: np.ndarray) -> np.ndarray:
        return values * np.exp(self.increments(duration, numbers[:, 0]))

    def increments(self, duration: float, numbers: np.ndarray) -> np.ndarray:
        """Of the logarithm, without jumps."""
        drift = (self.drift - self.volatility**2 / 2) * duration
        return drift + self.volatility * math.sqrt(duration) * normals(numbers)

    def complaints(self) -> list[str]:
        return [*_positive(start=self.start), *_not_negative(volatility=self.volatility)]


@dataclass(frozen=True)
class JumpDiffusion(GeometricBrownianMotion):
    """A geometric Brownian motion that also jumps: ``intensity`` times per unit of time, by a factor ``exp(N(jump_mean,
    jump_spread²))``.

    The jumps of a step are drawn together: their number, and the sum of their normal logarithms. ``drift`` is that of
    the continuous part; jumps change the mean by ``exp(intensity t (exp(jump_mean + jump_spread²/2) − 1))``.

    Source: Merton, J. Financ. Econ. 3 (1976) 125.
    """

    per_step: ClassVar[int] = 3

    intensity: float = 2.0
    jump_mean: float = 0.0
    jump_spread: float = 0.2

    def follow(self, values: np.ndarray, duration: float, numbers: np.ndarray) -> np.ndarray:
        count = poisson.ppf(numbers[:, 1], self.intensity * duration)
        jumps = count * self.jump_mean + np.sqrt(count) * self.jump_spread * normals(numbers[:, 2])
        return values * np.exp(self.increments(duration, numbers[:, 0]) + jumps)

    def complaints(self) -> list[str]:
        return [*super().complaints(), *_positive(intensity=self.intensity), *_not_negative(spread=self.jump_spread)]


def _positive(**values: float) -> list[str]:
    return [f"{name} is positive, not {value}" for name, value in values.items() if not value > 0]


def _not_negative(**values: float) -> list[str]:
    return [f"{name} is not negative, but {value} is" for name, value in values.items() if not value >= 0]
