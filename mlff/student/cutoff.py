"""Envelopes that take every interaction to exactly zero at the cutoff radius, with their slopes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


class Envelope(torch.nn.Module):
    """A function ``u(d)`` with ``u(0) = 1`` that vanishes at the cutoff radius and beyond.

    Args:
        cutoff: radius in Å, positive.

    Raises:
        ValueError: if the radius is not positive and finite.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        if not (math.isfinite(cutoff) and cutoff > 0):
            raise ValueError(f"The cutoff is a positive length in Å; got {cutoff}.")
        self.cutoff = cutoff

    def forward(self, distance: Float[Tensor, "edges"]) -> tuple[Float[Tensor, "edges"], Float[Tensor, "edges"]]:
        """Envelope and its derivative with respect to the distance.

        Args:
            distance: (n_edges,) Å, non-negative.

        Returns:
            The envelope (n_edges,), dimensionless, and its derivative (n_edges,) in 1/Å; both zero beyond the cutoff.
        """
        raise NotImplementedError


class PolynomialCutoff(Envelope):
    """``u = u' = u'' = 0`` at the cutoff, so that curvature (vibrations, Hessians) is continuous too.

    ``u(d) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2)`` with ``x = d / cutoff`` and the power ``p = 6``.

    Source: Gasteiger, Groß, Günnemann, "Directional message passing for molecular graphs", ICLR 2020, eq. 8.
    """

    order = 6

    def forward(self, distance: Float[Tensor, "edges"]) -> tuple[Float[Tensor, "edges"], Float[Tensor, "edges"]]:
        p = self.order
        x = (distance / self.cutoff).clamp(max=1.0)
        below = x ** (p - 1)
        envelope = 1 - below * x * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2)))
        slope = -p * (p + 1) * (p + 2) / 2 * below * (1 - x) ** 2 / self.cutoff
        return envelope, slope


class CosineCutoff(Envelope):
    """``u(d) = (1 + cos(π d / cutoff)) / 2``; its curvature jumps at the cutoff. For parity with published models.

    Source: Behler, "Atom-centered symmetry functions", J. Chem. Phys. 134, 074106 (2011), eq. 4.
    """

    def forward(self, distance: Float[Tensor, "edges"]) -> tuple[Float[Tensor, "edges"], Float[Tensor, "edges"]]:
        angle = (distance / self.cutoff).clamp(max=1.0) * math.pi
        inside = distance < self.cutoff
        envelope = 0.5 * (1 + torch.cos(angle)) * inside
        slope = -0.5 * math.pi / self.cutoff * torch.sin(angle) * inside
        return envelope, slope
