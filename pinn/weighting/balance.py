"""What every loss balance promises: a weight for each term, perhaps for each point, a schedule, and exact state.

The loss of a stage is ``Σ_k w_k mean_i λ_ki r_ki²`` over terms k (an equation, a condition) and their points i. The
balance gives ``w_k`` (`Balance.term_weights`) and ``λ_ki`` (`Balance.point_weights`); weights from the stage's own
``loss_weights`` and from the sampler are further factors, applied by whoever computes the loss.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor

from pinn.names import hint
from training.errors import ConfigurationError, LimbeckError


class TermGradients(Protocol):
    """What a balance may ask about the present state of training; only what it asks for is computed.

    All answers are for the unweighted terms: no term weight, no point weight, no sampler weight.
    """

    @abstractmethod
    def gradient_norm(self, term: str) -> float:
        """``‖∇θ mean_i r_i²‖`` over all points of the term."""

    @abstractmethod
    def squared_gradient(self, term: str, points: int) -> float:
        """``mean_i ‖∇θ r_i‖²`` over this many points of the term, or all it has: the mean diagonal of its NTK."""

    @abstractmethod
    def residual(self, term: str) -> Tensor:
        """(n,) r at the term's present points, without gradient; that of the last loss evaluation will do."""


class NotBalanced(LimbeckError):
    """A balance was given a number that is not finite."""


class Balance(ABC):
    """Weights of loss terms, and when they change.

    Args:
        every: optimizer steps of the stage between two changes, the first one before the first step; None never
            changes the weights.

    Attributes:
        term_weights: factor of each term, a plain number.
        last_change: the step of the last change, −1 before it.

    Raises:
        ConfigurationError: if a value is impossible.
    """

    def __init__(self, every: int | None) -> None:
        self._require("every", every, every is None or every >= 1, "at least one step")
        self.every = every
        self.term_weights: dict[str, float] = {}
        self.last_change = -1

    def start(self, terms: Mapping[str, int]) -> None:
        """Begin with the terms of a stage and the number of points of each.

        Raises:
            ConfigurationError: if the settings name a term that does not exist.
        """
        self.term_weights = dict.fromkeys(terms, 1.0)
        self.last_change = -1

    def due(self, step: int) -> bool:
        """Whether `update` is to be called with this number of steps done in the stage."""
        return self.every is not None and step // self.every > self.last_change // self.every

    def update(self, step: int, gradients: TermGradients) -> bool:
        """Change the weights if it is time to.

        Args:
            step: optimizer steps done in the stage; a second call with the same step changes nothing.
            gradients: the present state of training.

        Returns:
            Whether the weights changed.

        Raises:
            NotBalanced: names the term whose gradient or residual is not finite.
        """
        if not self.due(step):
            return False
        self._change(gradients)
        self.last_change = step
        return True

    def point_weights(self, term: str, n: int) -> Tensor | None:
        """(n,) float64 on the CPU, factors on the squared residuals of a term's n points; None where all are one."""
        return None

    def points_changed(self, term: str, n: int, origin: Tensor | None = None) -> None:
        """Follow a change of a term's points.

        Args:
            term: whose points changed.
            n: how many there are.
            origin: (n,) int64, for each point its row before the change or −1 for a fresh one, as
                `pinn.sampling.Sampler.origin` says; None: all are fresh.

        Raises:
            ConfigurationError: if there is no such term.
        """
        self._known([term], self.term_weights)

    def state_dict(self) -> dict[str, Any]:
        """Everything that later weights depend on, as tensors, numbers and names."""
        return {
            "balance": type(self).__name__,
            "term_weights": dict(self.term_weights),
            "last_change": self.last_change,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state; `start` comes first.

        Raises:
            ConfigurationError: if the state is another balance's, or has other terms.
        """
        saved = (state_dict["balance"], sorted(state_dict["term_weights"]))
        mine = (type(self).__name__, sorted(self.term_weights))
        if saved != mine:
            raise ConfigurationError(
                f"The saved weights are those of {saved[0]} for the terms {', '.join(saved[1])}, but the configuration "
                f"has {mine[0]} for {', '.join(mine[1])}. Restore it, or start beside the old run with "
                "run.resume=false."
            )
        self.term_weights = dict(state_dict["term_weights"])
        self.last_change = state_dict["last_change"]

    @abstractmethod
    def _change(self, gradients: TermGradients) -> None:
        """Set the weights."""

    def _known(self, names: Iterable[str], terms: Iterable[str]) -> list[str]:
        terms = list(terms)
        for name in names:
            if name not in terms:
                raise ConfigurationError(f"{type(self).__name__}: there is no loss term {name}; {hint(name, terms)}")
        return list(names)

    def _finite(self, term: str, name: str, value: float) -> float:
        if not math.isfinite(value):
            raise NotBalanced(
                f"{type(self).__name__}: the {name} of {term} is {value}. Lower the learning rate, clip gradients, or "
                f"look for a division by zero in {term}."
            )
        return float(value)

    def _require(self, name: str, value: object, holds: bool, meaning: str) -> None:
        if not holds:
            raise ConfigurationError(f"{type(self).__name__}: {name}={value} is impossible; it is {meaning}.")
