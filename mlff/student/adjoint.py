"""The gradient of a loss on energies and forces with respect to every weight, by hand: fast training on the CPU.

Energies and slopes are one forward program (`PaiNN`'s forward and reverse sweep). This module runs that program on
plain tensors and, for training, walks it backwards: the reverse sweep is undone from the first block up, then the
forward sweep from the last block down. Nothing records a graph, so a step costs its arithmetic and little else. The
derivation is in docs/forces.md; the test compares every gradient with automatic differentiation of the plain network.

Names: ``x_bar`` is ``∂(ΣE)/∂x`` of the reverse sweep, ``d_x`` the derivative of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlff.kernels import rows
from mlff.student.blocks import NORM_FLOOR
from mlff.student.layers import Perceptron, RadialFeatures

if TYPE_CHECKING:
    from mlff.kernels.reference import EdgeList
    from mlff.student.blocks import Message, Update
    from mlff.student.painn import Geometry, PaiNN

Gradients = dict[Tensor, Tensor]
"""Derivatives of the loss by weight."""


def outputs_and_slopes(model: PaiNN, species: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Outputs of the atoms and slopes of the reversed edges, as `PaiNN`'s two sweeps give them.

    Args:
        model: the network.
        species: (n_atoms,) index of each atom's element.
        geometry: edges in the network's dtype, on the CPU.

    Returns:
        ``output`` (n_atoms,) and ``slopes`` (n_edges, 3), in units of the network's output and per Å; differentiable
        with respect to the weights, not the positions.
    """
    weights = list(model.parameters()) if torch.is_grad_enabled() else []
    if any(weight.requires_grad for weight in weights):
        return _Program.apply(model, species, geometry, *weights)
    return _Sweeps(model, species, geometry).results()


class _Program(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: PaiNN, species: Tensor, geometry: Geometry, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.sweeps = _Sweeps(model, species, geometry)
        ctx.weights = weights
        return ctx.sweeps.results()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, d_slopes: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.sweeps.gradients(d_output, d_slopes)
        return None, None, None, *(found.get(weight) for weight in ctx.weights)


class _Sweeps:
    """Both sweeps of one batch and all they leave behind."""

    def __init__(self, model: PaiNN, species: Tensor, geometry: Geometry) -> None:
        rows.use_threads_of_torch()
        self.model, self.species, self.geometry = model, species, geometry
        edges, radial = geometry.edges, geometry.radial
        self.messages = [_MessageSweep(cast("Message", block), edges, radial) for block in model.messages]
        self.updates = [_UpdateSweep(cast("Update", block)) for block in model.updates]
        self.readout = _PerceptronSweep(model.readout)
        scalars, vectors = model.embedding.weight.detach().index_select(0, species), None
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors = message.forward(scalars, vectors)
            scalars, vectors = update.forward(scalars, vectors)
        self.output = self.readout.forward(scalars)
        scalar_bar, vector_bar = self.readout.reverse(torch.ones_like(self.output)), None
        self.distance_bar, self.direction_bar = torch.zeros_like(geometry.distance), torch.zeros_like(edges.direction)
        for message, update in zip(reversed(self.messages), reversed(self.updates), strict=True):
            scalar_bar, vector_bar = update.reverse(scalar_bar, vector_bar)
            scalar_bar, vector_bar, along, across = message.reverse(scalar_bar, vector_bar)
            self.distance_bar, self.direction_bar = self.distance_bar + along, self.direction_bar + across

    def results(self) -> tuple[Tensor, Tensor]:
        """Output of every atom, slope of every reversed edge: ``d̄ n + (n̄ − n (n·n̄)) / d`` with ``n → −n``."""
        direction = -self.geometry.edges.direction
        across = self.direction_bar - direction * (direction * self.direction_bar).sum(dim=-1, keepdim=True)
        slopes = self.distance_bar.unsqueeze(-1) * direction + across / self.geometry.distance.unsqueeze(-1)
        return self.output.squeeze(-1), slopes

    def gradients(self, d_output: Tensor, d_slopes: Tensor) -> Gradients:
        """Derivatives of the loss with respect to all weights, from those with respect to the results."""
        found: Gradients = {}
        direction = -self.geometry.edges.direction
        d_distance_bar = (d_slopes * direction).sum(dim=-1)
        across = d_slopes / self.geometry.distance.unsqueeze(-1)
        d_direction_bar = across - direction * (direction * across).sum(dim=-1, keepdim=True)
        d_scalar_bar, d_vector_bar = None, None
        for message, update in zip(self.messages, self.updates, strict=True):
            d_scalar_bar, d_vector_bar = message.reverse_backward(
                d_scalar_bar, d_vector_bar, d_distance_bar, d_direction_bar, found
            )
            d_scalar_bar, d_vector_bar = update.reverse_backward(d_scalar_bar, d_vector_bar, found)
        self.readout.reverse_backward(cast("Tensor", d_scalar_bar), found)
        d_scalars, d_vectors = self.readout.forward_backward(d_output.unsqueeze(-1), found), None
        for message, update in zip(reversed(self.messages), reversed(self.updates), strict=True):
            d_scalars, d_vectors = update.forward_backward(d_scalars, d_vectors, found)
            d_scalars, d_vectors = message.forward_backward(d_scalars, d_vectors, found)
        table = self.model.embedding.weight
        found[table] = torch.zeros_like(table).index_add_(0, self.species, d_scalars)
        return found


@dataclass
class _PerceptronSweep:
    """``y = W2 silu(W1 x + b1) + b2``, and ``x̄ = W1ᵀ (silu'(h) ∘ W2ᵀ ȳ)``."""

    layer: Perceptron

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.layer.first, self.layer.second
        self.x = x
        self.hidden = torch.addmm(first.bias.detach(), x, first.weight.detach().t())
        self.gate = torch.sigmoid(self.hidden)
        self.value = self.hidden * self.gate
        # silu' = σ (1 + h (1 − σ)) = σ + silu (1 − σ)
        self.slope = torch.addcmul(self.gate + self.value, self.gate, self.value, value=-1)
        return torch.addmm(second.bias.detach(), self.value, second.weight.detach().t())

    def reverse(self, y_bar: Tensor) -> Tensor:
        self.y_bar = y_bar
        self.before = y_bar @ self.layer.second.weight.detach()
        self.through = self.before * self.slope
        return self.through @ self.layer.first.weight.detach()

    def reverse_backward(self, d_x_bar: Tensor, found: Gradients) -> Tensor:
        """From the derivative with respect to ``x̄`` to the one with respect to ``ȳ``; keeps that of ``h``."""
        first, second = self.layer.first.weight, self.layer.second.weight
        d_through = d_x_bar @ first.detach().t()
        found[first] = self.through.t() @ d_x_bar
        # silu'' = σ (1 − σ) (2 + h (1 − 2 σ))
        curvature = self.gate * (1 - self.gate) * (2 + self.hidden - 2 * self.value)
        self.d_hidden = d_through * self.before * curvature
        d_before = d_through * self.slope
        found[second] = self.y_bar.t() @ d_before
        return d_before @ second.detach().t()

    def forward_backward(self, d_y: Tensor, found: Gradients) -> Tensor:
        """From the derivative by ``y`` to the one by ``x``, with what `reverse_backward` left."""
        first, second = self.layer.first, self.layer.second
        d_hidden = torch.addcmul(self.d_hidden, d_y @ second.weight.detach(), self.slope)
        found[second.weight].addmm_(d_y.t(), self.value)
        found[second.bias] = d_y.sum(dim=0)
        found[first.weight].addmm_(d_hidden.t(), self.x)
        found[first.bias] = d_hidden.sum(dim=0)
        return d_hidden @ first.weight.detach()

    def skip_reverse(self, found: Gradients) -> None:
        """For a perceptron whose reverse sweep nobody needed."""
        self.d_hidden = torch.zeros_like(self.hidden)
        for layer in (self.layer.first, self.layer.second):
            found[layer.weight] = torch.zeros_like(layer.weight)


class _MessageSweep:
    """A message block; see `mlff.student.blocks.Message`."""

    def __init__(self, block: Message, edges: EdgeList, radial: RadialFeatures) -> None:
        self.edges, self.radial = edges, radial
        self.phi = _PerceptronSweep(block.phi)
        self.dense = block.filter.dense
        self.weights = block.filter.weights().detach()

    def forward(self, scalars: Tensor, vectors: Tensor | None) -> tuple[Tensor, Tensor]:
        self.vectors = vectors
        self.features = self.phi.forward(scalars)
        self.filters = self.radial.values @ self.weights.t()
        scalar_change, vector_change = rows.message(self.features, vectors, self.filters, self.edges)
        return scalars + scalar_change, vector_change if vectors is None else vectors + vector_change

    def reverse(self, scalar_bar: Tensor, vector_bar: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.bars = scalar_bar, vector_bar
        features_bar, through, self.filter_bar, direction_bar = rows.message_reverse(
            self.features, self.vectors, self.filters, self.edges, scalar_bar, vector_bar
        )
        distance_bar = ((self.filter_bar @ self.weights) * self.radial.slopes).sum(dim=-1)
        if features_bar is not None and through is not None:
            scalar_bar = scalar_bar + self.phi.reverse(features_bar)
            vector_bar = vector_bar + through
        return scalar_bar, vector_bar, distance_bar, direction_bar

    def reverse_backward(
        self,
        d_scalar_bar: Tensor | None,
        d_vector_bar: Tensor | None,
        d_distance_bar: Tensor,
        d_direction_bar: Tensor,
        found: Gradients,
    ) -> tuple[Tensor, Tensor]:
        d_features_bar = None
        if d_scalar_bar is None:
            self.phi.skip_reverse(found)
        else:
            d_features_bar = self.phi.reverse_backward(d_scalar_bar, found)
        d_onto = d_distance_bar.unsqueeze(-1) * self.radial.slopes
        d_filter_bar = d_onto @ self.weights.t()
        self.d_weights = self.filter_bar.t() @ d_onto
        self.d_features, self.d_vectors, self.d_filters, d_scalars, d_vectors = rows.message_reverse_backward(
            self.features, self.vectors, self.filters, self.edges, self.bars,
            (d_features_bar, d_vector_bar, d_filter_bar, d_direction_bar),
        )  # fmt: skip
        if d_scalar_bar is None or d_vector_bar is None:
            return d_scalars, d_vectors
        return d_scalars + d_scalar_bar, d_vectors + d_vector_bar

    def forward_backward(self, d_scalars: Tensor, d_vectors: Tensor, found: Gradients) -> tuple[Tensor, Tensor | None]:
        d_features, d_below, d_filters = rows.message_backward(
            self.features, self.vectors, self.filters, self.edges, d_scalars, d_vectors
        )
        self.d_weights.addmm_((d_filters + self.d_filters).t(), self.radial.values)
        found[self.dense.weight], found[self.dense.bias] = self.d_weights[:, :-1], self.d_weights[:, -1]
        d_scalars = d_scalars + self.phi.forward_backward(d_features + self.d_features, found)
        if d_below is None or self.d_vectors is None:
            return d_scalars, None
        return d_scalars, d_vectors + d_below + self.d_vectors


class _UpdateSweep:
    """An update block; see `mlff.student.blocks.Update`."""

    def __init__(self, block: Update) -> None:
        self.parts = block.parts
        self.mix = block.mix.weight
        self.gate = _PerceptronSweep(block.gate)

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        n_atoms, _, channels = vectors.shape
        self.vectors = vectors
        mixed = vectors.reshape(-1, channels) @ self.mix.detach().t()
        self.first, self.second = mixed.view(n_atoms, 3, 2 * channels).split(channels, dim=-1)
        self.norm = (self.second.square().sum(dim=-2) + NORM_FLOOR).sqrt_()
        self.product = (self.first * self.second).sum(dim=-2)
        self.gates = self.gate.forward(torch.cat([scalars, self.norm], dim=-1)).split(channels, dim=-1)
        if self.parts == 3:
            vectors = torch.addcmul(vectors, self.gates[2].unsqueeze(-2), self.first)
        return torch.addcmul(scalars + self.gates[0], self.gates[1], self.product), vectors

    def reverse(self, scalar_bar: Tensor, vector_bar: Tensor | None) -> tuple[Tensor, Tensor]:
        self.scalar_bar, self.vector_bar = scalar_bar, vector_bar
        gate_bar = [scalar_bar, scalar_bar * self.product]
        if vector_bar is not None:
            gate_bar.append((vector_bar * self.first).sum(dim=-2))
        channels = scalar_bar.shape[-1]
        direct, self.norm_bar = self.gate.reverse(torch.cat(gate_bar, dim=-1)).split(channels, dim=-1)
        self.share = (scalar_bar * self.gates[1]).unsqueeze(-2)
        self.ratio = (self.norm_bar / self.norm).unsqueeze(-2)
        first_bar = self.share * self.second
        if vector_bar is not None:
            first_bar = torch.addcmul(first_bar, vector_bar, self.gates[2].unsqueeze(-2))
        second_bar = torch.addcmul(self.share * self.first, self.ratio, self.second)
        self.mixed_bar = torch.cat([first_bar, second_bar], dim=-1).view(-1, 2 * channels)
        below = (self.mixed_bar @ self.mix.detach()).view(first_bar.shape)
        return scalar_bar + direct, below if vector_bar is None else vector_bar + below

    def reverse_backward(
        self, d_scalar_bar: Tensor, d_vector_bar: Tensor, found: Gradients
    ) -> tuple[Tensor, Tensor | None]:
        channels = d_scalar_bar.shape[-1]
        flat = d_vector_bar.reshape(-1, channels)
        found[self.mix] = self.mixed_bar.t() @ flat
        d_first_bar, d_second_bar = (flat @ self.mix.detach().t()).view(-1, 3, 2 * channels).split(channels, dim=-1)
        d_share = (d_first_bar * self.second + d_second_bar * self.first).sum(dim=-2)
        d_norm_bar = (d_second_bar * self.second).sum(dim=-2) / self.norm
        self.d_norm = -d_norm_bar * self.ratio.squeeze(-2)
        self.d_first = self.share * d_second_bar
        self.d_second = torch.addcmul(self.share * d_first_bar, self.ratio, d_second_bar)
        d_gate_bar = self.gate.reverse_backward(torch.cat([d_scalar_bar, d_norm_bar], dim=-1), found)
        parts = d_gate_bar.split(channels, dim=-1)
        self.d_product = parts[1] * self.scalar_bar
        self.d_gates = [None, d_share * self.scalar_bar]
        d_below = d_scalar_bar + parts[0] + parts[1] * self.product + d_share * self.gates[1]
        if self.vector_bar is None:
            return d_below, None
        self.d_gates.append((d_first_bar * self.vector_bar).sum(dim=-2))
        self.d_first = torch.addcmul(self.d_first, parts[2].unsqueeze(-2), self.vector_bar)
        d_vectors = torch.addcmul(d_vector_bar, d_first_bar, self.gates[2].unsqueeze(-2))
        return d_below, torch.addcmul(d_vectors, parts[2].unsqueeze(-2), self.first)

    def forward_backward(self, d_scalars: Tensor, d_vectors: Tensor | None, found: Gradients) -> tuple[Tensor, Tensor]:
        channels = d_scalars.shape[-1]
        d_product = torch.addcmul(self.d_product, d_scalars, self.gates[1]).unsqueeze(-2)
        d_gates = [d_scalars, torch.addcmul(self.d_gates[1], d_scalars, self.product)]
        d_first = torch.addcmul(self.d_first, d_product, self.second)
        if d_vectors is not None:
            d_gates.append(self.d_gates[2] + (d_vectors * self.first).sum(dim=-2))
            d_first = torch.addcmul(d_first, d_vectors, self.gates[2].unsqueeze(-2))
        direct, d_norm = self.gate.forward_backward(torch.cat(d_gates, dim=-1), found).split(channels, dim=-1)
        d_norm = ((d_norm + self.d_norm) / self.norm).unsqueeze(-2)
        d_second = self.d_second + d_product * self.first + d_norm * self.second
        d_mixed = torch.cat([d_first, d_second], dim=-1).view(-1, 2 * channels)
        found[self.mix].addmm_(d_mixed.t(), self.vectors.reshape(-1, channels))
        d_below = (d_mixed @ self.mix.detach()).view(d_first.shape)
        return d_scalars + direct, d_below if d_vectors is None else d_vectors + d_below
