"""Balances with a number for every point, which follow the points when those change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.weighting.balance import Balance, TermGradients


class Pointwise(Balance):
    """Keeps λ_i of every point of some terms: 8 bytes per point.

    When points change, those that stay keep their λ, and fresh ones get the mean over the former points, so that the
    term as a whole counts as before.

    Args:
        every: optimizer steps between two changes.
        initial: λ at the start.
        terms: which terms have them; None: all.

    Attributes:
        multipliers: λ (n,) float64 of each of these terms.
    """

    def __init__(self, every: int, initial: float, terms: Sequence[str] | None) -> None:
        super().__init__(every)
        self.initial = initial
        self.terms = None if terms is None else list(terms)
        self.multipliers: dict[str, Tensor] = {}

    def start(self, terms: Mapping[str, int]) -> None:
        super().start(terms)
        chosen = list(terms) if self.terms is None else self._known(self.terms, terms)
        self.multipliers = {
            term: torch.full((terms[term],), self.initial, dtype=torch.float64) for term in terms if term in chosen
        }

    def point_weights(self, term: str, n: int) -> Tensor | None:
        if term not in self.multipliers:
            return None
        multipliers = self.multipliers[term]
        if len(multipliers) != n:
            raise ValueError(
                f"{type(self).__name__} knows {len(multipliers)} points of {term}, but {n} are asked for; "
                "points_changed comes after every change of points."
            )
        return self._weights(multipliers)

    def points_changed(self, term: str, n: int, origin: Tensor | None = None) -> None:
        super().points_changed(term, n, origin)
        if term not in self.multipliers:
            return
        former = self.multipliers[term]
        origin = torch.full((n,), -1) if origin is None else origin
        if origin.shape != (n,):
            raise ValueError(f"{term}: origin has the shape {tuple(origin.shape)}, but there are {n} points.")
        self.multipliers[term] = torch.where(origin >= 0, former[origin.clamp(min=0)], former.mean())

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "multipliers": {term: values.clone() for term, values in self.multipliers.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.multipliers = {term: values.clone() for term, values in state_dict["multipliers"].items()}

    @abstractmethod
    def _weights(self, multipliers: Tensor) -> Tensor:
        """The weights (n,) that these λ mean."""

    @abstractmethod
    def _moved(self, residuals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """λ of every term after a change, for residuals of the same shapes."""

    def _change(self, gradients: TermGradients) -> None:
        residuals = {term: self._residuals(term, len(old), gradients) for term, old in self.multipliers.items()}
        self.multipliers = self._moved(residuals)

    def _residuals(self, term: str, n: int, gradients: TermGradients) -> Tensor:
        residuals = gradients.residual(term).detach().to("cpu", torch.float64)
        if residuals.shape != (n,):
            raise ValueError(
                f"{type(self).__name__} knows {n} points of {term}, but its residual has the shape "
                f"{tuple(residuals.shape)}; points_changed comes after every change of points."
            )
        self._finite(term, "largest residual", float(residuals.abs().max()))
        return residuals
