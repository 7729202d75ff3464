"""Importance sampling: points follow the residual, and weights undo the density, so that the loss stays the mean."""

from __future__ import annotations

from torch import Tensor

from pinn.sampling.rad import RAD


class Importance(RAD):
    """Points drawn as `RAD` draws them, with weights ``1 / p`` of mean one.

    The weighted mean over the points estimates the mean over the domain: a loss with less noise, not another loss. For
    distinct candidates p is their probability to be drawn at all, which is exact also where n is not small against
    the number of candidates; what is left is the bias of order 1/n that comes from the mean of one.

    Arguments, cost and errors are those of `RAD`; ``c`` bounds the largest weight by about ``(1 + c) / c``.

    Source: Nabian, Gladstone, Meidani, "Efficient training of PINNs via importance sampling", Computer-Aided Civil and
    Infrastructure Engineering 36 (2021) 962; the probabilities as in `pinn.sampling.density.draw`.
    """

    def _weights(self, probability: Tensor) -> Tensor:
        weights = 1 / probability
        return weights / weights.mean()
