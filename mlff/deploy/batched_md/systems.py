"""Many systems in motion as tensors on one device: atoms one after another, whichever system they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import atomic_masses
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from training.errors import InputError


@dataclass
class Systems:
    """Systems of different sizes and periodicities, in ASE's units, all real numbers float64.

    Attributes:
        names: ``00003_C2H6O``: place in the list and formula.
        numbers: (n_atoms,) atomic numbers.
        masses: (n_atoms, 1) amu.
        mobile: (n_atoms, 1) one, or zero for atoms held by ``FixAtoms``.
        owner: (n_atoms,) the system of each atom, ascending.
        first: (n_systems + 1,) the atoms of system k are ``first[k]`` up to ``first[k + 1]``.
        pbc: (n_systems, 3) which lattice vectors repeat.
        positions: (n_atoms, 3) Å; atoms are never wrapped into the cell.
        velocities: (n_atoms, 3) in ASE's unit, Å √(eV/amu)/Å.
        cell: (n_systems, 3, 3) Å, lattice vectors as rows.
        degrees_of_freedom: (n_systems, 1) directions that share the kinetic energy.
        alive: (n_systems, 1) false once a system has failed; it then stays where it was before the failing step.
        included: (n_systems, 1) whether a system goes through the network; a failed one does until its failure is told.
    """

    names: list[str]
    numbers: Int[Tensor, "atoms"]
    masses: Float[Tensor, "atoms 1"]
    mobile: Float[Tensor, "atoms 1"]
    owner: Int[Tensor, "atoms"]
    first: Int[Tensor, "systems_and_one"]
    pbc: Bool[Tensor, "systems 3"]
    positions: Float[Tensor, "atoms 3"]
    velocities: Float[Tensor, "atoms 3"]
    cell: Float[Tensor, "systems 3 3"]
    degrees_of_freedom: Float[Tensor, "systems 1"]
    alive: Bool[Tensor, "systems 1"]
    included: Bool[Tensor, "systems 1"]

    @classmethod
    def of(cls, structures: Sequence[Atoms], device: torch.device) -> Systems:
        """The systems of ASE structures at rest, or with their momenta; every direction counts as a degree of freedom.

        Raises:
            InputError: if there is none, or one has a constraint other than ``FixAtoms``; names it.
        """
        if not structures:
            raise InputError("There is no system to simulate: the list of structures is empty.")
        counts = [len(atoms) for atoms in structures]
        mobile = [mobile_atoms(index, atoms) for index, atoms in enumerate(structures)]

        def joined(parts: Sequence[np.ndarray], dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(device=device, dtype=dtype)

        return cls(
            names=[f"{index:05d}_{atoms.get_chemical_formula()}" for index, atoms in enumerate(structures)],
            numbers=joined([atoms.numbers for atoms in structures], torch.int64),
            masses=joined([atoms.get_masses()[:, None] for atoms in structures]),
            mobile=joined([moves[:, None] for moves in mobile]),
            owner=torch.from_numpy(np.repeat(np.arange(len(structures)), counts)).to(device),
            first=torch.from_numpy(np.cumsum([0, *counts])).to(device),
            pbc=joined([atoms.pbc[None] for atoms in structures], torch.bool),
            positions=joined([atoms.positions for atoms in structures]),
            velocities=joined([a.get_velocities() * m[:, None] for a, m in zip(structures, mobile, strict=True)]),
            cell=joined([atoms.cell.array[None] for atoms in structures]),
            degrees_of_freedom=joined([3.0 * moves.sum(keepdims=True)[None] for moves in mobile]),
            alive=torch.ones(len(structures), 1, dtype=torch.bool, device=device),
            included=torch.ones(len(structures), 1, dtype=torch.bool, device=device),
        )

    @property
    def n_systems(self) -> int:
        return len(self.names)

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def device(self) -> torch.device:
        return self.positions.device

    def sum(self, values: Float[Tensor, "atoms columns"]) -> Float[Tensor, "systems columns"]:
        """Sums over the atoms of every system."""
        return values.new_zeros(self.n_systems, values.shape[1]).index_add_(0, self.owner, values)

    def spread(self, values: Tensor) -> Tensor:
        """The value of its system for every atom."""
        return values.index_select(0, self.owner)

    def kinetic_energy(self) -> Float[Tensor, "systems 1"]:
        """(n_systems, 1) eV."""
        return self.sum((0.5 * self.masses * self.velocities.square()).sum(dim=1, keepdim=True))

    def volume(self) -> Float[Tensor, "systems 1"]:
        """(n_systems, 1) Å³; zero where a lattice vector is missing."""
        return torch.linalg.det(self.cell).abs().unsqueeze(1)

    def atoms(self, index: int) -> Atoms:
        """One system as ASE sees it, with momenta."""
        first, last = self.first[index : index + 2].tolist()
        part = slice(first, last)
        numbers, masses = self.numbers[part].cpu().numpy(), self.masses[part, 0].cpu().numpy()
        atoms = Atoms(
            numbers,
            self.positions[part].cpu().numpy(),
            cell=self.cell[index].cpu().numpy(),
            pbc=self.pbc[index].cpu().numpy(),
        )
        if not np.array_equal(masses, atomic_masses[numbers]):
            atoms.set_masses(masses)
        atoms.set_velocities(self.velocities[part].cpu().numpy())
        fixed = np.flatnonzero(self.mobile[part, 0].cpu().numpy() == 0)
        if len(fixed):
            atoms.set_constraint(FixAtoms(indices=fixed))
        return atoms


def mobile_atoms(index: int, atoms: Atoms) -> Float[ndarray, "atoms"]:
    """One for every atom of a structure that may move, zero for those under ``FixAtoms``.

    Raises:
        InputError: if there is a constraint of another kind; names the structure by its place in the list.
    """
    mobile = np.ones(len(atoms))
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise InputError(
                f"System {index} ({atoms.get_chemical_formula()}) has the constraint {type(constraint).__name__}; the "
                "batched dynamics know FixAtoms only. Remove it, or run this system with ASE's own dynamics."
            )
        mobile[constraint.index] = 0.0
    return mobile
