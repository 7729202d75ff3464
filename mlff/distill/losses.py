"""How the distance between a prediction and a label counts, chosen in a stage's config by ``_target_``."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Squared:
    """``x²``: the error that the largest outliers rule."""

    def __call__(self, difference: Tensor) -> Tensor:
        return difference.square()


class Absolute:
    """``|x|``: the error that is reported, with the same pull from every sample."""

    def __call__(self, difference: Tensor) -> Tensor:
        return difference.abs()


class Huber:
    """``x² / (2 δ)`` within δ and ``|x| − δ / 2`` beyond: robust against outliers, smooth at the minimum.

    Huber's function divided by δ, so that it keeps the unit of the difference and large errors count as in `Absolute`.

    Args:
        delta: eV/Å for forces, eV/atom for energies.

    Raises:
        ValueError: unless δ is positive and finite.

    Source: P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35, 73 (1964).
    """

    def __init__(self, delta: float = 0.01) -> None:
        if not (math.isfinite(delta) and delta > 0):
            raise ValueError(f"delta={delta} must be positive.")
        self.delta = delta

    def __call__(self, difference: Tensor) -> Tensor:
        return torch.nn.functional.huber_loss(
            difference, torch.zeros_like(difference), reduction="none", delta=self.delta
        ).div(self.delta)
