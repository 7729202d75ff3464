"""Physical gates for structures: finite, no overlapping atoms, molecules in one piece. Every refusal has a reason."""

from __future__ import annotations

from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mlff.structures.settings import GateSettings
from mlff.teachers.gates import unphysical

FELL_APART = "molecule fell apart"
TOO_HOT = "trajectory exploded"

EXPLOSION = 5.0
"""A trajectory this many times hotter than its thermostat is lost; chance heats two atoms so once in 20,000 frames."""


class StructureGates:
    """The gates for structures that descend from one seed.

    Args:
        seed: what they descend from; it may already consist of several molecules.
        settings: bounds.
    """

    def __init__(self, seed: Atoms, settings: GateSettings) -> None:
        self.settings = settings
        # in a crystal bonds come and go; there it has no meaning to count molecules
        self._fragments = None if settings.fragments or seed.pbc.any() else fragments(seed, settings.max_bond)

    def refusal(self, atoms: Atoms) -> str:
        """Why a structure is not sound; empty if it is."""
        reason = unphysical(atoms, self.settings.min_distance)
        if not reason and self._fragments is not None and fragments(atoms, self.settings.max_bond) > self._fragments:
            return FELL_APART
        return reason

    def explosion(self, temperature: float, target: float) -> str:
        """Why a trajectory cannot go on, judged by its momentary temperature in K; empty if it can."""
        return TOO_HOT if not temperature < EXPLOSION * target else ""


def fragments(atoms: Atoms, max_bond: float) -> int:
    """Number of connected pieces.

    Args:
        atoms: positions in Å.
        max_bond: longest bond, as a multiple of the sum of the covalent radii.
    """
    first, second = neighbor_list("ij", atoms, max_bond * covalent_radii[atoms.numbers])
    bonds = coo_matrix(([True] * len(first), (first, second)), shape=(len(atoms), len(atoms)))
    return int(connected_components(bonds, directed=False, return_labels=False))
