"""The singular flow at the ends of a sliding lid as a lift: what `pinn.references.lid_end` derives, in torch functions.

A network that learns only the rest of the flow meets bounded pressure and continuous velocities.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pinn.jets.elementary import Derivatives
from pinn.jets.jet import Jet
from pinn.references.lid_end import B, C, E, inertial_term

TINY = 1e-300
"""Added to r², so that velocities are finite at the end of the lid itself."""


def flow_at_lid_ends(x: Any, y: Any, reynolds: float) -> dict[str, Any]:
    """u, v and p of the two most singular terms at both ends of the lid of the unit square, one end on the other.

    At the end itself, where every direction has its own velocity, that of the lid is returned, and no pressure.

    Args:
        x, y: tensors or jets.
        reynolds: Re.
    """
    left, right = (_one_end(a, 1 - y, side, reynolds) for a, side in ((x, 1), (1 - x, -1)))
    return {name: left[name] + right[name] for name in left}


def _one_end(a: Any, b: Any, side: int, reynolds: float) -> dict[str, Any]:
    """The flow by the distances a from the side wall and b from the lid; see `pinn.references.lid_end`."""
    series, c = inertial_term()
    square = a * a + b * b + TINY
    angle = 2.0 * _applied(arctangent, b / (torch.sqrt(square) + a))
    f, slope = (_applied(_Series(s), angle) for s in (series, series.deriv(1)))
    swept = (C * a + E * b) / square
    inertia = side * reynolds
    by_a = C * angle - swept * b + inertia * (2 * a * f - b * slope)
    by_b = B + E * angle + swept * a + inertia * (2 * b * f + a * slope)
    pressure = -2 * side / reynolds * swept - 0.5 * c * torch.log(square)
    return {"u": -by_b, "v": -side * by_a, "p": pressure}


def arctangent(x: Tensor, order: int) -> list[Tensor]:
    """``atan x`` and its derivatives ``(k − 1)! cosᵏθ sin k(θ + π/2)`` with ``θ = atan x``."""
    theta = torch.atan(x)
    found = [theta]
    for k in range(1, order + 1):
        found.append(math.factorial(k - 1) * torch.cos(theta) ** k * torch.sin(k * (theta + math.pi / 2)))
    return found


class _Series:
    """A Chebyshev series with its derivatives, by Clenshaw's recurrence."""

    def __init__(self, series: Any) -> None:
        self.series = series

    def __call__(self, x: Tensor, order: int) -> list[Tensor]:
        return [self._value(self.series.deriv(k) if k else self.series, x) for k in range(order + 1)]

    @staticmethod
    def _value(series: Any, x: Tensor) -> Tensor:
        low, high = series.domain
        z = (2 * x - (low + high)) / (high - low)
        after, current = torch.zeros_like(x), torch.zeros_like(x)
        for coefficient in series.coef[:0:-1]:
            after, current = current, 2 * z * current - after + float(coefficient)
        return z * current - after + float(series.coef[0])


def _applied(function: Derivatives, value: Any) -> Any:
    return value.apply(function) if isinstance(value, Jet) else function(value, 0)[0]
