"""Self-adaptive weights: a saddle point, in which the weights ascend where the network descends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pinn.names import hint
from pinn.weighting.balance import Balance, TermGradients
from pinn.weighting.pointwise import Pointwise

Mask = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

MASKS: dict[str, Mask] = {
    "identity": (lambda x: x, torch.ones_like),
    "square": (lambda x: x**2, lambda x: 2 * x),
    "softplus": (torch.nn.functional.softplus, torch.sigmoid),
    "sigmoid": (torch.sigmoid, lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x))),
}
"""Positive, rising functions m and their slopes m'."""


class SelfAdaptive(Pointwise):
    """Weights m(λ), trained with the network: λ ascends the loss, so that what stays wrong counts more and more.

    ``λ ← λ + lr g / mean g`` with ``g_ki = m'(λ_ki) r_ki²`` for each point (``per: point``) or
    ``g_k = m'(λ_k) mean_i r_ki²`` for each term (``per: term``); the mean is over all points of a term, then over the
    terms. It sets the length of the ascent alone: λ grows by lr per change in the mean, whatever the unit of the
    residuals, where plain ascent grows without bound and Adam, as in the source, nearly forgets which residual is the
    larger one. Weights only grow; a mask with an upper end (sigmoid) bounds them.

    The derivative is written out, nothing is differentiated: a change costs the residuals, which the last loss
    evaluation has, and 8 bytes per point or term.

    Args:
        lr: growth of λ per change, in the mean.
        mask: m by its name in `MASKS`: identity, square, softplus or sigmoid.
        per: ``point`` or ``term``.
        initial: λ at the start.
        every: optimizer steps between two changes.
        terms: which terms are weighted; None: all.

    Raises:
        ConfigurationError: if a value is impossible, or (from `start`) names no term.

    Source: McClenny, Braga-Neto, "Self-adaptive physics-informed neural networks", Journal of Computational Physics 474
    (2023) 111722, with a step of given length for Adam's.
    """

    def __init__(
        self,
        lr: float = 0.005,
        mask: str = "square",
        per: str = "point",
        initial: float = 1.0,
        every: int = 1,
        terms: Sequence[str] | None = None,
    ) -> None:
        super().__init__(every, initial, terms)
        self._require("lr", lr, lr > 0, "positive")
        self._require("mask", mask, mask in MASKS, f"a function of {', '.join(MASKS)}; {hint(mask, MASKS)}")
        self._require("per", per, per in ("point", "term"), "point or term")
        self.lr, self.per = lr, per
        self.mask, self.slope = MASKS[mask]

    def start(self, terms: Mapping[str, int]) -> None:
        super().start(terms if self.per == "point" else dict.fromkeys(terms, 1))
        self._set_term_weights()

    def point_weights(self, term: str, n: int) -> Tensor | None:
        return super().point_weights(term, n) if self.per == "point" else None

    def points_changed(self, term: str, n: int, origin: Tensor | None = None) -> None:
        if self.per == "point":
            super().points_changed(term, n, origin)
        else:
            Balance.points_changed(self, term, n, origin)

    def _weights(self, multipliers: Tensor) -> Tensor:
        return self.mask(multipliers)

    def _moved(self, residuals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        slopes = {term: self.slope(old) * residuals[term] ** 2 for term, old in self.multipliers.items()}
        mean = sum(float(slope.mean()) for slope in slopes.values()) / max(len(slopes), 1)
        if mean == 0:
            return self.multipliers
        return {term: old + self.lr / mean * slopes[term] for term, old in self.multipliers.items()}

    def _change(self, gradients: TermGradients) -> None:
        super()._change(gradients)
        self._set_term_weights()

    def _residuals(self, term: str, n: int, gradients: TermGradients) -> Tensor:
        if self.per == "point":
            return super()._residuals(term, n, gradients)
        residuals = gradients.residual(term).detach().to("cpu", torch.float64)
        self._finite(term, "largest residual", float(residuals.abs().max()))
        return residuals.square().mean().sqrt().reshape(1)

    def _set_term_weights(self) -> None:
        if self.per == "term":
            self.term_weights.update({term: float(self.mask(value)) for term, value in self.multipliers.items()})
