"""Asking an ASE calculator about one structure, and believing nothing that cannot be right."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress

from mlff.data.records import Labels
from training.errors import LimbeckError

SUM_TOLERANCE = 1e-6
"""Allowed relative difference between the energy and the sum of the atoms' energies: what single precision leaves."""


class TeacherFailed(LimbeckError):
    """The calculator gave no usable answer for a structure; the message says why in a few words."""


class PropertyMissing(TeacherFailed):
    """The calculator does not have the property, for any structure."""


def evaluate(calculator: BaseCalculator, atoms: Atoms, properties: Collection[str] = ("energy", "forces")) -> Labels:
    """Labels of one structure.

    The energy is the one whose derivative the forces are: the free energy where the calculator distinguishes the two.

    Args:
        calculator: any ASE calculator.
        atoms: not changed; a calculator attached to it is not used.
        properties: energy and forces are always asked for; "energies" and "stress" (periodic in all directions only)
            on request.

    Returns:
        energy in eV, forces (n_atoms, 3) in eV/Å, energies (n_atoms,) in eV, stress (3, 3) in eV/Å³ with ASE's sign.

    Raises:
        PropertyMissing: if the calculator does not have a property.
        TeacherFailed: if it raises, answers with NaN, infinity or a wrong shape, or if the energies of the atoms do not
            sum to the energy.
    """
    # forces first: they bring the energy along, while some calculators do the work twice the other way round
    forces = _ask(calculator, atoms, "forces", (len(atoms), 3))
    force_consistent = "free_energy" in getattr(calculator, "implemented_properties", ())
    energy = float(_ask(calculator, atoms, "free_energy" if force_consistent else "energy", ()))
    energies = stress = None
    if "energies" in properties:
        energies = _ask(calculator, atoms, "energies", (len(atoms),))
        if abs(energies.sum() - energy) > SUM_TOLERANCE * max(abs(energy), np.abs(energies).sum()):
            raise TeacherFailed("energies of the atoms do not sum to the energy")
    if "stress" in properties:
        if not atoms.pbc.all():
            raise TeacherFailed("stress of a structure that is not periodic in all directions")
        stress = _ask(calculator, atoms, "stress", (6,), (3, 3))
        stress = voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress
    return Labels(energy=energy, forces=forces, energies=energies, stress=stress)


def _ask(calculator: BaseCalculator, atoms: Atoms, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
    try:
        # a copy, because a calculator may hand out its own buffer
        value = np.array(calculator.get_property(name, atoms), dtype=np.float64)
    except PropertyNotImplementedError as error:
        raise PropertyMissing(f"it has no {name}") from error
    except MemoryError:
        raise
    except Exception as error:
        # calculators are foreign code with errors of every kind; the reason is kept with the structure
        lines = str(error).strip().splitlines()
        raise TeacherFailed(f"{type(error).__name__}: {lines[0] if lines else 'no message'}") from error
    if value.shape not in shapes:
        raise TeacherFailed(f"{name} of shape {value.shape} instead of {' or '.join(map(str, shapes))}")
    if not np.isfinite(value).all():
        raise TeacherFailed(f"{name} not finite")
    return value
