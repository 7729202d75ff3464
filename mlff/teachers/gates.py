"""What a structure and its label must satisfy to be trained on; every refusal has a short reason to be counted."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from mlff.data.records import Labels

NOT_FINITE = "positions not finite"
TOO_CLOSE = "atoms too close"
FAILED = "teacher failed"


def unphysical(atoms: Atoms, min_distance: float) -> str:
    """Why no teacher should be asked about a structure; empty if it may be.

    Args:
        atoms: positions in Å.
        min_distance: closest allowed pair, periodic images included, as a share of the sum of the covalent radii.
    """
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return NOT_FINITE
    # with one radius for each atom, ASE lists the pairs whose spheres overlap
    overlapping = neighbor_list("i", atoms, min_distance * covalent_radii[atoms.numbers])
    return TOO_CLOSE if len(overlapping) else ""


def unusable(labels: Labels, max_force: float) -> str:
    """Why a label should not be trained on; empty if it may be.

    Args:
        labels: as `evaluate` returns them, so finite.
        max_force: eV/Å, largest allowed force on an atom.
    """
    largest = np.linalg.norm(labels.forces, axis=1).max()
    return f"force above {max_force:g} eV/Å" if largest > max_force else ""
