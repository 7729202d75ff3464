"""The one batch type of the force-field half: atoms and directed edges of one or many structures, as tensors.

Edges run ``(receiver i, sender j)`` with the vector ``r_ij = x_j − x_i + shift · cell``; they are sorted by receiver
and the list is symmetric, so every edge has its reverse. Two water molecules in one batch:

    atomic_numbers   [8 1 1 8 1 1]          structure_index  [0 0 0 1 1 1]          n_structures  2
    receivers        [0 0 1 1 2 2 3 3 …]    senders          [1 2 0 2 0 1 4 5 …]
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Batch


@dataclass(frozen=True, slots=True)
class AtomGraph:
    """Structures as one graph without connections between them.

    Attributes:
        atomic_numbers: (n_atoms,) nuclear charges.
        positions: (n_atoms, 3) Å, float64 so that distances of large cells keep their digits.
        cell: (n_structures, 3, 3) Å, lattice vectors as rows; zero rows where there is none.
        receivers: (n_edges,) index i of the atom that receives the message, ascending.
        senders: (n_edges,) index j of the atom that sends it.
        shifts: (n_edges, 3) whole lattice vectors added to the sender, in the dtype of the positions.
        reverse: (n_edges,) index of the edge (j, i) with the opposite shift.
        structure_index: (n_atoms,) the structure each atom belongs to, ascending.
        n_structures: how many structures the batch holds.
    """

    atomic_numbers: Int[Tensor, "atoms"]
    positions: Float[Tensor, "atoms 3"]
    cell: Float[Tensor, "structures 3 3"]
    receivers: Int[Tensor, "edges"]
    senders: Int[Tensor, "edges"]
    shifts: Float[Tensor, "edges 3"]
    reverse: Int[Tensor, "edges"]
    structure_index: Int[Tensor, "atoms"]
    n_structures: int

    @classmethod
    def from_batch(cls, batch: Batch) -> AtomGraph:
        """The graph of a PyG batch whose items were made by ``mlff.data.dataset.to_data``."""
        receivers, senders = batch.edge_index
        return cls(
            atomic_numbers=batch.atomic_numbers,
            positions=batch.pos,
            cell=batch.cell,
            receivers=receivers,
            senders=senders,
            shifts=batch.shifts,
            reverse=batch.reverse_index,
            structure_index=batch.batch,
            n_structures=batch.num_graphs,
        )

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def n_edges(self) -> int:
        return self.receivers.shape[0]

    def vectors(self) -> Float[Tensor, "edges 3"]:
        """``r_ij`` of every edge: (n_edges, 3) Å, from receiver to sender."""
        difference = self.positions.index_select(0, self.senders) - self.positions.index_select(0, self.receivers)
        cells = self.cell.index_select(0, self.structure_index.index_select(0, self.receivers))
        return difference + torch.einsum("ec,ecd->ed", self.shifts, cells)

    def to(self, device: torch.device | str) -> AtomGraph:
        """The same graph with every tensor on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
        return AtomGraph(**moved)
