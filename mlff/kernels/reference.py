"""Message passing along edges and its reverse sweep, in plain torch.

Notation as in docs/forces.md: ``φ_j = (φ^s, φ^r, φ^v)`` are the sender's features, ``W_ij`` the radial filter with the
envelope in it, ``n_ij`` the unit vector of the edge. In the first block ``v`` is zero, so ``φ^v`` and ``W^v`` do not
exist and features and filters have 2F instead of 3F channels. Edges are sorted by receiver and symmetric, so a sum over
the receivers of an atom's outgoing edges is a sum over its own row, taken on the reversed edges with ``n → −n``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EdgeList:
    """Directed edges sorted by receiver, with their unit vectors.

    Attributes:
        receivers: (n_edges,) ascending.
        senders: (n_edges,).
        reverse: (n_edges,) index of the edge (j, i).
        row_start: (n_atoms + 1,) the edges of atom i are ``row_start[i]`` up to ``row_start[i + 1]``.
        direction: (n_edges, 3) unit vectors from receiver to sender.
    """

    receivers: Int[Tensor, "edges"]
    senders: Int[Tensor, "edges"]
    reverse: Int[Tensor, "edges"]
    row_start: Int[Tensor, "atoms_and_one"]
    direction: Float[Tensor, "edges 3"]


def sum_rows(values: Float[Tensor, "edges ..."], receivers: Int[Tensor, "edges"], n_atoms: int) -> Tensor:
    """Sum of the values of every atom's edges: (n_atoms, …); atoms without edges get zero."""
    return values.new_zeros(n_atoms, *values.shape[1:]).index_add_(0, receivers, values)


def message(
    features: Float[Tensor, "atoms parts*F"],
    vectors: Float[Tensor, "atoms 3 F"] | None,
    filters: Float[Tensor, "edges parts*F"],
    edges: EdgeList,
) -> tuple[Float[Tensor, "atoms F"], Float[Tensor, "atoms 3 F"]]:
    """What every receiver collects from its senders.

    ``Δs_i = Σ_j φ^s_j ∘ W^s``; ``Δv_i = Σ_j n_ij ⊗ (φ^r_j ∘ W^r) + (φ^v_j ∘ W^v) ∘ v_j``.

    Args:
        features: (n_atoms, 3F or 2F) ``φ`` of the senders.
        vectors: (n_atoms, 3, F) ``v``, or None where it is zero (the first block).
        filters: (n_edges, 3F or 2F) ``W``.
        edges: the edges.

    Returns:
        ``Δs`` (n_atoms, F) and ``Δv`` (n_atoms, 3, F).
    """
    n_atoms, parts = features.shape[0], 2 if vectors is None else 3
    sent = (features.index_select(0, edges.senders) * filters).chunk(parts, dim=-1)
    moved = edges.direction.unsqueeze(-1) * sent[1].unsqueeze(-2)
    if vectors is not None:
        moved = moved + sent[2].unsqueeze(-2) * vectors.index_select(0, edges.senders)
    return sum_rows(sent[0], edges.receivers, n_atoms), sum_rows(moved, edges.receivers, n_atoms)


def message_reverse(
    features: Float[Tensor, "atoms parts*F"],
    vectors: Float[Tensor, "atoms 3 F"] | None,
    filters: Float[Tensor, "edges parts*F"],
    edges: EdgeList,
    scalar_bar: Float[Tensor, "atoms F"],
    vector_bar: Float[Tensor, "atoms 3 F"],
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """The reverse sweep of `message`, taken on the reversed edges: the row is the sender ``j``, its neighbour ``i``.

    ``x̄ = (s̄_i, n·v̄_i, v_j·v̄_i)``; ``φ̄_j = Σ_i x̄ ∘ W``; ``v̄_j = Σ_i (φ^v_j ∘ W^v) ∘ v̄_i``; ``W̄ = x̄ ∘ φ_j``;
    ``n̄ = Σ_f v̄_i φ^r_j W^r``.

    Args:
        features, vectors, filters, edges: as given to `message`.
        scalar_bar: (n_atoms, F) derivative of the energy with respect to the updated ``s``, eV.
        vector_bar: (n_atoms, 3, F) the same for ``v``.

    Returns:
        ``φ̄`` (n_atoms, 3F) and the part of ``v̄`` that passes through the messages (n_atoms, 3, F), both None where
        ``vectors`` is None, because nothing below depends on the positions; ``W̄`` (n_edges, 3F or 2F) and ``n̄``
        (n_edges, 3) of the **reversed** edges, both in eV.
    """
    n_atoms, parts = features.shape[0], 2 if vectors is None else 3
    sender = features.index_select(0, edges.receivers)
    scalar_in = scalar_bar.index_select(0, edges.senders)
    vector_in = vector_bar.index_select(0, edges.senders)
    radial_in = -(edges.direction.unsqueeze(-1) * vector_in).sum(dim=-2)
    sent = (sender * filters).chunk(parts, dim=-1)
    direction_bar = (vector_in * sent[1].unsqueeze(-2)).sum(dim=-1)
    if vectors is None:
        return None, None, torch.cat([scalar_in, radial_in], dim=-1) * sender, direction_bar
    vector_through = (vectors.index_select(0, edges.receivers) * vector_in).sum(dim=-2)
    message_bar = torch.cat([scalar_in, radial_in, vector_through], dim=-1)
    features_bar = sum_rows(message_bar * filters, edges.receivers, n_atoms)
    vectors_bar = sum_rows(sent[2].unsqueeze(-2) * vector_in, edges.receivers, n_atoms)
    return features_bar, vectors_bar, message_bar * sender, direction_bar
