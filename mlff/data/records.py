"""What travels between the phases of a run: a structure, where it came from, and what a teacher said of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms


@dataclass(frozen=True)
class Labels:
    """A teacher's answer for one structure, in ASE's units and signs.

    Attributes:
        energy: eV, total.
        forces: (n_atoms, 3) eV/Å.
        energies: (n_atoms,) eV that sum to ``energy``, or None where the teacher is no sum over atoms.
        stress: (3, 3) eV/Å³ in ASE's sign (dE/dε / V), or None where the structure is not periodic.
    """

    energy: float
    forces: np.ndarray
    energies: np.ndarray | None = None
    stress: np.ndarray | None = None


@dataclass(frozen=True)
class Record:
    """One structure on its way through a run.

    Attributes:
        atoms: positions in Å, cell and pbc; carries no calculator.
        trajectory: name of the series of related structures it belongs to; a split never cuts through one.
        source: how it was made, in words for the reader of a report ("molecular dynamics at 300 K").
        labels: None until a teacher has answered.
        rejected: empty, or the reason why the structure or its label is not used for training.
    """

    atoms: Atoms
    trajectory: str
    source: str
    labels: Labels | None = None
    rejected: str = field(default="")
