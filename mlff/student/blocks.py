"""PaiNN's two blocks, each with its forward and its reverse sweep, written beside the equations of docs/forces.md.

Source: Schütt, Unke, Gastegger, "Equivariant message passing for the prediction of tensorial properties and molecular
spectra", ICML 2021, eqs. 7–10.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from mlff.kernels import reference
from mlff.kernels.reference import EdgeList
from mlff.student.layers import Perceptron, RadialFeatures, RadialFilter

# keeps |V| differentiable where V vanishes, as at the start of training
NORM_FLOOR = 1e-8


class MessageTape(NamedTuple):
    """What the reverse sweep of a message block reads again."""

    hidden: Tensor
    features: Tensor
    vectors: Tensor | None
    filters: Tensor


class Message(torch.nn.Module):
    """``φ_j = MLP(s_j)``, ``x_ij = φ_j ∘ W(d_ij)``, ``s_i += Σ_j x^s``, ``v_i += Σ_j n_ij ⊗ x^r + x^v ∘ v_j``.

    Args:
        channels: F.
        radial: number of radial functions.
        initial: the first block, where ``v = 0`` and the part ``x^v`` does not exist.
    """

    def __init__(self, channels: int, radial: int, initial: bool) -> None:
        super().__init__()
        parts = 2 if initial else 3
        self.phi = Perceptron(channels, channels, parts * channels)
        self.filter = RadialFilter(radial, parts * channels)

    def forward(
        self,
        scalars: Float[Tensor, "atoms F"],
        vectors: Float[Tensor, "atoms 3 F"] | None,
        radial: RadialFeatures,
        edges: EdgeList,
    ) -> tuple[Tensor, Tensor, MessageTape]:
        """The updated ``s`` and ``v``, and the tape."""
        features, hidden = self.phi(scalars)
        filters = self.filter(radial)
        scalar_change, vector_change = reference.message(features, vectors, filters, edges)
        tape = MessageTape(hidden, features, vectors, filters)
        return scalars + scalar_change, vector_change if vectors is None else vectors + vector_change, tape

    def reverse(
        self,
        scalar_bar: Float[Tensor, "atoms F"],
        vector_bar: Float[Tensor, "atoms 3 F"],
        tape: MessageTape,
        radial: RadialFeatures,
        edges: EdgeList,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``s̄`` and ``v̄`` before the block; ``d̄`` (n_edges,) and ``n̄`` (n_edges, 3) of the reversed edges."""
        features_bar, through, filter_bar, direction_bar = reference.message_reverse(
            tape.features, tape.vectors, tape.filters, edges, scalar_bar, vector_bar
        )
        distance_bar = self.filter.reverse(filter_bar, radial)
        if features_bar is not None and through is not None:
            scalar_bar = scalar_bar + self.phi.reverse(features_bar, tape.hidden)
            vector_bar = vector_bar + through
        return scalar_bar, vector_bar, distance_bar, direction_bar


class UpdateTape(NamedTuple):
    """What the reverse sweep of an update block reads again."""

    hidden: Tensor
    gates: tuple[Tensor, ...]
    first: Tensor
    second: Tensor
    norm: Tensor
    product: Tensor


class Update(torch.nn.Module):
    """``U = v Wu``, ``V = v Wv``, ``(a_s, a_sv, a_v) = MLP([s, |V|])``; ``s += a_s + a_sv Σ_c U_c V_c``,
    ``v += a_v ∘ U``.

    ``Wu`` and ``Wv`` mix channels only and have no bias: mixing Cartesian components would break rotation invariance.

    Args:
        channels: F.
        final: the last block, after which nobody reads ``v`` and the gate ``a_v`` does not exist.
    """

    def __init__(self, channels: int, final: bool) -> None:
        super().__init__()
        self.parts = 2 if final else 3
        self.mix = torch.nn.Linear(channels, 2 * channels, bias=False)
        torch.nn.init.xavier_uniform_(self.mix.weight)
        self.gate = Perceptron(2 * channels, channels, self.parts * channels)

    def forward(
        self, scalars: Float[Tensor, "atoms F"], vectors: Float[Tensor, "atoms 3 F"]
    ) -> tuple[Tensor, Tensor, UpdateTape]:
        """The updated ``s`` and ``v``, and the tape."""
        first, second = self.mix(vectors).chunk(2, dim=-1)
        norm = (second.square().sum(dim=-2) + NORM_FLOOR).sqrt()
        product = (first * second).sum(dim=-2)
        values, hidden = self.gate(torch.cat([scalars, norm], dim=-1))
        gates = values.chunk(self.parts, dim=-1)
        tape = UpdateTape(hidden, gates, first, second, norm, product)
        if self.parts == 3:
            vectors = vectors + gates[2].unsqueeze(-2) * first
        return scalars + gates[0] + gates[1] * product, vectors, tape

    def reverse(
        self, scalar_bar: Float[Tensor, "atoms F"], vector_bar: Float[Tensor, "atoms 3 F"] | None, tape: UpdateTape
    ) -> tuple[Tensor, Tensor]:
        """``s̄`` and ``v̄`` before the block; ``vector_bar`` is None for the final block, where it is zero."""
        gate_bar = [scalar_bar, scalar_bar * tape.product]
        through = (scalar_bar * tape.gates[1]).unsqueeze(-2)
        first_bar = through * tape.second
        if vector_bar is not None:
            gate_bar.append((vector_bar * tape.first).sum(dim=-2))
            first_bar = first_bar + vector_bar * tape.gates[2].unsqueeze(-2)
        direct, norm_bar = self.gate.reverse(torch.cat(gate_bar, dim=-1), tape.hidden).chunk(2, dim=-1)
        second_bar = through * tape.first + (norm_bar / tape.norm).unsqueeze(-2) * tape.second
        mixed = linear(torch.cat([first_bar, second_bar], dim=-1), self.mix.weight.t())
        return scalar_bar + direct, mixed if vector_bar is None else vector_bar + mixed
