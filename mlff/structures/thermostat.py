"""Langevin dynamics whose whole state is positions, momenta and a random stream, so that it continues bit for bit.

The splitting is BAOAB: half a kick, half a drift, friction and noise exactly, half a drift, half a kick, with one force
call. It samples positions at the right temperature (exactly for a spring); the kinetic temperature comes out a few
percent low where the step is a tenth of the fastest period.

Source: Leimkuhler, Matthews, "Rational construction of stochastic numerical methods for molecular sampling",
Appl. Math. Res. Express 2013, 34.
"""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
from ase import Atoms, units


class Langevin:
    """Moves atoms that have a calculator.

    Args:
        atoms: positions and momenta are changed in place.
        timestep: fs.
        temperature: K.
        friction: 1/ps.
        random: stream of the noise.
    """

    def __init__(
        self, atoms: Atoms, timestep: float, temperature: float, friction: float, random: np.random.Generator
    ) -> None:
        self.atoms = atoms
        self.random = random
        self._masses = atoms.get_masses()[:, None]
        self._step = timestep * units.fs
        self._memory = exp(-friction * 1e-3 * timestep)
        self._noise = np.sqrt(self._masses * units.kB * temperature) * sqrt(1 - self._memory**2)

    def step(self, forces: np.ndarray) -> np.ndarray:
        """One time step.

        Args:
            forces: (n_atoms, 3) eV/Å at the present positions.

        Returns:
            the forces at the new positions.
        """
        half = self._step / 2
        momenta = self.atoms.get_momenta() + half * forces
        positions = self.atoms.get_positions() + half * momenta / self._masses
        momenta = self._memory * momenta + self._noise * self.random.standard_normal(momenta.shape)
        self.atoms.set_positions(positions + half * momenta / self._masses)
        forces = self.atoms.get_forces()
        self.atoms.set_momenta(momenta + half * forces)
        return forces


def thermal_momenta(atoms: Atoms, temperature: float, random: np.random.Generator) -> np.ndarray:
    """Maxwell-Boltzmann momenta, (n_atoms, 3) in ASE's units, without net momentum and, for molecules, net rotation.

    Args:
        atoms: masses and positions.
        temperature: K.
        random: stream to draw from.
    """
    masses = atoms.get_masses()[:, None]
    momenta = np.sqrt(masses * units.kB * temperature) * random.standard_normal((len(atoms), 3))
    if len(atoms) == 1:
        return momenta
    momenta -= masses * momenta.sum(axis=0) / masses.sum()
    if atoms.pbc.any():
        return momenta
    lever = atoms.positions - atoms.get_center_of_mass()
    inertia = (masses * (lever**2)).sum() * np.eye(3) - (masses * lever).T @ lever
    # a linear molecule has no inertia about its axis: the pseudo-inverse leaves that rotation out
    spin = np.linalg.pinv(inertia, rcond=1e-8, hermitian=True) @ np.cross(lever, momenta).sum(axis=0)
    return momenta - masses * np.cross(spin, lever)
