"""Bonds of a structure and how far they went from their usual length: the first thing to break in bad dynamics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic

from training.errors import InputError

BOND_TOLERANCE = 1.2
"""Two atoms are bonded when they are closer than so many times the sum of their covalent radii."""


class Bonds:
    """The bonds of a reference structure, with their usual lengths.

    Args:
        atoms: the structure that says which atoms are bonded (nearest images in periodic directions).
        reference: structures of the same atoms over which the usual lengths are averaged; ``atoms`` alone if empty.

    Raises:
        InputError: if a reference structure has other atoms.
    """

    def __init__(self, atoms: Atoms, reference: Sequence[Atoms] = ()) -> None:
        self._cell, self._pbc = atoms.cell.array.copy(), atoms.pbc.copy()
        first, second = np.triu_indices(len(atoms), k=1)
        radii = covalent_radii[atoms.numbers]
        close = self._distances(atoms.positions, first, second) < BOND_TOLERANCE * (radii[first] + radii[second])
        self.first, self.second = first[close], second[close]
        self._names = [
            f"{atoms[i].symbol}{i}–{atoms[j].symbol}{j}" for i, j in zip(self.first, self.second, strict=True)
        ]
        for other in reference:
            if not np.array_equal(other.numbers, atoms.numbers):
                raise InputError(
                    f"The reference structure {other.get_chemical_formula()} has other atoms, or another order of "
                    f"them, than {atoms.get_chemical_formula()}; give frames of the structure that is simulated."
                )
        frames = [other.positions for other in reference] or [atoms.positions]
        self.lengths = np.mean([self._distances(frame, self.first, self.second) for frame in frames], axis=0)

    def __len__(self) -> int:
        return len(self.first)

    def largest_deviation(self, positions: np.ndarray) -> tuple[float, str]:
        """The bond farthest from its usual length.

        Args:
            positions: (n_atoms, 3) Å.

        Returns:
            The size of the deviation in Å and the bond's name, as ``C0–H4``; zero and an empty name without bonds.
        """
        if not len(self):
            return 0.0, ""
        deviation = np.abs(self._distances(positions, self.first, self.second) - self.lengths)
        worst = int(np.argmax(deviation))
        return float(deviation[worst]), self._names[worst]

    def _distances(self, positions: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        vectors = positions[second] - positions[first]
        if self._pbc.any() and len(vectors):
            return find_mic(vectors, self._cell, self._pbc)[1]
        return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
