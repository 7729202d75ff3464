"""What a structure must be before a student answers for it: known elements, atoms apart, lengths in Å.

The checks use the edge lengths that the model needs anyway, so they cost microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from jaxtyping import Float, Int
from numpy import ndarray

from mlff.neighbors import Neighbors
from training.errors import InputError

# Å; nuclei come no closer in any molecule or shock, while nm read as Å give 0.1 Å
SMALLEST_DISTANCE = 0.3

# Bonds are about as long as the sum of two covalent radii; bohr read as Å make them 1.9 times as long.
LONGEST_BOND = 1.5

NOBLE_GASES = (2, 10, 18, 36, 54, 86)


def require_known_elements(numbers: Int[ndarray, "atoms"], known: Sequence[int]) -> None:
    """Refuse a structure with an element the student was not trained on, or without atoms.

    Raises:
        InputError: naming the first such atom and the elements that are known.
    """
    if len(numbers) == 0:
        raise InputError("The structure has no atoms.")
    foreign = np.flatnonzero(~np.isin(numbers, known))
    if len(foreign):
        symbols = sorted({chemical_symbols[numbers[n]] for n in foreign})
        raise InputError(
            f"The student does not know {', '.join(symbols)} (atom {foreign[0]} of the structure); it knows "
            f"{', '.join(chemical_symbols[z] for z in known)}. Distil a student from structures with these elements."
        )


def require_atoms_apart(
    numbers: Int[ndarray, "atoms"], neighbors: Neighbors, distances: Float[ndarray, "edges"]
) -> None:
    """Refuse atoms on top of each other.

    Raises:
        InputError: naming the closest pair, its distance and the likely reasons.
    """
    if len(distances) == 0 or distances.min() >= SMALLEST_DISTANCE:
        return
    edge = int(distances.argmin())
    i, j = int(neighbors.receivers[edge]), int(neighbors.senders[edge])
    pair = f"{chemical_symbols[numbers[i]]} (atom {i}) and {chemical_symbols[numbers[j]]} (atom {j})"
    image = " through a periodic boundary" if neighbors.shifts[edge].any() else ""
    raise InputError(
        f"{pair} are {distances[edge]:.3g} Å apart{image}, nearer than {SMALLEST_DISTANCE} Å. Lengths are in "
        "Å (1 nm = 10 Å, 1 bohr = 0.529 Å): check the units, look for an atom listed twice, or, in the middle of a "
        "simulation, use a shorter time step."
    )


def has_bonds(numbers: Int[ndarray, "atoms"], neighbors: Neighbors, distances: Float[ndarray, "edges"]) -> bool:
    """Whether some pair is near enough for a bond, or the structure is one for which that means nothing.

    A structure of several atoms without one bond is rare (noble gases aside); lengths in bohr make every structure so.
    """
    if len(numbers) < 2 or np.isin(numbers, NOBLE_GASES).any():
        return True
    radii = covalent_radii[numbers]
    return bool((distances < LONGEST_BOND * (radii[neighbors.receivers] + radii[neighbors.senders])).any())
