"""Weights that a user sets."""

from __future__ import annotations

from collections.abc import Mapping

from pinn.weighting.balance import Balance, TermGradients


class Fixed(Balance):
    """The weights given, one for every term that is not named. Costs nothing.

    Args:
        weights: factor of each term, not negative.

    Raises:
        ConfigurationError: if a weight is negative, or (from `start`) names no term.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(every=None)
        self.weights = {name: float(value) for name, value in (weights or {}).items()}
        for name, value in self.weights.items():
            self._require(f"weights.{name}", value, 0 <= value < float("inf"), "zero or a positive number")

    def start(self, terms: Mapping[str, int]) -> None:
        super().start(terms)
        self._known(self.weights, terms)
        self.term_weights.update(self.weights)

    def _change(self, gradients: TermGradients) -> None:
        raise AssertionError("fixed weights are never due")
