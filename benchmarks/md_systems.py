"""Structures and their moves for `md_step.py`, the same on both sides; nothing but ASE and numpy."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule

SPACING = 3.02
"""Å between water molecules on their grid: about 57 atoms within 5 Å of each, as in the issue's table."""

SYSTEMS = {"12 atoms": "benzene", "60 atoms": "C60", "81-atom water": "water 3", "648-atom water": "water 6"}
"""Rows of the table; the number is of molecules along an edge of the box."""


def build(name: str) -> Atoms:
    """The structure of a row, "water n" (a periodic box) or "cluster n" (n molecules of water in empty space)."""
    name = SYSTEMS.get(name, name)
    if name.startswith("cluster"):
        box = build("water 4")
        nearest = np.argsort(np.linalg.norm(box.positions[::3] - box.cell.sum(0) / 2, axis=1))[: int(name.split()[1])]
        return Atoms(box[[3 * place + atom for place in nearest for atom in range(3)]], pbc=False, cell=None)
    if not name.startswith("water"):
        return molecule("C6H6" if name == "benzene" else name)
    side = int(name.split()[1])
    rng = np.random.default_rng(0)
    boxes = []
    for place in np.ndindex(side, side, side):
        water = molecule("H2O")
        water.euler_rotate(*rng.uniform(0, 360, 3))
        water.translate(np.array(place) * SPACING)
        boxes.append(water)
    numbers = np.concatenate([box.numbers for box in boxes])
    positions = np.concatenate([box.positions for box in boxes])
    return Atoms(numbers, positions, cell=[side * SPACING] * 3, pbc=True)


class Path:
    """Atoms that fly straight for half a period and back again, about as fast as at 300 K with steps of 0.5 fs."""

    def __init__(self, atoms: Atoms, period: int = 40) -> None:
        self.start, self.period = atoms.positions.copy(), period
        rng = np.random.default_rng(1)
        speeds = 0.5 * 0.0157 / np.sqrt(atoms.get_masses())  # Å per step; 0.0157 Å/fs √amu is thermal at 300 K
        # even within ±√3 times the thermal speed, so that no two atoms meet
        self.velocities = rng.uniform(-(3**0.5), 3**0.5, size=self.start.shape) * speeds[:, None]
        self.step = 0

    def move(self, atoms: Atoms) -> None:
        """One step further."""
        self.step += 1
        along = self.step % self.period
        atoms.positions[:] = self.start + min(along, self.period - along) * self.velocities
