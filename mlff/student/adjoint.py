"""The gradient of a loss on energies and forces with respect to every weight, by hand: fast training on the CPU.

Energies and slopes are one forward program (`PaiNN`'s forward and reverse sweep). This module runs that program on
plain tensors and, for training, walks it backwards: the reverse sweep is undone from the first block up, then the
forward sweep from the last block down. Nothing records a graph, so a step costs its arithmetic and little else. The
derivation is in docs/forces.md; the test compares every gradient with automatic differentiation of the plain network.

Names: ``x_bar`` is ``∂(ΣE)/∂x`` of the reverse sweep, ``d_x`` the derivative of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlff.kernels import nodes, rows
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
        hidden = torch.addmm(first.bias.detach(), x, first.weight.detach().t())
        self.value, self.slope, self.curvature = nodes.silu(hidden)
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
        self.d_hidden, d_before = nodes.perceptron_reverse_backward(d_through, self.before, self.slope, self.curvature)
        found[second] = self.y_bar.t() @ d_before
        return d_before @ second.detach().t()

    def forward_backward(self, d_y: Tensor, found: Gradients) -> Tensor:
        """From the derivative by ``y`` to the one by ``x``, with what `reverse_backward` left."""
        first, second = self.layer.first, self.layer.second
        d_hidden = self.d_hidden.addcmul_(d_y @ second.weight.detach(), self.slope)
        found[second.weight].addmm_(d_y.t(), self.value)
        found[second.bias] = d_y.sum(dim=0)
        found[first.weight].addmm_(d_hidden.t(), self.x)
        found[first.bias] = d_hidden.sum(dim=0)
        return d_hidden @ first.weight.detach()

    def skip_reverse(self, found: Gradients) -> None:
        """For a perceptron whose reverse sweep nobody needed."""
        self.d_hidden = torch.zeros_like(self.value)
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
        self.mix = block.mix.weight
        self.gate = _PerceptronSweep(block.gate)

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        n_atoms, _, channels = vectors.shape
        self.vectors = vectors
        mixed = (vectors.reshape(-1, channels) @ self.mix.detach().t()).view(n_atoms, 3, 2 * channels)
        entry, norm, product = nodes.gate_input(scalars, mixed, NORM_FLOOR)
        gates = self.gate.forward(entry)
        self.forward_results = mixed, gates, product, norm
        return nodes.gated(scalars, vectors, mixed, gates, product)

    def reverse(self, scalar_bar: Tensor, vector_bar: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed, gates, product, norm = self.forward_results
        entry_bar = self.gate.reverse(nodes.gate_bars(scalar_bar, vector_bar, mixed, gates, product))
        self.block = nodes.Reversed(scalar_bar, vector_bar, mixed, gates, product, norm, entry_bar)
        mixed_bar, scalar_below = nodes.mixed_bars(self.block)
        self.mixed_bar = mixed_bar.view(-1, mixed_bar.shape[-1])
        return scalar_below, _added(vector_bar, self.mixed_bar, self.mix.detach()).view(self.vectors.shape)

    def reverse_backward(
        self, d_scalar_bar: Tensor, d_vector_bar: Tensor, found: Gradients
    ) -> tuple[Tensor, Tensor | None]:
        flat = d_vector_bar.reshape(-1, d_vector_bar.shape[-1])
        found[self.mix] = self.mixed_bar.t() @ flat
        d_mixed_bar = (flat @ self.mix.detach().t()).view(self.block.mixed.shape)
        through_gates = partial(self.gate.reverse_backward, found=found)
        d_scalars, d_vectors, self.pending = nodes.reverse_backward(
            self.block, d_mixed_bar, d_scalar_bar, d_vector_bar, through_gates
        )
        return d_scalars, d_vectors

    def forward_backward(self, d_scalars: Tensor, d_vectors: Tensor | None, found: Gradients) -> tuple[Tensor, Tensor]:
        through_gates = partial(self.gate.forward_backward, found=found)
        d_scalars, d_mixed = nodes.forward_backward(self.block, self.pending, d_scalars, d_vectors, through_gates)
        d_mixed = d_mixed.view(-1, d_mixed.shape[-1])
        found[self.mix].addmm_(d_mixed.t(), self.vectors.reshape(-1, self.vectors.shape[-1]))
        return d_scalars, _added(d_vectors, d_mixed, self.mix.detach()).view(self.vectors.shape)


def _added(vectors: Tensor | None, rows_of_mixed: Tensor, mix: Tensor) -> Tensor:
    """``vectors + mixed · mix`` over (3 n_atoms, F)."""
    if vectors is None:
        return rows_of_mixed @ mix
    return torch.addmm(vectors.reshape(-1, mix.shape[1]), rows_of_mixed, mix)
