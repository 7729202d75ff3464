"""A chain of linear layers with activations between them as one operation, for the hot loop.

The same numbers as `linear` and `activate` layer by layer, with a single node in the graph: for a small network most of
a step is the cost of calls, not of arithmetic. Differentiable once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pinn.jets import numba_cpu
from pinn.jets.activations import Activation, activate, paired
from pinn.jets.capture import recording
from pinn.jets.jet import Jet
from pinn.jets.kernels import composition_table, fast, threads_for
from pinn.jets.layout import JetLayout
from pinn.jets.linear import linear, lower_precision, matrix_product, multiply_into
from pinn.jets.workspace import Workspace


def dense_chain(jet: Jet, layers: Sequence[nn.Linear], activation: Activation) -> Jet:
    """``W_L σ(… σ(W_1 h + b_1) …) + b_L``: no activation after the last layer.

    Args:
        jet: of the width of the first layer's inputs.
        layers: each with a bias.
        activation: between layers.
    """
    if recording() is None and len(layers) > 1 and jet.layout.n_parts > 1 and fast(jet.parts):
        parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
        keep = torch.is_grad_enabled()
        return jet.with_parts(_Chain.apply(jet.parts, jet.layout, activation, keep, *parameters))
    for layer in layers[:-1]:
        jet = activate(activation, linear(jet, layer.weight, layer.bias))
    return linear(jet, layers[-1].weight, layers[-1].bias)


@dataclass
class _Hidden:
    """What the backward pass needs of a hidden layer, parts as rows (n_parts, n_points · width)."""

    inputs: Tensor
    before: np.ndarray
    value: np.ndarray
    bases: tuple[np.ndarray, np.ndarray]


class _Chain(torch.autograd.Function):
    """Parts in, parts out; weights and biases alternate."""

    @staticmethod
    def forward(
        ctx: Any, parts: Tensor, layout: JetLayout, function: Activation, keep: bool, *parameters: Tensor
    ) -> Tensor:
        n_parts, n_points, _ = parts.shape
        precision = lower_precision(parts)
        table = composition_table(layout, parts.dtype)
        flat = parts.reshape(n_parts * n_points, -1)
        room = Workspace()
        hidden: list[_Hidden] = []
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            before, after = (room.matrix(len(flat), len(weight), flat.dtype) for _ in range(2))
            multiply_into(before, flat, weight.t(), precision)
            before[:n_points].add_(bias)
            bases = function.bases(before[:n_points], after[:n_points])
            h, value = (t.numpy().reshape(n_parts, -1) for t in (before, after))
            pair = paired(bases, value[0])
            numba_cpu.activate(threads_for(h.size), function.family, h, *pair, *table, layout.order, value)
            if keep:
                hidden.append(_Hidden(flat, h, value[0], pair))
            flat = after
        outputs = matrix_product(flat, parameters[-2].t(), precision)
        outputs[:n_points].add_(parameters[-1])
        ctx.save_for_backward(parts, *parameters[::2])
        ctx.hidden, ctx.last, ctx.precision, ctx.room = hidden, flat, precision, room
        ctx.layout, ctx.function = layout, function
        return outputs.view(n_parts, n_points, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        parts, *weights = ctx.saved_tensors
        n_parts, n_points, _ = parts.shape
        grad = grads[0].reshape(n_parts * n_points, -1)
        room = Workspace()
        found: list[Tensor | None] = []
        for place in range(len(weights) - 1, -1, -1):
            needs_weight, needs_bias = ctx.needs_input_grad[4 + 2 * place : 6 + 2 * place]
            inputs = ctx.last if place == len(weights) - 1 else ctx.hidden[place].inputs
            if place < len(weights) - 1:
                _through_activation(ctx, ctx.hidden[place], grad)
            found.append(grad[:n_points].sum(dim=0) if needs_bias else None)
            found.append(matrix_product(grad.t(), inputs, ctx.precision) if needs_weight else None)
            if place:
                below = room.matrix(len(grad), weights[place].shape[1], grad.dtype)
                grad = multiply_into(below, grad, weights[place], ctx.precision)
        d_parts = None
        if ctx.needs_input_grad[0]:
            d_parts = matrix_product(grad, weights[0], ctx.precision).view(parts.shape)
        return d_parts, None, None, None, *reversed(found)


def _through_activation(ctx: Any, layer: _Hidden, grad: Tensor) -> None:
    """Turn derivatives by the results of an activation into those by its argument, in place."""
    table = composition_table(ctx.layout, grad.dtype)
    rows = grad.numpy().reshape(layer.before.shape)
    numba_cpu.activate_backward(
        threads_for(grad.numel()), ctx.function.family, layer.before, layer.value, *layer.bases, *table,
        ctx.layout.order, rows, rows,
    )  # fmt: skip
