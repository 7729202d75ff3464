"""Balances that give every term the same weighted size."""

from __future__ import annotations

from abc import abstractmethod

from pinn.weighting.balance import Balance, TermGradients


class Ratios(Balance):
    """``w_k ← a w_k + (1 − a) min(mean_j s_j / s_k, largest)`` for a size s_k of each term.

    Large terms get small weights. A term of size zero, which no weight can enlarge, keeps its weight and stays out of
    the mean.

    Args:
        every: optimizer steps between two changes.
        momentum: a; 0 takes each measurement as it is.
        largest: bound of a single ratio.
    """

    def __init__(self, every: int, momentum: float, largest: float) -> None:
        super().__init__(every)
        self._require("momentum", momentum, 0 <= momentum < 1, "from 0 to below 1")
        self._require("largest", largest, largest >= 1, "a number from 1 on")
        self.momentum, self.largest = momentum, largest

    @abstractmethod
    def _size(self, term: str, gradients: TermGradients) -> float:
        """What is to become equal, not negative."""

    def _change(self, gradients: TermGradients) -> None:
        sizes = {term: self._size(term, gradients) for term in self.term_weights}
        measured = {term: size for term, size in sizes.items() if size > 0}
        for term, size in measured.items():
            mean = sum(measured.values()) / len(measured)
            ratio = min(mean / size, self.largest)
            self.term_weights[term] = self.momentum * self.term_weights[term] + (1 - self.momentum) * ratio
