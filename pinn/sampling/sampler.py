"""What every sampler of collocation points promises: points, weights, a schedule by step, and exact state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from training.errors import ConfigurationError, LimbeckError

PointFunction = Callable[[Tensor], Tensor]
"""From points (m, d) float64 to one number per point (m,); whoever gives it works in chunks and without gradients."""

Kind = Literal["uniform", "sobol", "latin_hypercube"]


class Domain(Protocol):
    """What a sampler needs of a geometry (`pinn.geometry`)."""

    @property
    @abstractmethod
    def coordinates(self) -> tuple[str, ...]:
        """Names of the columns of points."""

    @property
    @abstractmethod
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest value of each coordinate."""

    @abstractmethod
    def contains(self, points: Tensor) -> Tensor:
        """(m,) bool for points (m, d)."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, kind: Kind = "uniform") -> Tensor:
        """Fresh points (n, d) float64 inside."""


class Draw(NamedTuple):
    """A set of collocation points.

    Attributes:
        points: (n, d) float64.
        weights: (n,) float64 with mean one, factors on the squared residuals.
        origin: (n,) int64, the row of the former set that a point was, −1 for a fresh one.
    """

    points: Tensor
    weights: Tensor
    origin: Tensor


class ResidualNotFinite(LimbeckError):
    """A residual, or an uncertainty, that is to decide where points go is not a finite number."""


class Sampler(ABC):
    """Points of one domain in one stage, and when they change.

    Points and weights live on the CPU in float64; they are replaced, never changed in place, so a caller may keep them.

    Args:
        n: number of points at the start.
        every: optimizer steps of the stage between two changes; None keeps the points.
        first: steps before the first change, ``every`` unless given; 0 changes the points before the first step, as a
            stage with a trained network wants it.
        kind: how first points and candidates are drawn from the domain.

    Attributes:
        points: (n, d) float64, columns in the order of ``domain.coordinates``.
        weights: (n,) float64 with mean one.
        origin: (n,) int64, for each point its row before the last change, −1 if it is fresh: what is kept per point
            elsewhere follows from it. All −1 after a start or a load.
        changes: how often the points have changed since the start.
        last_change: the step of the last one, −1 before it.

    Raises:
        ConfigurationError: if a value is impossible.
    """

    needs_uncertainty: ClassVar[bool] = False
    """Whether `update` must be given an uncertainty as well."""

    def __init__(self, n: int, every: int | None = None, first: int | None = None, kind: Kind = "uniform") -> None:
        self._require("n", n, n >= 1, "at least one point")
        self._require("every", every, every is None or every >= 1, "at least one step, or null to keep the points")
        self._require("first", first, first is None or first >= 0, "zero or a number of steps")
        self._require("kind", kind, kind in get_args(Kind), f"one of {', '.join(get_args(Kind))}")
        self.n, self.every, self.kind = n, every, kind
        self.first = every if first is None else first
        self._domain: Domain | None = None
        self._generator: torch.Generator | None = None
        self.points = torch.empty(0, 0, dtype=torch.float64)
        self.weights = torch.empty(0, dtype=torch.float64)
        self.origin = torch.empty(0, dtype=torch.int64)
        self.changes = 0
        self.last_change = -1

    def start(self, domain: Domain, generator: torch.Generator, points: Tensor | None = None) -> None:
        """Draw the first points.

        Args:
            domain: where points come from.
            generator: the only source of randomness; its state belongs to the sampler's state from here on.
            points: (n, d) to begin with instead of fresh ones, for example those of the stage before.

        Raises:
            ConfigurationError: if the given points are not of the shape this sampler works with.
        """
        self._domain, self._generator = domain, generator
        self.changes, self.last_change = 0, -1
        if points is not None:
            self._check_given(points)
        self._put(self._fresh(self._candidates(self.n) if points is None else points.detach().to("cpu", torch.float64)))

    def due(self, step: int) -> bool:
        """Whether the points change when `update` is called with this number of steps done in the stage."""
        if self.every is None or self.first is None or step < self.first:
            return False
        return (step - self.first) // self.every > (self.last_change - self.first) // self.every

    def update(self, step: int, residual: PointFunction, uncertainty: PointFunction | None = None) -> bool:
        """Change the points if it is time to.

        Args:
            step: optimizer steps done in the stage; a second call with the same step changes nothing.
            residual: |r| at any points, all equations together.
            uncertainty: how unsure the network is at any points, in any unit; only `Uncertainty` asks for it.

        Returns:
            Whether points or weights changed.

        Raises:
            ResidualNotFinite: names this sampler and the first point at which a value is not finite.
        """
        if not self.due(step):
            return False
        self._put(self._change(residual, uncertainty))
        self.last_change = step
        self.changes += 1
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything that later points depend on, as tensors, numbers and names."""
        return {
            "sampler": type(self).__name__,
            "coordinates": list(self.domain.coordinates),
            "points": self.points.clone(),
            "weights": self.weights.clone(),
            "generator": self.generator.get_state(),
            "changes": self.changes,
            "last_change": self.last_change,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state; `start` comes first and gives domain and generator.

        Raises:
            ConfigurationError: if the state is another sampler's or another domain's.
        """
        mine = {"sampler": type(self).__name__, "coordinates": list(self.domain.coordinates)}
        for name, value in mine.items():
            if state_dict[name] != value:
                raise ConfigurationError(
                    f"The saved points have the {name} {state_dict[name]}, but the configuration has {value}. Restore "
                    "it, or start beside the old run with run.resume=false."
                )
        self.generator.set_state(state_dict["generator"])
        points = state_dict["points"].clone()
        self._put(Draw(points, state_dict["weights"].clone(), _no_origin(len(points))))
        self.changes, self.last_change = state_dict["changes"], state_dict["last_change"]

    @abstractmethod
    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        """The points that replace the present ones."""

    @property
    def domain(self) -> Domain:
        """Where points come from."""
        assert self._domain is not None, "start comes first"
        return self._domain

    @property
    def generator(self) -> torch.Generator:
        """Where randomness comes from."""
        assert self._generator is not None, "start comes first"
        return self._generator

    def _candidates(self, n: int) -> Tensor:
        """Fresh points (n, d) of the domain."""
        if n == 0:
            return torch.empty(0, len(self.domain.coordinates), dtype=torch.float64)
        return self.domain.sample(n, self.generator, self.kind)

    def _fresh(self, points: Tensor) -> Draw:
        return Draw(points, torch.ones(len(points), dtype=torch.float64), _no_origin(len(points)))

    def _kept_and_fresh(self, kept: Tensor, fresh: Tensor) -> Draw:
        """The present points of these rows, then fresh ones."""
        points = torch.cat([self.points[kept], fresh])
        return Draw(points, torch.ones(len(points), dtype=torch.float64), torch.cat([kept, _no_origin(len(fresh))]))

    def _scores(self, points: Tensor, function: PointFunction, name: str = "residual") -> Tensor:
        """(m,) float64 magnitudes of a function at points, on the CPU.

        Raises:
            ResidualNotFinite: names this sampler and the first point without a finite value.
            ValueError: if the function does not give one number per point.
        """
        values = function(points).detach().to("cpu", torch.float64).abs()
        if values.shape != points.shape[:1]:
            raise ValueError(
                f"{type(self).__name__}: the {name} of {len(points)} points has the shape {tuple(values.shape)}; "
                f"it is one number per point, ({len(points)},)."
            )
        bad = ~torch.isfinite(values)
        if bad.any():
            where = zip(self.domain.coordinates, points[bad][0].tolist(), strict=True)
            raise ResidualNotFinite(
                f"{type(self).__name__}: the {name} is not finite at {int(bad.sum())} of {len(points)} points, first "
                f"at {', '.join(f'{name}={value:.6g}' for name, value in where)}. Lower the learning rate, clip "
                "gradients, or look for a division by zero in the equations there."
            )
        return values

    def _put(self, draw: Draw) -> None:
        self.points, self.weights, self.origin = draw

    def _check_given(self, points: Tensor) -> None:
        expected = (self.n, len(self.domain.coordinates))
        if points.shape != expected:
            raise ConfigurationError(
                f"{type(self).__name__} works with points of the shape {expected}, but was started from "
                f"{tuple(points.shape)}. Set its n to {len(points)}, or start it from fresh points."
            )

    def _require(self, name: str, value: object, holds: bool, meaning: str) -> None:
        if not holds:
            raise ConfigurationError(f"{type(self).__name__}: {name}={value} is impossible; it is {meaning}.")


def _no_origin(n: int) -> Tensor:
    return torch.full((n,), -1, dtype=torch.int64)
