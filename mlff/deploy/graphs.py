"""Structures and their edges as one `AtomGraph` on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from mlff.graph import AtomGraph
from mlff.neighbors import Neighbors


class Structure(NamedTuple):
    """Atomic numbers (n_atoms,), positions (n_atoms, 3) Å, cell (3, 3) Å and the edges within the cutoff."""

    numbers: Int[ndarray, "atoms"]
    positions: Float[ndarray, "atoms 3"]
    cell: Float[ndarray, "3 3"]
    neighbors: Neighbors


def join(structures: Sequence[Structure], device: torch.device) -> AtomGraph:
    """One graph of all structures, in their order, without edges between them."""
    n_atoms = [len(s.numbers) for s in structures]
    n_edges = [s.neighbors.n_edges for s in structures]
    atoms_before = np.cumsum([0, *n_atoms[:-1]])
    edges_before = np.cumsum([0, *n_edges[:-1]])

    def edges(column: Callable[[Neighbors], ndarray], offsets: ndarray) -> torch.Tensor:
        return on_device([column(s.neighbors) + n for s, n in zip(structures, offsets, strict=True)])

    def on_device(parts: Sequence[ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    return AtomGraph(
        atomic_numbers=on_device([s.numbers.astype(np.int64) for s in structures]),
        positions=on_device([s.positions for s in structures]),
        cell=on_device([s.cell[None] for s in structures]),
        receivers=edges(lambda n: n.receivers, atoms_before),
        senders=edges(lambda n: n.senders, atoms_before),
        shifts=on_device([s.neighbors.shifts for s in structures]).to(torch.float64),
        reverse=edges(lambda n: n.reverse, edges_before),
        structure_index=torch.from_numpy(np.repeat(np.arange(len(structures)), n_atoms)).to(device),
        n_structures=len(structures),
    )
