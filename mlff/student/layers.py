"""The dense pieces of PaiNN with their reverse sweeps: a perceptron with one hidden layer, and the radial filter."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, silu

from mlff.student.cutoff import Envelope
from mlff.student.radial import RadialBasis


def silu_slope(x: Tensor) -> Tensor:
    """Derivative of ``x σ(x)``: ``σ(x) (1 + x (1 − σ(x)))``."""
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


def full_precision(device: torch.device) -> torch.autocast:
    """Switches reduced precision off: what is made of distances keeps the weights' precision, and so do the forces."""
    return torch.autocast(device.type, enabled=False)


class Perceptron(torch.nn.Module):
    """``W2 silu(W1 x + b1) + b2``.

    Args:
        inputs, hidden, outputs: numbers of channels.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(inputs, hidden)
        self.second = torch.nn.Linear(hidden, outputs)
        for layer in (self.first, self.second):
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "atoms inputs"]) -> tuple[Tensor, Tensor]:
        """The value (n_atoms, outputs) and the pre-activation (n_atoms, hidden) that `reverse` needs."""
        before = self.first(x)
        return self.second(silu(before)), before

    def reverse(self, bar: Float[Tensor, "atoms outputs"], before: Float[Tensor, "atoms hidden"]) -> Tensor:
        """From the derivative with respect to the value to the one with respect to ``x``: (n_atoms, inputs)."""
        return linear(linear(bar, self.second.weight.t()) * silu_slope(before), self.first.weight.t())


class RadialFeatures(NamedTuple):
    """What every filter reads of the distances: the radial functions and a one, all times the envelope.

    Attributes:
        values: (n_edges, R + 1) ``[rbf(d) u(d), u(d)]``.
        slopes: (n_edges, R + 1) their derivatives in 1/Å.
    """

    values: Tensor
    slopes: Tensor

    @classmethod
    def of(cls, distance: Tensor, basis: RadialBasis, envelope: Envelope) -> RadialFeatures:
        """The features of (n_edges,) distances in Å."""
        values, value_slopes = basis(distance)
        cut, cut_slope = (x.unsqueeze(-1) for x in envelope(distance))
        return cls(
            torch.cat([values * cut, cut], dim=-1),
            torch.cat([value_slopes * cut + values * cut_slope, cut_slope], dim=-1),
        )


class RadialFilter(torch.nn.Module):
    """``W(d) = (A · rbf(d) + a) · u(d)``: the envelope multiplies after the bias, so the filter is zero at the cutoff.

    Args:
        radial: number of radial functions R.
        outputs: number of filter channels.
    """

    def __init__(self, radial: int, outputs: int) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(radial, outputs)
        torch.nn.init.xavier_uniform_(self.dense.weight)
        torch.nn.init.zeros_(self.dense.bias)

    def forward(self, radial: RadialFeatures) -> Float[Tensor, "edges outputs"]:
        """The filter of every edge: (n_edges, outputs)."""
        with full_precision(radial.values.device):
            return linear(radial.values, self.weights())

    def reverse(self, bar: Float[Tensor, "edges outputs"], radial: RadialFeatures) -> Float[Tensor, "edges"]:
        """``Σ_f W̄_f W'_f(d)``: (n_edges,) eV/Å.

        Contracted with the weights first, so that ``W'`` with its wide rows is never formed.
        """
        with full_precision(radial.values.device):
            return (linear(bar, self.weights().t()) * radial.slopes).sum(dim=-1)

    def weights(self) -> Float[Tensor, "outputs radial_and_one"]:
        """``[A, a]``, which multiplies `RadialFeatures`."""
        return torch.cat([self.dense.weight, self.dense.bias.unsqueeze(-1)], dim=-1)
