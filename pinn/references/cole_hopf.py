"""Burgers' equation from a sine, solved by the Cole–Hopf transformation to the accuracy of double precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinn.references.reference import Reference

MARGIN = 40.0
"""The integrand is left out where it is below exp(−40) = 4e-18 of its largest value."""

SPACING = 0.04
"""Of the trapezoidal rule, in units of the width of the heat kernel; 0.08 gives the same to rounding."""

POINTS_AT_ONCE = 256


class ColeHopf(Reference):
    """``u_t + u u_x = ν u_xx`` with ``u(x, 0) = −sin πx``.

    ``u = −∫ sin(πy) E dz / ∫ E dz`` with ``E = exp(−(1 + cos πy)/(2πν) − z²)`` and ``y = x − sqrt(4νt) z``.

    The largest exponent is taken out before the exponential, so that nothing under- or overflows for small ν. Source:
    Basdevant et al., "Spectral and finite difference solutions of the Burgers equation", Comput. Fluids 14 (1986) 23.

    Args:
        viscosity: ν, positive.
        spacing: of the nodes in z.
    """

    fields = ("u",)
    coordinates = ("x", "t")

    def __init__(self, viscosity: float, spacing: float = SPACING) -> None:
        self.viscosity = viscosity
        # no exponent's maximum lies below −1/(πν), so nothing beyond this z counts
        reach = math.sqrt(1 / (math.pi * viscosity) + MARGIN)
        self.nodes = spacing * torch.arange(-math.ceil(reach / spacing), math.ceil(reach / spacing) + 1).double()

    def values(self, points: Tensor) -> dict[str, Tensor]:
        columns = self.columns(points)
        x, t = columns["x"], columns["t"]
        chunks = [self.velocity(a, b) for a, b in zip(x.split(POINTS_AT_ONCE), t.split(POINTS_AT_ONCE), strict=True)]
        return {"u": torch.cat(chunks) if chunks else x}

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """The solution at points (n_points,), differentiable by autograd for t > 0."""
        z = self.nodes.to(x.device)
        y = x[:, None] - torch.sqrt(4 * self.viscosity * t)[:, None] * z
        exponent = -(1 + torch.cos(torch.pi * y)) / (2 * math.pi * self.viscosity) - z**2
        return -(torch.softmax(exponent, dim=1) * torch.sin(torch.pi * y)).sum(1)

    @property
    def floor(self) -> float:
        return 1e-14

    @property
    def floor_note(self) -> str:
        return "Cole–Hopf formula by the trapezoidal rule, exact to rounding; compared with 40-digit arithmetic"
