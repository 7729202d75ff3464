"""The gradient of a loss on energies and forces with respect to every weight, by hand: fast training on the CPU.

Energies and slopes are one forward program (`PaiNN`'s forward and reverse sweep). `mlff.kernels.gradient` runs that
program compiled and, for training, walks it backwards: the reverse sweep is undone from the first block up, then the
forward sweep from the last block down. Nothing records a graph, so a step costs its arithmetic and little else. The
derivation is in docs/forces.md; the test compares every gradient with automatic differentiation of the plain network.

Names: ``x_bar`` is ``∂(ΣE)/∂x`` of the reverse sweep, ``d_x`` the derivative of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import hardshrink

from mlff.kernels.gradient import GradientProgram, Shape
from mlff.student.blocks import NORM_FLOOR

if TYPE_CHECKING:
    from mlff.student.blocks import Message, Update
    from mlff.student.layers import Perceptron
    from mlff.student.painn import Geometry, PaiNN

NEGLIGIBLE = 1e-20
"""Radial features below this are taken as zero: the tails of Gaussians reach the subnormal numbers, with which a
product takes thirty times as long."""


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
    weights = _weights(model)
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
        return _Program.apply(model, species, geometry, *weights)
    with torch.no_grad():
        return _Sweeps(model, species, geometry, weights).results()


class _Program(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: PaiNN, species: Tensor, geometry: Geometry, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.sweeps = _Sweeps(model, species, geometry, weights)
        return ctx.sweeps.results()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor, d_slopes: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *ctx.sweeps.gradients(d_output, d_slopes)


class _Sweeps:
    """Both sweeps of one batch, and the way back through them."""

    def __init__(self, model: PaiNN, species: Tensor, geometry: Geometry, weights: Sequence[Tensor]) -> None:
        self.species, self.geometry, self.weights = species, geometry, weights
        self.program = _program_of(model)
        self._run()

    def _run(self) -> None:
        edges, radial = self.geometry.edges, self.geometry.radial
        features = hardshrink(radial.values, NEGLIGIBLE), hardshrink(radial.slopes, NEGLIGIBLE)
        with self.program.lock:
            self.output, self.bars = self.program.sweeps(self.weights, self.species, edges, features)
            self.batch = self.program.batch

    def results(self) -> tuple[Tensor, Tensor]:
        """Output of every atom, slope of every reversed edge: ``d̄ n + (n̄ − n (n·n̄)) / d`` with ``n → −n``."""
        direction, direction_bar = -self.geometry.edges.direction, self.bars[:, 1:]
        across = direction_bar - direction * (direction * direction_bar).sum(dim=-1, keepdim=True)
        return self.output, self.bars[:, :1] * direction + across / self.geometry.distance.unsqueeze(-1)

    def gradients(self, d_output: Tensor, d_slopes: Tensor) -> Sequence[Tensor]:
        """Derivatives of the loss with respect to all weights, from those with respect to the results."""
        direction = -self.geometry.edges.direction
        along = (direction * d_slopes).sum(dim=-1, keepdim=True)
        across = (d_slopes - direction * along) / self.geometry.distance.unsqueeze(-1)
        with self.program.lock:
            if self.batch != self.program.batch:
                # another batch has taken the program's memory meanwhile
                self._run()
            return self.program.gradient(d_output, torch.cat([along, across], dim=-1))


def _program_of(model: PaiNN) -> GradientProgram:
    hidden = model.readout.first.out_features
    shape = Shape(model.channels, model.layers, hidden, model.basis.size + 1, len(model.elements))
    return _program(shape, model.embedding.weight.dtype)


@cache
def _program(shape: Shape, dtype: torch.dtype) -> GradientProgram:
    """One for all networks of a shape, such as a trained one and the average of its weights, which share its memory."""
    return GradientProgram(shape, dtype, NORM_FLOOR)


def _weights(model: PaiNN) -> list[Tensor]:
    """All weights in the order of `mlff.kernels.gradient.parameters`."""
    found: list[Tensor] = []
    for message, update in zip(model.messages, model.updates, strict=True):
        message, update = cast("Message", message), cast("Update", update)
        dense = message.filter.dense
        found += [*_layers(message.phi), dense.weight, dense.bias, update.mix.weight, *_layers(update.gate)]
    return [*found, *_layers(model.readout), model.embedding.weight]


def _layers(perceptron: Perceptron) -> list[Tensor]:
    first, second = perceptron.first, perceptron.second
    return [first.weight, first.bias, second.weight, second.bias]
