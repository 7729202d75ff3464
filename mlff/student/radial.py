"""Radial bases: a distance as a row of smooth numbers, with their slopes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


class RadialBasis(torch.nn.Module):
    """Functions of the distance on ``(0, cutoff]``.

    Args:
        size: how many functions.
        cutoff: radius in Å.
    """

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__()
        if size < 2:
            raise ValueError(f"A radial basis needs at least 2 functions; got {size}.")
        self.size = size
        self.cutoff = cutoff

    def forward(
        self, distance: Float[Tensor, "edges"]
    ) -> tuple[Float[Tensor, "edges radial"], Float[Tensor, "edges radial"]]:
        """Values and derivatives.

        Args:
            distance: (n_edges,) Å, positive.

        Returns:
            The functions (n_edges, size), dimensionless, and their derivatives (n_edges, size) in 1/Å.
        """
        raise NotImplementedError


class BesselBasis(RadialBasis):
    """``sqrt(2 / rc) · sin(k π d / rc) / d`` for ``k = 1 … size``, lengths in Å.

    Source: Gasteiger, Groß, Günnemann, "Directional message passing for molecular graphs", ICLR 2020, eq. 7.
    """

    wavenumber: Tensor

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__(size, cutoff)
        self.register_buffer(
            "wavenumber", torch.arange(1, size + 1, dtype=torch.float64) * (math.pi / cutoff), persistent=False
        )

    def forward(
        self, distance: Float[Tensor, "edges"]
    ) -> tuple[Float[Tensor, "edges radial"], Float[Tensor, "edges radial"]]:
        wavenumber = self.wavenumber.to(distance.dtype)
        inverse = distance.reciprocal().unsqueeze(-1)
        phase = distance.unsqueeze(-1) * wavenumber
        norm = math.sqrt(2.0 / self.cutoff)
        values = norm * torch.sin(phase) * inverse
        slopes = (norm * torch.cos(phase) * wavenumber - values) * inverse
        return values, slopes


class GaussianBasis(RadialBasis):
    """``exp(−(d − μ_k)² / (2 δ²))`` with centres ``μ_k`` evenly from 0 to the cutoff and ``δ`` their spacing.

    The basis of SchNet and of SchNetPack's PaiNN (Schütt et al., J. Chem. Phys. 148, 241722, 2018).
    """

    centre: Tensor

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__(size, cutoff)
        self.register_buffer("centre", torch.linspace(0.0, cutoff, size, dtype=torch.float64), persistent=False)
        self.spacing = cutoff / (size - 1)

    def forward(
        self, distance: Float[Tensor, "edges"]
    ) -> tuple[Float[Tensor, "edges radial"], Float[Tensor, "edges radial"]]:
        offset = (distance.unsqueeze(-1) - self.centre.to(distance.dtype)) / self.spacing
        values = torch.exp(-0.5 * offset**2)
        return values, -offset / self.spacing * values
