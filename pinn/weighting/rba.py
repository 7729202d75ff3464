"""Residual-based attention: each point carries a decaying memory of its own residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from pinn.weighting.pointwise import Pointwise


class RBA(Pointwise):
    """``λ_i ← γ λ_i + η |r_i| / max |r|``, and the loss is ``mean_i (λ_i r_i)²``: the point weights are λ².

    λ stays between 0 and ``max(initial, η / (1 − γ))``. Nothing is differentiated; a change costs the residuals, which
    the last loss evaluation has, and 8 bytes per point. For points that stay or change rarely.

    Args:
        decay: γ per change; 0.999 remembers a thousand of them.
        rate: η; with 1 − γ the largest λ is one.
        initial: λ at the start.
        every: optimizer steps between two changes.
        terms: which terms have attention; None: all.

    Raises:
        ConfigurationError: if a value is impossible, or (from `start`) names no term.

    Source: Anagnostopoulos, Toscano, Stergiopulos, Karniadakis, "Residual-based attention in PINNs", CMAME 421 (2024)
    116805.
    """

    def __init__(
        self,
        decay: float = 0.999,
        rate: float = 0.001,
        initial: float = 1.0,
        every: int = 1,
        terms: Sequence[str] | None = None,
    ) -> None:
        super().__init__(every, initial, terms)
        self._require("decay", decay, 0 < decay < 1, "between 0 and 1")
        self._require("rate", rate, rate > 0, "positive")
        self._require("initial", initial, initial >= 0, "zero or positive")
        self.decay, self.rate = decay, rate

    def _weights(self, multipliers: Tensor) -> Tensor:
        return multipliers**2

    def _moved(self, residuals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            term: self.decay * multipliers + self.rate * _share(residuals[term].abs())
            for term, multipliers in self.multipliers.items()
        }


def _share(magnitudes: Tensor) -> Tensor:
    """Of the largest; where all are zero there is nothing to attend to."""
    largest = magnitudes.max()
    return magnitudes / largest if largest > 0 else magnitudes
