"""Velocities to start from: Maxwell–Boltzmann, without momentum and, for a molecule, without rotation."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units


def thermalise(atoms: Atoms, temperature_K: float, random: np.random.Generator) -> None:
    """Give ASE's atoms velocities of exactly this temperature in the directions of `internal_directions`.

    Args:
        atoms: changed in place; atoms held by a constraint stay at rest, and then the others keep all directions.
        temperature_K: zero leaves everything at rest.
        random: where the velocities come from.
    """
    masses = atoms.get_masses()[:, None]
    momenta = np.sqrt(masses * units.kB * temperature_K) * random.standard_normal((len(atoms), 3))
    if not atoms.constraints:
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            momenta = _without_rotation(atoms, momenta)
    atoms.set_momenta(momenta)
    kinetic = atoms.get_kinetic_energy()
    aim = 0.5 * internal_directions(atoms) * units.kB * temperature_K
    if kinetic > 0:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(aim / kinetic))


def internal_directions(atoms: Atoms) -> int:
    """Directions in which atoms move once momentum and, for a molecule, rotation are gone."""
    if atoms.constraints:
        held = {int(index) for constraint in atoms.constraints for index in constraint.index}
        return 3 * (len(atoms) - len(held))
    if atoms.pbc.any():
        return 3 * len(atoms) - 3
    moments = atoms.get_moments_of_inertia()
    return 3 * len(atoms) - 3 - int((moments > 1e-6 * moments.max(initial=1e-12)).sum())


def _without_rotation(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    """Momenta less those of the rigid rotation with their angular momentum; a linear molecule has no third axis."""
    masses = atoms.get_masses()[:, None]
    arms = atoms.positions - atoms.get_center_of_mass()
    squares = (arms**2).sum(axis=1)[:, None, None] * np.eye(3) - arms[:, :, None] * arms[:, None]
    inertia = (masses[..., None] * squares).sum(axis=0)
    spin = np.linalg.pinv(inertia, rcond=1e-6, hermitian=True) @ np.cross(arms, momenta).sum(axis=0)
    return momenta - masses * np.cross(spin, arms)
