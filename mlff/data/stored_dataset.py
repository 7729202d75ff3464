"""A data set that stays on the disk: structures are read and given their edges for every batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from mlff.data.dataset import StructureData, collate, to_data, to_sample, with_group
from mlff.data.store import LabelStore
from mlff.neighbors import neighbor_list
from training.errors import InputError
from training.files import write_atomically


class StoredStructures(Dataset):
    """Labelled structures of a store, read and given their edges for every batch: for data larger than memory.

    The number of edges of every structure is counted once and kept in a file beside the store's manifest. Loader
    processes receive it without open files.

    Args:
        store: the labels.
        indices: (n,) structures of the store to use, each with labels.
        cutoff: Å.

    Attributes:
        atoms_per_structure, edges_per_structure: (n,) int64.
        fingerprint: SHA-256 of the store and the indices.

    Raises:
        InputError: if there are no structures or the edges cannot be counted.
    """

    def __init__(self, store: LabelStore, indices: Sequence[int] | np.ndarray, cutoff: float) -> None:
        self._store, self._indices, self._cutoff = store, np.asarray(indices, dtype=np.int64), cutoff
        if not len(self._indices):
            raise InputError("There are no structures to make a data set of.")
        self.atoms_per_structure = store.atoms_per_structure[self._indices]
        self.edges_per_structure = _count_edges(store, self._indices, cutoff)
        chosen = hashlib.sha256(self._indices.tobytes()).hexdigest()
        self.fingerprint = hashlib.sha256(f"{store.content_fingerprint} {chosen}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> StructureData:
        return to_data(self._store[int(self._indices[index])], self._cutoff)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        records = self._store.fetch(self._indices[list(indices)])
        samples = [to_sample(record, self._cutoff) for record in records]
        return with_group(collate(samples), indices, self.atoms_per_structure)


def _count_edges(store: LabelStore, indices: np.ndarray, cutoff: float) -> np.ndarray:
    """(n,) edges of the structures asked for; counted once for a store's content and kept beside its manifest."""
    path = store.folder / "edge_counts" / f"{store.content_fingerprint[:16]}_{cutoff:g}A.npy"
    counts = np.load(path) if path.exists() else np.full(len(store), -1, dtype=np.int64)
    lacking = indices[counts[indices] < 0]
    for index in lacking:
        atoms = store[int(index)].atoms
        counts[index] = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff).n_edges
    if len(lacking):
        write_atomically(path, lambda temporary: _save(temporary, counts))
    return counts[indices]


def _save(path: Path, counts: np.ndarray) -> None:
    with path.open("wb") as file:  # given a name, numpy would add an ending to it
        np.save(file, counts)
