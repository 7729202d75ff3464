"""Neighbour lists: which atoms see which, through every periodic image, and when such a list has to be made again.

An edge ``(i, j, S)`` says that atom ``j``, moved by the whole lattice vectors ``S``, lies within the cutoff of atom
``i``: ``|x_j − x_i + S · cell| < cutoff``. Lists are symmetric, complete (no largest number of neighbours, which would
break the conservation of energy) and in one canonical order, so that two ways to the same edges give the same sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.geometry import complete_cell
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from training.errors import InputError

# Below this number of atoms without periodicity, comparing all pairs is quicker than a cell list (60 against 125 µs for
# 9 atoms, 105 against 140 µs for 21, 430 against 310 µs for 60), and needs neither vesin nor torch, which vesin loads.
ALL_PAIRS_BELOW = 32

# Planes of a real crystal lie further apart; a flatter cell has so many images that the list would not end.
SMALLEST_HEIGHT = 0.1  # Å

# A tenth of a millimetre: no structure is wider, and cell lists overflow far above it.
LARGEST_EXTENT = 1e6  # Å


@dataclass(frozen=True, eq=False, slots=True)
class Neighbors:
    """Directed edges sorted by receiver, then sender, then shift.

    Attributes:
        receivers: (n_edges,) index i.
        senders: (n_edges,) index j.
        shifts: (n_edges, 3) whole lattice vectors S added to the sender.
        reverse: (n_edges,) index of the edge (j, i, −S).
    """

    receivers: Int[ndarray, "edges"]
    senders: Int[ndarray, "edges"]
    shifts: Int[ndarray, "edges 3"]
    reverse: Int[ndarray, "edges"]

    @property
    def n_edges(self) -> int:
        return self.receivers.shape[0]

    def vectors(self, positions: Float[ndarray, "atoms 3"], cell: Float[ndarray, "3 3"]) -> Float[ndarray, "edges 3"]:
        """``x_j − x_i + S · cell`` of every edge: (n_edges, 3) Å."""
        return positions.take(self.senders, axis=0) - positions.take(self.receivers, axis=0) + self.shifts @ cell

    def keep(self, inside: Bool[ndarray, "edges"]) -> Neighbors:
        """The edges where ``inside`` is true; it must be true for an edge and its reverse alike."""
        new_index = np.cumsum(inside) - 1
        reverse = new_index[self.reverse[inside]]
        return Neighbors(self.receivers[inside], self.senders[inside], self.shifts[inside], reverse)


def neighbor_list(
    positions: Float[ndarray, "atoms 3"], cell: Float[ndarray, "3 3"], pbc: Bool[ndarray, "3"], cutoff: float
) -> Neighbors:
    """All edges shorter than the cutoff, images of an atom itself included.

    Args:
        positions: (n_atoms, 3) Å; atoms may lie outside the cell.
        cell: (3, 3) Å, lattice vectors as rows; rows of directions that are not periodic are not used.
        pbc: (3,) which lattice vectors repeat.
        cutoff: Å.

    Raises:
        InputError: if a number is not finite, a periodic cell has no volume, or the structure is wider than 0.1 mm.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    cell = np.asarray(cell, dtype=np.float64)
    pbc = np.asarray(pbc, dtype=bool)
    if not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise InputError(f"Atom {atom} has the position {positions[atom]}; every coordinate must be a finite number.")
    if len(positions) == 0 or (not pbc.any() and len(positions) < ALL_PAIRS_BELOW):
        return _all_pairs(positions, cutoff)
    return _through_images(positions, cell, pbc, cutoff)


def _all_pairs(positions: Float[ndarray, "atoms 3"], cutoff: float) -> Neighbors:
    n_atoms = len(positions)
    difference = positions[:, None, :] - positions[None, :, :]
    adjacent = np.einsum("ijc,ijc->ij", difference, difference) < cutoff**2
    adjacent.ravel()[:: n_atoms + 1] = False
    edges = np.flatnonzero(adjacent)
    receivers, senders = np.divmod(edges, max(n_atoms, 1))
    number = np.cumsum(adjacent).reshape(n_atoms, n_atoms) - 1
    return Neighbors(receivers, senders, np.zeros((len(edges), 3), dtype=np.int64), number[senders, receivers])


def _through_images(
    positions: Float[ndarray, "atoms 3"], cell: Float[ndarray, "3 3"], pbc: Bool[ndarray, "3"], cutoff: float
) -> Neighbors:
    """Vesin's cell list on atoms wrapped into the cell, with the shifts of the atoms where they really are."""
    from vesin import NeighborList  # here, because vesin loads torch and labelling workers have no use for it

    box = _full_cell(cell, pbc)
    n_atoms = len(positions)
    cells_away = np.where(pbc, np.floor(np.linalg.solve(box.T, positions.T).T), 0.0)
    wrapped = positions - cells_away @ box
    extent = float(np.ptp(wrapped, axis=0).max())
    if extent > LARGEST_EXTENT:
        raise InputError(f"The atoms are spread over {extent:.3g} Å. Positions are in Å: check the structure's units.")

    # one thread: worker processes share the cores, and a list is rarely built
    finder = NeighborList(cutoff=cutoff, full_list=True, sorted=False, n_threads=1)
    receivers, senders, shifts = finder.compute(wrapped, box, pbc, quantities="ijS", copy=False)
    receivers, senders, shifts = (np.array(a, dtype=np.int64) for a in (receivers, senders, shifts))

    # one integer for (i, j, S) puts the edges in order; the order of the integers of (j, i, −S) is the reverse index
    reach = int(np.abs(shifts).max(initial=0))
    base = 2 * reach + 1
    image = ((shifts[:, 0] + reach) * base + shifts[:, 1] + reach) * base + shifts[:, 2] + reach
    order = np.argsort((receivers * n_atoms + senders) * base**3 + image)
    receivers, senders, shifts, image = (a.take(order, axis=0) for a in (receivers, senders, shifts, image))
    reverse = np.argsort((senders * n_atoms + receivers) * base**3 + (base**3 - 1 - image))

    if cells_away.any():
        cells_away = cells_away.astype(np.int64)
        shifts += cells_away.take(receivers, axis=0) - cells_away.take(senders, axis=0)
    return Neighbors(receivers, senders, shifts, reverse)


def _full_cell(cell: Float[ndarray, "3 3"], pbc: Bool[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """The periodic lattice vectors, completed to three independent ones; refused where they span no volume."""
    if not np.isfinite(cell).all():
        raise InputError(f"The cell is {cell.tolist()}; every lattice vector must be finite.")
    periodic = np.where(pbc[:, None], cell, 0.0)
    for axis in np.flatnonzero(pbc):
        others = [k for k in np.flatnonzero(pbc) if k != axis]
        height = _height(cell[axis], cell[others])
        if height < SMALLEST_HEIGHT:
            raise InputError(
                f"The structure is periodic along lattice vector {axis}, which rises only {height:.3g} Å above the "
                f"others: the cell {cell.tolist()} has no volume. Set the cell in Å, or set pbc to False there."
            )
    return complete_cell(periodic)


def _height(vector: Float[ndarray, "3"], others: Float[ndarray, "k 3"]) -> float:
    """Length of the part of a lattice vector that is orthogonal to the others, in Å."""
    basis = np.linalg.svd(others, full_matrices=False)[2] if len(others) else np.zeros((0, 3))
    return float(np.linalg.norm(vector - (vector @ basis.T) @ basis))


class SkinNeighborList:
    """A neighbour list that lasts: edges up to ``cutoff + skin`` are kept and the longer ones left out at every call.

    No pair can come from beyond ``cutoff + skin`` to within the cutoff before one atom has moved by more than half the
    skin, so the edges returned are those of a list made afresh, in the same order.

    Args:
        cutoff: Å.
        skin: Å; zero makes a list at every move.

    Attributes:
        cutoff, skin: as given, in Å.
        builds: how many times the wide list was made.
        calls: how many times `update` was called.
        distances: (n_edges,) Å, lengths of the edges returned by the last call of `update`.
        offsets: (n_edges, 3) Å, what the edges of the lasting list add to their senders; None without periodicity.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        if not (np.isfinite(skin) and skin >= 0):
            raise InputError(f"The skin is a length in Å, zero or more; got {skin}.")
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.builds = 0
        self.calls = 0
        self.distances: Float[ndarray, "edges"] = np.zeros(0)
        self.offsets: Float[ndarray, "wide_edges 3"] | None = None
        self._wide: Neighbors | None = None
        self._inside: Bool[ndarray, "wide_edges"] = np.zeros(0, dtype=bool)
        self._current: Neighbors | None = None

    def update(
        self,
        numbers: Int[ndarray, "atoms"],
        positions: Float[ndarray, "atoms 3"],
        cell: Float[ndarray, "3 3"],
        pbc: Bool[ndarray, "3"],
    ) -> Neighbors:
        """Edges within the cutoff. The same object is returned as long as the edges are the same.

        Raises:
            InputError: as `neighbor_list`.
        """
        wide = self.wide(numbers, positions, cell, pbc)
        vectors = positions.take(wide.senders, axis=0) - positions.take(wide.receivers, axis=0)
        if self.offsets is not None:
            vectors += self.offsets
        squared = np.einsum("ec,ec->e", vectors, vectors)
        inside = squared < self.cutoff**2
        if inside.all():
            self._current, self._inside = wide, inside
        elif self._current is None or not np.array_equal(inside, self._inside):
            # an edge and its reverse may round to different sides of the cutoff
            self._inside, symmetric = inside, inside & inside[wide.reverse]
            self._current = wide.keep(symmetric)
            self._kept = np.flatnonzero(symmetric)
        self.distances = np.sqrt(squared if self._current is wide else squared.take(self._kept))
        return self._current

    def wide(
        self,
        numbers: Int[ndarray, "atoms"],
        positions: Float[ndarray, "atoms 3"],
        cell: Float[ndarray, "3 3"],
        pbc: Bool[ndarray, "3"],
    ) -> Neighbors:
        """All edges of the lasting list, which hold every edge within the cutoff and some beyond it. The same object is
        returned until the list is made again.

        Raises:
            InputError: as `neighbor_list`.
        """
        self.calls += 1
        if self._wide is None or self._is_stale(numbers, positions, cell, pbc):
            self._wide = self._build(numbers, positions, cell, pbc)
        return self._wide

    def _is_stale(self, numbers: ndarray, positions: ndarray, cell: ndarray, pbc: ndarray) -> bool:
        if (numbers.tobytes(), cell.tobytes(), pbc.tobytes()) != self._built_for:
            return True
        moved = positions - self._positions
        # written so that a position that is not a number asks for a new list, which refuses it
        return not np.einsum("nc,nc->n", moved, moved).max(initial=0.0) <= (self.skin / 2) ** 2

    def _build(self, numbers: ndarray, positions: ndarray, cell: ndarray, pbc: ndarray) -> Neighbors:
        self._wide = self._current = None
        wide = neighbor_list(positions, cell, pbc, self.cutoff + self.skin)
        self.builds += 1
        self._built_for = numbers.tobytes(), cell.tobytes(), pbc.tobytes()
        self._positions = positions.copy()
        self.offsets = wide.shifts @ cell if pbc.any() else None
        return wide
