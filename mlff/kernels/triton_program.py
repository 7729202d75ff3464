"""A student as a fixed sequence of launches on a GPU: from positions to energies, forces and virials.

Geometry and messages are kernels of Triton with a program for every atom; the node blocks in between are those of
`mlff.kernels.triton_blocks`. The memory has a fixed capacity and nothing is allocated, so the sequence can be recorded
as a CUDA graph: numbers of atoms, edges and structures may change below the capacity without another recording. Rows
beyond the last atom are computed with everyone else, have no edges, and nobody reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from mlff.kernels import triton_edges, triton_geometry
from mlff.kernels.cuda_graph import Capacity
from mlff.kernels.triton_blocks import ByProducts, ByRows
from mlff.kernels.triton_memory import Memory, Network
from mlff.kernels.triton_products import Products, SplitProducts

WHOLE_ROW = {"EDGES": 32, "num_warps": 1}
"""Edges of the geometry at once, on one warp."""

FORWARD = {"EDGES": 8, "num_warps": 4}
REVERSE = {"EDGES": 4, "num_warps": 4}
"""Edges of a message at once: one or two per warp, as many as the registers hold."""

FEW_ATOMS = 128
"""Up to so many atoms, about as many as a GPU has processors, a block is one launch; above, its products are cuBLAS's.
An estimate: `benchmarks/gpu_md_step.py` measures both."""


class Results(NamedTuple):
    """Of the loaded structures, all float64; views of the program's memory, overwritten by its next run.

    Attributes:
        energy: (n_structures,) eV.
        forces: (n_atoms, 3) eV/Å.
        energies: (n_atoms,) eV.
        virial: (n_structures, 3, 3) eV, not symmetrised; None unless asked for.
        nearest: (n_structures,) Å, the shortest edge, zero where a position is not a number. Below the start of the
            tables the energy of the structure and the forces on those atoms are not a number.
    """

    energy: Tensor
    forces: Tensor
    energies: Tensor
    virial: Tensor | None
    nearest: Tensor

    def copied(self) -> Results:
        """The same in memory of their own."""
        virial = None if self.virial is None else self.virial.clone()
        return Results(self.energy.clone(), self.forces.clone(), self.energies.clone(), virial, self.nearest.clone())


class Program:
    """A network and its memory.

    Args:
        network: the weights, which several programs may share.
        capacity: what fits.
    """

    def __init__(self, network: Network, capacity: Capacity) -> None:
        self.network, self.capacity = network, capacity
        self.memory = Memory(capacity, network)
        self.loaded = Capacity(0, 0, 0)
        # the largest inputs of a product are the cotangents of the mixed vectors
        room = self.memory.mixed_bar.numel()
        self._products = SplitProducts(network.tensors, room) if network.split else Products(network.tensors)
        few = capacity.atoms <= FEW_ATOMS
        self._nodes = ByRows(network, self.memory) if few else ByProducts(network, self.memory, self._products)
        self._sizes = {"F": network.channels, "BLOCK": triton.next_power_of_2(network.channels)}

    def load(
        self, species: Tensor, start: Tensor, senders: Tensor, reverse: Tensor, offsets: Tensor, first: Tensor
    ) -> None:
        """What stays the same while atoms move; integers of any kind, on any device.

        Args:
            species: (n_atoms,) index of each atom's element.
            start: (n_atoms + 1,) rows of the edge list, which may hold edges beyond the cutoff.
            senders, reverse: (n_edges,).
            offsets: (n_edges, 3) Å added to the sender, float64, or (0, 3) for none.
            first: (n_structures + 1,) first atoms of the structures.

        Raises:
            CapacityExceeded: if it does not fit; nothing is changed then.
        """
        n_atoms, n_edges, n_structures = len(species), len(senders), len(first) - 1
        loaded = Capacity(n_atoms, n_edges, n_structures)
        self.capacity.require(loaded)
        self.loaded = loaded
        memory = self.memory
        memory.species[:n_atoms].copy_(species)
        memory.start[: n_atoms + 1].copy_(start)
        memory.start[n_atoms + 1 :].fill_(n_edges)
        memory.senders[:n_edges].copy_(senders)
        memory.reverse[:n_edges].copy_(reverse)
        memory.first[: n_structures + 1].copy_(first)
        memory.first[n_structures + 1 :].fill_(n_atoms)
        self.set_offsets(offsets)

    def set_offsets(self, offsets: Tensor) -> None:
        """Replace what the edges add to their senders, such as when cells change; as `load` takes it."""
        if len(offsets):
            self.memory.offsets[: self.loaded.edges].copy_(offsets)
        else:
            self.memory.offsets[: self.loaded.edges].zero_()

    def results(self, stress: bool) -> Results:
        """What the latest run has left for the loaded structures."""
        return self.results_in(self.memory.answers, stress)

    def results_in(self, answers: Tensor, stress: bool) -> Results:
        """The results in a copy of `Memory.answers`."""
        n_atoms, n_structures = self.loaded.atoms, self.loaded.structures
        energies, forces, energy, nearest, virial = answers.split(self.memory.parts)
        return Results(
            energy=energy[:n_structures],
            forces=forces[: 3 * n_atoms].view(-1, 3),
            energies=energies[:n_atoms],
            virial=virial[: 9 * n_structures].view(-1, 3, 3) if stress else None,
            nearest=nearest[:n_structures],
        )

    def launch(self, stress: bool) -> None:
        """Everything from `Memory.positions` to `Memory.answers`, with the virials if asked for."""
        with precision_of_products(self._products.precision):
            self._measure()
            for layer in range(self.network.layers):
                self._message(layer)
                self._nodes.forward(layer)
            for layer in reversed(range(self.network.layers)):
                self._nodes.reverse(layer)
                self._message_reverse(layer)
            self._collect(stress)

    def _measure(self) -> None:
        m, rows = self.memory, self.memory.records
        triton_geometry.measure[(self.capacity.atoms,)](
            m.positions, m.start, m.senders, m.offsets, self.network.tensors["levels"], rows.sender, rows.knot,
            rows.wide, rows.place, rows.unit, rows.counts, m.slopes, m.closest,
            INTERVALS=self.network.intervals, **WHOLE_ROW,
        )  # fmt: skip

    def _message(self, layer: int) -> None:
        """From ``s`` and ``v`` to ``s`` and the vectors after the messages."""
        m, w, tape = self.memory, self.network.tensors, self.memory.tapes[layer]
        rows = m.start, *m.records[:-1]
        grid = (self.capacity.atoms,)
        if layer == 0:
            triton_edges.first_messages[grid](
                *rows, w["table 0"], m.species, w["phi of species"], w["embedding"], m.scalars, m.after,
                **self._sizes, **FORWARD,
            )  # fmt: skip
            return
        triton_edges.messages[grid](
            *rows, w[f"table {layer}"], tape.phi, tape.vectors, m.scalars, m.after, **self._sizes, **FORWARD
        )

    def _message_reverse(self, layer: int) -> None:
        """From ``s̄`` and ``v̄`` after the messages to those before; in the first block, to the slopes of the edges."""
        m, w, tape = self.memory, self.network.tensors, self.memory.tapes[layer]
        rows = m.start, *m.records[:-1]
        add, grid = layer + 1 < self.network.layers, (self.capacity.atoms,)
        if layer == 0:
            triton_edges.first_messages_reverse[grid](
                *rows, m.records.wide, w["table 0"], m.species, w["phi of species"], m.scalar_bar, m.vector_bars[0],
                m.sums, w["levels"], m.slopes, ADD=add, **self._sizes, **REVERSE,
            )  # fmt: skip
            return
        triton_edges.messages_reverse[grid](
            *rows, w[f"table {layer}"], tape.phi, tape.vectors, m.scalar_bar, m.vector_bars[layer % 2], m.bars,
            m.vector_bars[(layer - 1) % 2], m.sums, ADD=add, **self._sizes, **REVERSE,
        )  # fmt: skip

    def _collect(self, stress: bool) -> None:
        """Forces, energies and virials."""
        m, w = self.memory, self.network.tensors
        triton_geometry.row_results[(self.capacity.atoms,)](
            m.positions, m.start, m.senders, m.reverse, m.offsets, m.slopes, m.closest, m.species, m.outputs,
            w["references"], w["levels"], m.forces, m.energies, m.virials, VIRIAL=stress, **WHOLE_ROW,
        )  # fmt: skip
        triton_geometry.structure_results[(self.capacity.structures,)](
            m.first, m.energies, m.closest, m.virials, m.energy, m.nearest, m.virial,
            VIRIAL=stress, ATOMS=128, num_warps=4,
        )  # fmt: skip


@contextmanager
def precision_of_products(precision: str) -> Iterator[None]:
    """Products of float32 in full ("ieee") or as TF32, whatever the user has chosen for the rest of the process."""
    products = torch.backends.cuda.matmul
    usual = products.fp32_precision
    products.fp32_precision = precision
    try:
        yield
    finally:
        products.fp32_precision = usual
