"""The node kernels on torch tensors: thin calls of `mlff.kernels.numba_nodes` that allocate the results.

No gradients flow through these functions; `mlff.student.adjoint` calls the derivatives by name. Tensors are contiguous
and on the CPU. ``vectors`` and their derivatives are None in the last block, which leaves the vectors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlff.kernels import numba_nodes


def silu(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``h σ(h)`` and its first two derivatives, shaped like ``hidden`` (n, width)."""
    value, slope, curvature = (torch.empty_like(hidden) for _ in range(3))
    _call(numba_nodes.silu, hidden, torch.sigmoid(hidden), value, slope, curvature)
    return value, slope, curvature


def perceptron_reverse_backward(
    d_through: Tensor, before: Tensor, slope: Tensor, curvature: Tensor
) -> tuple[Tensor, Tensor]:
    """``through = before ∘ slope``: the derivatives by the hidden layer and by ``before``."""
    d_hidden, d_before = torch.empty_like(before), torch.empty_like(before)
    _call(numba_nodes.perceptron_reverse_backward, d_through, before, slope, curvature, d_hidden, d_before)
    return d_hidden, d_before


def gate_input(scalars: Tensor, mixed: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """``(s, |Vv|)`` (n, 2F), ``|Vv|`` (n, F), and ``Uv·Vv`` (n, F) from ``mixed`` (n, 3, 2F)."""
    n_atoms, channels = scalars.shape
    entry, norm = scalars.new_empty(n_atoms, 2 * channels), torch.empty_like(scalars)
    product = torch.empty_like(scalars)
    _call(numba_nodes.gate_input, scalars, mixed, scalars.new_full((1,), floor), entry, norm, product)
    return entry, norm, product


def gated(scalars: Tensor, vectors: Tensor, mixed: Tensor, gates: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Scalars and vectors after the block."""
    new_scalars = torch.empty_like(scalars)
    new_vectors = torch.empty_like(vectors) if _moves_vectors(gates, scalars) else vectors
    _call(numba_nodes.gated, scalars, vectors, mixed, gates, product, new_scalars, new_vectors)
    return new_scalars, new_vectors


def gate_bars(s_bar: Tensor, v_bar: Tensor | None, mixed: Tensor, gates: Tensor, product: Tensor) -> Tensor:
    """Derivative of the summed energy by the gates, shaped like them."""
    gate_bar = torch.empty_like(gates)
    _call(numba_nodes.gate_bars, s_bar, _or_none(v_bar, mixed), mixed, product, gate_bar)
    return gate_bar


@dataclass
class Reversed:
    """What the reverse sweep of a block leaves for its derivative.

    Attributes:
        s_bar, v_bar: (n, F), (n, 3, F) or None; what came from above.
        mixed, gates, product, norm: of the forward sweep.
        entry_bar: (n, 2F), derivative by what the gates see.
    """

    s_bar: Tensor
    v_bar: Tensor | None
    mixed: Tensor
    gates: Tensor
    product: Tensor
    norm: Tensor
    entry_bar: Tensor


def mixed_bars(block: Reversed) -> tuple[Tensor, Tensor]:
    """Derivative of the summed energy by ``mixed`` (n, 3, 2F), and by the scalars below the block."""
    mixed_bar, below = torch.empty_like(block.mixed), torch.empty_like(block.s_bar)
    _call(
        numba_nodes.mixed_bars, block.s_bar, _or_none(block.v_bar, block.mixed), block.gates, block.entry_bar,
        block.norm, block.mixed, mixed_bar, below,
    )  # fmt: skip
    return mixed_bar, below


@dataclass
class Pending:
    """Derivatives of the loss that wait for the forward sweep's share: by norm (n, 2F; its first half), by the product,
    the gates and ``mixed``."""

    d_norm: Tensor
    d_product: Tensor
    d_gates: Tensor
    d_mixed: Tensor


def reverse_backward(
    block: Reversed,
    d_mixed_bar: Tensor,
    d_s_bar: Tensor,
    d_v_bar: Tensor,
    through_gates: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor | None, Pending]:
    """Derivatives of the loss through the reverse sweep of a block.

    Args:
        block: what the reverse sweep left.
        d_mixed_bar: (n, 3, 2F) derivative by ``mixed_bar``.
        d_s_bar, d_v_bar: (n, F), (n, 3, F) by the block's results.
        through_gates: from the derivative by ``entry_bar`` (n, 2F) to that by the gates' ``gate_bar``.

    Returns:
        Derivatives by ``s_bar`` and ``v_bar``, and what is left for the forward sweep.
    """
    s_bar, gates = block.s_bar, block.gates
    entry, d_norm = torch.empty_like(block.entry_bar), torch.empty_like(block.entry_bar)
    d_share, d_mixed = torch.empty_like(s_bar), torch.empty_like(block.mixed)
    _call(
        numba_nodes.mixed_bars_backward, s_bar, gates, block.entry_bar, block.norm, block.mixed, d_mixed_bar, d_s_bar,
        entry, d_norm, d_share, d_mixed,
    )  # fmt: skip
    d_gate_bar = through_gates(entry)
    d_product, d_gates, d_s_below = torch.empty_like(s_bar), torch.empty_like(gates), torch.empty_like(s_bar)
    d_v_below = None if block.v_bar is None else torch.empty_like(d_v_bar)
    _call(
        numba_nodes.gate_bars_backward, s_bar, _or_none(block.v_bar, block.mixed), gates, block.product, block.mixed,
        d_gate_bar, d_share, d_mixed_bar, d_s_bar, d_v_bar, d_product, d_gates, d_mixed, d_s_below,
        _or_none(d_v_below, block.mixed),
    )  # fmt: skip
    return d_s_below, d_v_below, Pending(d_norm, d_product, d_gates, d_mixed)


def forward_backward(
    block: Reversed,
    pending: Pending,
    d_s: Tensor,
    d_v: Tensor | None,
    through_gates: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Derivatives of the loss through the forward sweep: by the scalars below and by ``mixed`` (n, 3, 2F).

    Args:
        block: what both sweeps left.
        pending: from `reverse_backward`; its tensors are added to.
        d_s, d_v: (n, F), (n, 3, F) or None, derivatives by the block's results.
        through_gates: from the derivative by the gates to that by what they see (n, 2F).
    """
    d_gates, d_mixed = pending.d_gates, pending.d_mixed
    _call(
        numba_nodes.gated_backward, d_s, _or_none(d_v, d_mixed), block.gates, block.product, block.mixed,
        pending.d_product, d_gates, d_mixed,
    )  # fmt: skip
    d_entry = through_gates(d_gates)
    d_below = torch.empty_like(d_s)
    _call(
        numba_nodes.gate_input_backward, block.mixed, block.norm, pending.d_norm, d_entry, pending.d_product, d_s,
        d_mixed, d_below,
    )  # fmt: skip
    return d_below, d_mixed


def _moves_vectors(gates: Tensor, scalars: Tensor) -> bool:
    return gates.shape[1] == 3 * scalars.shape[1]


def _or_none(vectors: Tensor | None, like: Tensor) -> Tensor:
    """An empty array stands for vectors that are not there; the kernels do not touch it."""
    return like.new_empty(0, 3, 0) if vectors is None else vectors


def _call(kernel: Any, *tensors: Tensor) -> None:
    kernel(*[tensor.contiguous().numpy() for tensor in tensors])
