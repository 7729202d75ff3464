"""Systems that go through the network together, as a graph for it, or as arrays for a program on the CPU or a GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mlff.deploy.batched_md.neighbours import Edges
from mlff.deploy.batched_md.systems import Systems
from mlff.graph import AtomGraph
from mlff.kernels.inference import CompiledStudent
from mlff.student import PaiNN

if TYPE_CHECKING:
    from mlff.kernels.triton_student import TritonStudent


@dataclass
class Forces:
    """What a student says of all systems.

    Attributes:
        energy: (n_systems, 1) eV.
        forces: (n_atoms, 3) eV/Å; zero for atoms that are held.
        stress: (n_systems, 3, 3) eV/Å³ in ASE's sign, zero where there is no cell; None unless asked for.
        closest: (n_systems, 1) Å, the shortest distance; infinite where no two atoms see each other.
    """

    energy: Float[Tensor, "systems 1"]
    forces: Float[Tensor, "atoms 3"]
    stress: Float[Tensor, "systems 3 3"] | None
    closest: Float[Tensor, "systems 1"]


class _Distances(NamedTuple):
    squared: Tensor
    closest: Tensor


class Group:
    """Some systems that follow each other.

    Args:
        systems: all systems.
        model: the student.
        first, last: the group's systems are ``first`` up to ``last``.
    """

    def __init__(self, systems: Systems, model: PaiNN, first: int, last: int) -> None:
        self.systems = slice(first, last)
        start, end = (int(systems.first[n]) for n in (first, last))
        self.atoms = slice(start, end)
        self.n_systems = last - first
        self.owner = systems.owner[self.atoms] - first
        self.numbers = systems.numbers[self.atoms]
        self.species = model.element_index[self.numbers]
        self.first = systems.first[first : last + 1] - start

    def take(self, edges: Edges) -> None:
        """Its share of the edges of all systems, which are sorted by receiver."""
        bounds = torch.tensor([self.atoms.start, self.atoms.stop], device=edges.receivers.device)
        first, last = torch.searchsorted(edges.receivers, bounds).tolist()
        part, atom = slice(first, last), self.atoms.start
        self.wide = Edges(
            edges.receivers[part] - atom, edges.senders[part] - atom, edges.shifts[part], edges.reverse[part] - first
        )
        self.shifted = self.wide.n_edges > 0 and bool((self.wide.shifts != 0).any())
        self.edge_owner = self.owner.index_select(0, self.wide.receivers)
        rows = torch.arange(len(self.numbers) + 1, device=edges.receivers.device)
        self.row_start = torch.searchsorted(self.wide.receivers, rows)
        self.inside: Tensor | None = None
        self.graph: AtomGraph | None = None
        self.offsets: Tensor | None = None
        self.offsets_of: Tensor | None = None

    def run(self, program: CompiledStudent, systems: Systems, stress: bool) -> Forces | None:
        """What the compiled program answers, all systems as one structure; nothing where two atoms are too near.

        Args:
            program: the student.
            systems: on the CPU.
            stress: whether to compute it.
        """
        wide = self.wide
        program.set_structure(
            self.species.numpy(),
            self.row_start.numpy(),
            wide.senders.numpy(),
            wide.reverse.numpy(),
            self._offsets(systems).numpy(),
        )
        positions = systems.positions[self.atoms].numpy()
        answer = program.evaluate(positions, stress, torch.get_num_threads())
        if answer is None:
            return None
        energies = torch.from_numpy(answer.energies)
        energy = energies.new_zeros(self.n_systems).index_add_(0, self.owner, energies).unsqueeze(1)
        tensor = None
        if stress:
            virials = torch.from_numpy(program.virials())
            tensor = self._stress(virials.new_zeros(self.n_systems, 3, 3).index_add_(0, self.owner, virials), systems)
        return Forces(energy, torch.from_numpy(answer.forces), tensor, torch.full_like(energy, torch.inf))

    def run_on_gpu(self, program: TritonStudent, is_new: bool, systems: Systems, stress: bool) -> Forces:
        """What the program on a GPU answers; not a number for systems in which two atoms are too near.

        Args:
            program: the student.
            is_new: whether the program holds other systems, or other edges.
            systems: on the device of the program.
            stress: whether to compute it.
        """
        cell, offsets = self.offsets_of, self._offsets(systems)
        if is_new:
            wide = self.wide
            program.set_structures(self.species, self.row_start, wide.senders, wide.reverse, offsets, self.first)
        elif cell is not self.offsets_of:
            program.program.set_offsets(offsets)
        found = program.run(systems.positions[self.atoms], stress).copied()
        tensor = None if found.virial is None else self._stress(found.virial, systems)
        return Forces(found.energy.unsqueeze(1), found.forces, tensor, found.nearest.unsqueeze(1))

    def _stress(self, virial: Tensor, systems: Systems) -> Tensor:
        """Stress of every system, zero without a cell, (n_systems, 3, 3) eV/Å³ as the virial in eV."""
        volume = systems.volume()[self.systems].unsqueeze(2)
        return torch.where(volume > 0, 0.5 * (virial + virial.transpose(1, 2)) / volume.clamp(min=1e-30), 0.0)

    def _offsets(self, systems: Systems) -> Float[Tensor, "edges 3"]:
        """What the edges add to their senders, (n_edges, 3) Å, made again when cells have changed; empty without."""
        if not self.shifted:
            return systems.positions.new_zeros(0, 3)
        if self.offsets is None or self.offsets_of is not systems.cell:
            cells = systems.cell[self.systems].index_select(0, self.edge_owner)
            self.offsets, self.offsets_of = torch.einsum("ec,ecd->ed", self.wide.shifts, cells), systems.cell
        return self.offsets

    def at(self, systems: Systems, cutoff: float, filters: bool) -> tuple[AtomGraph, Tensor]:
        """The graph at the present positions and the shortest distances (n_systems, 1) Å.

        Args:
            systems: all systems.
            cutoff: Å.
            filters: whether to leave out edges beyond the cutoff.
        """
        positions, cell = systems.positions[self.atoms], systems.cell[self.systems]
        squared, closest = self._distances(positions, systems)
        edges = self.wide
        if filters:
            inside = squared < cutoff**2
            if self.inside is None or not torch.equal(inside, self.inside):
                self.inside, self.graph = inside, None
                # an edge and its reverse may round to different sides of the cutoff
                edges = self.wide.keep(inside & inside.index_select(0, self.wide.reverse))
        if self.graph is None:
            self.graph = AtomGraph(
                atomic_numbers=self.numbers,
                positions=positions,
                cell=cell,
                receivers=edges.receivers,
                senders=edges.senders,
                shifts=edges.shifts,
                reverse=edges.reverse,
                structure_index=self.owner,
                n_structures=self.n_systems,
            )
            return self.graph, closest
        return replace(self.graph, positions=positions, cell=cell), closest

    def _distances(self, positions: Tensor, systems: Systems) -> _Distances:
        vectors = positions.index_select(0, self.wide.senders) - positions.index_select(0, self.wide.receivers)
        if self.shifted:
            vectors += self._offsets(systems)
        squared = vectors.square().sum(dim=1)
        nearest = squared.new_full((self.n_systems,), torch.inf).scatter_reduce(0, self.edge_owner, squared, "amin")
        return _Distances(squared, nearest.sqrt().unsqueeze(1))
