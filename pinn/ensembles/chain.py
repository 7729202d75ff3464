"""Stacked linear layers with activations between them as one operation: every layer is one batched product per part.

The sibling of `pinn.jets.stack.dense_chain` for K networks: rows of a jet belong to the members one after another, and
a layer has a leading axis K in its weight. Members never meet, so each gets the numbers it would get alone.
Differentiable once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.jets import numba_cpu
from pinn.jets.activations import Activation, activate, paired
from pinn.jets.jet import Jet
from pinn.jets.kernels import composition_table, fast, threads_for
from pinn.jets.layout import JetLayout


def stacked_chain(jet: Jet, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: Activation) -> Jet:
    """``W_L σ(… σ(W_1 h + b_1) …) + b_L`` for every member.

    Args:
        jet: (n_parts, members · n, inputs) parts, the rows of member 0 first.
        weights: of each layer, (members, outputs, inputs).
        biases: of each layer, (members, 1, outputs).
        activation: between layers.
    """
    if fast(jet.parts):
        parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
        return jet.with_parts(_Chain.apply(jet.parts, jet.layout, activation, *parameters))
    return plain_chain(jet, weights, biases, activation)


def plain_chain(jet: Jet, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: Activation) -> Jet:
    """`stacked_chain` in plain torch: what other devices run, and the oracle of the fast one."""
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if place:
            jet = activate(activation, jet)
        members = len(weight)
        rows = jet.parts.reshape(jet.layout.n_parts, members, -1, weight.shape[2])
        value = torch.baddbmm(bias, rows[0], weight.mT)
        others = [torch.bmm(part, weight.mT) for part in rows[1:]]
        jet = jet.with_parts(torch.stack([value, *others]).reshape(jet.layout.n_parts, -1, weight.shape[1]))
    return jet


class _Chain(torch.autograd.Function):
    """Parts in, parts out; weights and biases alternate."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, layout: JetLayout, function: Activation, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        members = len(weights[0])
        table = composition_table(layout, parts.dtype)
        inputs = parts.contiguous().view(layout.n_parts, members, -1, parts.shape[2])
        hidden: list[tuple[Tensor, Tensor, Tensor, tuple[np.ndarray, np.ndarray]]] = []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            before = _products(inputs, weight.mT)
            before[0].add_(bias)
            after = torch.empty_like(before)
            bases = function.bases(before[0], after[0])
            h, value = (t.numpy().reshape(layout.n_parts, -1) for t in (before, after))
            pair = paired(bases, value[0])
            numba_cpu.activate(threads_for(h.size), function.family, h, *pair, *table, layout.order, value)
            hidden.append((inputs, before, after, pair))
            inputs = after
        outputs = _products(inputs, weights[-1].mT)
        outputs[0].add_(biases[-1])
        ctx.save_for_backward(*weights)
        ctx.hidden, ctx.last, ctx.layout, ctx.function = hidden, inputs, layout, function
        return outputs.view(layout.n_parts, -1, weights[-1].shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights = ctx.saved_tensors
        layout = ctx.layout
        grad = grads[0].contiguous().view(layout.n_parts, len(weights[0]), -1, weights[-1].shape[1])
        found: list[Tensor | None] = []
        for place in range(len(weights) - 1, -1, -1):
            inputs = ctx.last if place == len(weights) - 1 else ctx.hidden[place][0]
            if place < len(weights) - 1:
                _, before, after, (first, second) = ctx.hidden[place]
                rows = grad.numpy().reshape(layout.n_parts, -1)
                table = composition_table(layout, grad.dtype)
                numba_cpu.activate_backward(
                    threads_for(grad.numel()), ctx.function.family, before.numpy().reshape(layout.n_parts, -1),
                    after[0].numpy().reshape(-1), first, second, *table, layout.order, rows, rows,
                )  # fmt: skip
            found += [grad[0].sum(dim=1, keepdim=True), _summed_products(grad, inputs)]
            if place or ctx.needs_input_grad[0]:
                grad = _products(grad, weights[place])
        d_parts = grad.reshape(layout.n_parts, -1, grad.shape[-1]) if ctx.needs_input_grad[0] else None
        return d_parts, None, None, *reversed(found)


def _products(rows: Tensor, matrices: Tensor) -> Tensor:
    """(n_parts, members, n, a) times (members, a, b), part by part."""
    out = rows.new_empty(*rows.shape[:3], matrices.shape[2])
    for part, target in zip(rows, out, strict=True):
        torch.bmm(part, matrices, out=target)
    return out


def _summed_products(grad: Tensor, inputs: Tensor) -> Tensor:
    """``Σ gradᵀ · inputs`` over parts and points: (members, outputs, inputs)."""
    total = torch.bmm(grad[0].mT, inputs[0])
    for left, right in zip(grad[1:], inputs[1:], strict=True):
        total.baddbmm_(left.mT, right)
    return total
