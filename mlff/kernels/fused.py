"""The CPU kernels as differentiable functions: the signatures of `mlff.kernels.reference`, one pass over the edges each.

Gradients reach the features, vectors and filters (what a loss on energies and forces needs), not the edges' directions:
forces come from the reverse sweep, never from differentiating these functions.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlff.kernels import numba_cpu
from mlff.kernels.reference import EdgeList


def message(
    features: Tensor, vectors: Tensor | None, filters: Tensor, edges: EdgeList
) -> tuple[Tensor, Tensor]:
    """See `mlff.kernels.reference.message`.

    Raises:
        RuntimeError: if a gradient with respect to the positions is asked for.
    """
    _refuse_position_gradients(edges)
    features = features.to(filters.dtype)
    if vectors is None:
        return _InitialMessage.apply(features, filters, edges)
    return _Message.apply(features, vectors.to(filters.dtype), filters, edges)


def message_reverse(
    features: Tensor,
    vectors: Tensor | None,
    filters: Tensor,
    edges: EdgeList,
    scalar_bar: Tensor,
    vector_bar: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """See `mlff.kernels.reference.message_reverse`."""
    _refuse_position_gradients(edges)
    dtype = filters.dtype
    features, scalar_bar, vector_bar = features.to(dtype), scalar_bar.to(dtype), vector_bar.to(dtype)
    if vectors is None:
        return None, None, *_InitialReverse.apply(features, filters, edges, scalar_bar, vector_bar)
    return _Reverse.apply(features, vectors.to(dtype), filters, edges, scalar_bar, vector_bar)


def _refuse_position_gradients(edges: EdgeList) -> None:
    if edges.direction.requires_grad:
        raise RuntimeError(
            "The fused kernels give no gradients with respect to positions; use kernels='reference' to differentiate "
            "the network by autograd."
        )


def _arrays(*tensors: Tensor) -> list[Any]:
    """NumPy views for the kernels; numba runs with as many threads as torch."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    return [t.detach().contiguous().numpy() for t in tensors]


def _by_parts(x: Tensor, channels: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1] // channels, channels)


class _Message(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, vectors: Tensor, filters: Tensor, edges: EdgeList) -> tuple[Tensor, Tensor]:
        channels = vectors.shape[-1]
        scalar_change, vector_change = features.new_empty(len(features), channels), torch.empty_like(vectors)
        numba_cpu.message(
            *_arrays(_by_parts(features, channels), vectors, _by_parts(filters, channels), edges.direction),
            *_arrays(edges.row_start, edges.senders, scalar_change, vector_change),
        )
        ctx.save_for_backward(features, vectors, filters)
        ctx.edges = edges
        return scalar_change, vector_change

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scalar_grad: Tensor, vector_grad: Tensor) -> tuple[Tensor | None, ...]:
        features, vectors, filters = ctx.saved_tensors
        channels = vectors.shape[-1]
        results = torch.empty_like(features), torch.empty_like(vectors), torch.empty_like(filters)
        numba_cpu.message_backward(
            *_arrays(_by_parts(features, channels), vectors, _by_parts(filters, channels), ctx.edges.direction),
            *_arrays(ctx.edges.row_start, ctx.edges.senders, scalar_grad, vector_grad),
            *_arrays(_by_parts(results[0], channels), results[1], _by_parts(results[2], channels)),
        )
        return *results, None


class _InitialMessage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, filters: Tensor, edges: EdgeList) -> tuple[Tensor, Tensor]:
        n_atoms, channels = len(features), features.shape[-1] // 2
        scalar_change, vector_change = features.new_empty(n_atoms, channels), features.new_empty(n_atoms, 3, channels)
        numba_cpu.initial_message(
            *_arrays(_by_parts(features, channels), _by_parts(filters, channels), edges.direction),
            *_arrays(edges.row_start, edges.senders, scalar_change, vector_change),
        )
        ctx.save_for_backward(features, filters)
        ctx.edges = edges
        return scalar_change, vector_change

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scalar_grad: Tensor, vector_grad: Tensor) -> tuple[Tensor | None, ...]:
        features, filters = ctx.saved_tensors
        channels = features.shape[-1] // 2
        results = torch.empty_like(features), torch.empty_like(filters)
        numba_cpu.initial_message_backward(
            *_arrays(_by_parts(features, channels), _by_parts(filters, channels), ctx.edges.direction),
            *_arrays(ctx.edges.row_start, ctx.edges.senders, scalar_grad, vector_grad),
            *_arrays(_by_parts(results[0], channels), _by_parts(results[1], channels)),
        )
        return *results, None


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, vectors: Tensor, filters: Tensor, edges: EdgeList, s_bar: Tensor, v_bar: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = vectors.shape[-1]
        features_bar, through, filter_bar = (torch.empty_like(x) for x in (features, vectors, filters))
        direction_bar = torch.empty_like(edges.direction)
        numba_cpu.reverse(
            *_arrays(_by_parts(features, channels), vectors, _by_parts(filters, channels), edges.direction),
            *_arrays(edges.row_start, edges.senders, s_bar, v_bar),
            *_arrays(_by_parts(features_bar, channels), through, _by_parts(filter_bar, channels), direction_bar),
        )
        ctx.save_for_backward(features, vectors, filters, s_bar, v_bar)
        ctx.edges = edges
        return features_bar, through, filter_bar, direction_bar

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, features_grad: Tensor, through_grad: Tensor, filter_grad: Tensor, direction_grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        features, vectors, filters, s_bar, v_bar = ctx.saved_tensors
        edges, channels = ctx.edges, vectors.shape[-1]
        d_features, d_vectors, d_filters, d_s, d_v = (torch.empty_like(x) for x in ctx.saved_tensors)
        numba_cpu.reverse_backward(
            *_arrays(_by_parts(features, channels), vectors, _by_parts(filters, channels), edges.direction),
            *_arrays(edges.row_start, edges.senders, edges.reverse, s_bar, v_bar),
            *_arrays(_by_parts(features_grad, channels), through_grad, _by_parts(filter_grad, channels)),
            *_arrays(direction_grad),
            *_arrays(_by_parts(d_features, channels), d_vectors, _by_parts(d_filters, channels), d_s, d_v),
        )
        return d_features, d_vectors, d_filters, None, d_s, d_v


class _InitialReverse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, filters: Tensor, edges: EdgeList, s_bar: Tensor, v_bar: Tensor
    ) -> tuple[Tensor, Tensor]:
        channels = s_bar.shape[-1]
        filter_bar, direction_bar = torch.empty_like(filters), torch.empty_like(edges.direction)
        numba_cpu.initial_reverse(
            *_arrays(_by_parts(features, channels), _by_parts(filters, channels), edges.direction),
            *_arrays(edges.row_start, edges.senders, s_bar, v_bar),
            *_arrays(_by_parts(filter_bar, channels), direction_bar),
        )
        ctx.save_for_backward(features, filters, s_bar, v_bar)
        ctx.edges = edges
        return filter_bar, direction_bar

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, filter_grad: Tensor, direction_grad: Tensor) -> tuple[Tensor | None, ...]:
        features, filters, s_bar, v_bar = ctx.saved_tensors
        edges, channels = ctx.edges, s_bar.shape[-1]
        d_features, d_filters, d_s, d_v = (torch.empty_like(x) for x in ctx.saved_tensors)
        numba_cpu.initial_reverse_backward(
            *_arrays(_by_parts(features, channels), _by_parts(filters, channels), edges.direction),
            *_arrays(edges.row_start, edges.senders, edges.reverse, s_bar, v_bar),
            *_arrays(_by_parts(filter_grad, channels), direction_grad),
            *_arrays(_by_parts(d_features, channels), _by_parts(d_filters, channels), d_s, d_v),
        )
        return d_features, d_filters, None, d_s, d_v
