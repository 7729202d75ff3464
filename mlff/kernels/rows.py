"""The CPU kernels on torch tensors: thin calls of `mlff.kernels.numba_cpu`, one pass over the edges each.

No gradients flow through these functions; `mlff.student.adjoint` calls the derivatives by name.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from torch import Tensor

from mlff.kernels import numba_cpu
from mlff.kernels.reference import EdgeList

LARGEST_NUMBER_OF_THREADS = int(vars(numba.config)["NUMBA_NUM_THREADS"])
"""What numba starts with: all cores, unless NUMBA_NUM_THREADS says otherwise."""


def message(features: Tensor, vectors: Tensor | None, filters: Tensor, edges: EdgeList) -> tuple[Tensor, Tensor]:
    """See `mlff.kernels.reference.message`."""
    n_atoms, channels = features.shape[0], _channels(features, vectors)
    scalar_change = features.new_empty(n_atoms, channels)
    vector_change = features.new_empty(n_atoms, 3, channels)
    given = (features, filters) if vectors is None else (features, vectors, filters)
    kernel = numba_cpu.initial_message if vectors is None else numba_cpu.message
    kernel(*_inputs(channels, *given), *_list(edges), *_arrays(scalar_change, vector_change))
    return scalar_change, vector_change


def message_backward(
    features: Tensor,
    vectors: Tensor | None,
    filters: Tensor,
    edges: EdgeList,
    scalar_grad: Tensor,
    vector_grad: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Derivatives by features, vectors and filters, from those by the two results of `message`."""
    channels = _channels(features, vectors)
    d_features, d_filters = torch.empty_like(features), torch.empty_like(filters)
    if vectors is None:
        arguments = *_inputs(channels, features, filters), *_list(edges), *_arrays(scalar_grad, vector_grad)
        numba_cpu.initial_message_backward(*arguments, *_inputs(channels, d_features, d_filters))
        return d_features, None, d_filters
    d_vectors = torch.empty_like(vectors)
    arguments = *_inputs(channels, features, vectors, filters), *_list(edges), *_arrays(scalar_grad, vector_grad)
    numba_cpu.message_backward(*arguments, *_inputs(channels, d_features, d_vectors, d_filters))
    return d_features, d_vectors, d_filters


def message_reverse(
    features: Tensor,
    vectors: Tensor | None,
    filters: Tensor,
    edges: EdgeList,
    scalar_bar: Tensor,
    vector_bar: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """See `mlff.kernels.reference.message_reverse`."""
    channels = _channels(features, vectors)
    filter_bar, direction_bar = torch.empty_like(filters), torch.empty_like(edges.direction)
    bars = _arrays(scalar_bar, vector_bar)
    if vectors is None:
        arguments = *_inputs(channels, features, filters), *_list(edges), *bars
        numba_cpu.initial_reverse(*arguments, *_inputs(channels, filter_bar), *_arrays(direction_bar))
        return None, None, filter_bar, direction_bar
    features_bar, through = torch.empty_like(features), torch.empty_like(vectors)
    arguments = *_inputs(channels, features, vectors, filters), *_list(edges), *bars
    numba_cpu.reverse(*arguments, *_inputs(channels, features_bar, through, filter_bar), *_arrays(direction_bar))
    return features_bar, through, filter_bar, direction_bar


def message_reverse_backward(
    features: Tensor,
    vectors: Tensor | None,
    filters: Tensor,
    edges: EdgeList,
    bars: tuple[Tensor, Tensor],
    grads: tuple[Tensor | None, Tensor | None, Tensor, Tensor],
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
    """Derivatives of a loss through `message_reverse`.

    Args:
        features, vectors, filters, edges: as given to it.
        bars: ``s̄`` and ``v̄`` as given to it.
        grads: derivatives with respect to its four results.

    Returns:
        Derivatives with respect to features, vectors, filters, ``s̄`` and ``v̄``.
    """
    channels = _channels(features, vectors)
    d_features, d_filters = torch.empty_like(features), torch.empty_like(filters)
    d_bars = torch.empty_like(bars[0]), torch.empty_like(bars[1])
    features_grad, through_grad, filter_grad, direction_grad = grads
    neighbours = *_list(edges), *_arrays(edges.reverse)
    if vectors is None or features_grad is None or through_grad is None:
        arguments = *_inputs(channels, features, filters), *neighbours, *_arrays(*bars)
        incoming = *_inputs(channels, filter_grad), *_arrays(direction_grad)
        numba_cpu.initial_reverse_backward(
            *arguments, *incoming, *_inputs(channels, d_features, d_filters), *_arrays(*d_bars)
        )
        return d_features, None, d_filters, *d_bars
    d_vectors = torch.empty_like(vectors)
    arguments = *_inputs(channels, features, vectors, filters), *neighbours, *_arrays(*bars)
    incoming = *_inputs(channels, features_grad, through_grad, filter_grad), *_arrays(direction_grad)
    numba_cpu.reverse_backward(
        *arguments, *incoming, *_inputs(channels, d_features, d_vectors, d_filters), *_arrays(*d_bars)
    )
    return d_features, d_vectors, d_filters, *d_bars


def use_threads_of_torch() -> None:
    """Let the kernels run with as many threads as torch."""
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, LARGEST_NUMBER_OF_THREADS))
    # at its first start numba gives the OpenMP library, which torch may share, a number of its own
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _channels(features: Tensor, vectors: Tensor | None) -> int:
    return features.shape[-1] // 2 if vectors is None else vectors.shape[-1]


def _inputs(channels: int, *tensors: Tensor) -> list[Any]:
    """Arrays of shape (rows, parts or 3, F)."""
    return [
        t.contiguous().view(t.shape[0], t.numel() // max(t.shape[0] * channels, 1), channels).numpy() for t in tensors
    ]


def _list(edges: EdgeList) -> list[Any]:
    return _arrays(edges.direction, edges.row_start, edges.senders)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [t.contiguous().numpy() for t in tensors]
