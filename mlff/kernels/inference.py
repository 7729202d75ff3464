"""A student as one compiled program on the CPU: weights laid out once, memory kept from step to step.

`CompiledStudent` takes plain arrays and knows nothing of the network's classes; `mlff.deploy.compiled` fills them in.
Channels are padded to whole registers with weights of zero, which changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy import ndarray

from mlff.kernels import inference_layout as lay
from mlff.kernels import numba_program as program
from mlff.kernels.calling import LARGEST_NUMBER_OF_THREADS, run_together
from mlff.kernels.inference_layout import Edges, Network, Workspace
from mlff.kernels.numba_edges import RECORD
from mlff.kernels.products import ROWS, in_panels, panel_width
from mlff.kernels.tables import DEGREE, RadialTable
from mlff.kernels.vectors import REGISTER_BYTES, width_of

LARGEST_TASK = 48
"""Atoms of a task: enough rows to use a weight often, few enough for their intermediates to stay in the L2 cache."""

SMALLEST_SHARE = 12
"""Atoms per thread below which another thread costs more than it does."""


class Dense(NamedTuple):
    """A linear layer: ``weight`` (outputs, inputs), ``bias`` (outputs,)."""

    weight: ndarray
    bias: ndarray


@dataclass(frozen=True)
class Block:
    """Weights of a message and an update block.

    Attributes:
        phi: the two layers that make features of scalars.
        filter: (parts F, R + 1) from the radial functions to the filters.
        mix: (2F, F).
        gate: the two layers that make gates.
    """

    phi: tuple[Dense, Dense]
    filter: ndarray
    mix: ndarray
    gate: tuple[Dense, Dense]


@dataclass(frozen=True)
class Weights:
    """All weights of a student, float64.

    Attributes:
        embedding: (species, F).
        blocks: in their order.
        readout: two layers, the second with one output.
        radial: the table of the radial functions.
        floor: added to |Vv|².
        nearest: Å; a structure with a shorter edge gets no answer.
        scale: eV per unit of output.
        references: (species,) eV added to every atom's energy.
    """

    embedding: ndarray
    blocks: Sequence[Block]
    readout: tuple[Dense, Dense]
    radial: RadialTable
    floor: float
    nearest: float
    scale: float
    references: ndarray


class Answer(NamedTuple):
    """Of one structure: energy in eV, forces (n_atoms, 3) eV/Å, energies (n_atoms,) eV, virial (3, 3) eV or None."""

    energy: float
    forces: ndarray
    energies: ndarray
    virial: ndarray | None


class CompiledStudent:
    """Evaluates one structure after another.

    Args:
        weights: of the student.
        dtype: float32 or float64, of the features; positions, energies and forces are float64.
    """

    def __init__(self, weights: Weights, dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype)
        self.layers = len(weights.blocks)
        self.channels = _padded(weights.embedding.shape[1], panel_width(dtype))
        self.references = weights.references
        self.scale = weights.scale
        self._network = _lay_out(weights, self.dtype, self.channels)
        self._program = _program(self.dtype)
        self._room: tuple[int, ...] = (0, 0, 0)
        self._table = np.zeros(2 * lay.ARRAYS + lay.SETTINGS, dtype=np.int64)
        self._settings = self._table[-lay.SETTINGS :]
        self._table_address = self._table.ctypes.data

    def set_structure(
        self, species: ndarray, start: ndarray, senders: ndarray, reverse: ndarray, offsets: ndarray
    ) -> None:
        """What stays the same while atoms move; int64, and float64 for the offsets.

        Args:
            species: (n_atoms,) index of each atom's element.
            start: (n_atoms + 1,) rows of the edge list, which may hold edges beyond the cutoff.
            senders, reverse: (n_edges,).
            offsets: (n_edges, 3) Å added to the sender, or (0, 3).
        """
        self._n_atoms = len(species)
        self._reserve(_padded(len(species), ROWS), len(senders))
        self._edges = Edges(*map(np.ascontiguousarray, (start, senders, reverse, offsets.reshape(-1), species)))
        self._zero = self.references[species]
        self._write_table()

    def evaluate(self, positions: ndarray, stress: bool, threads: int) -> Answer | None:
        """Energy, forces and virial; nothing if an edge is shorter than the nearest two atoms may be.

        Args:
            positions: (n_atoms, 3) Å, float64.
            stress: whether to compute the virial.
            threads: at most.
        """
        n_atoms, capacity = self._n_atoms, self._room[0]
        threads = max(1, min(threads, LARGEST_NUMBER_OF_THREADS, n_atoms // SMALLEST_SHARE))
        shares = threads * -(-n_atoms // (threads * LARGEST_TASK))
        per_task = _padded(-(-n_atoms // shares), ROWS)
        if threads * per_task > self._room[2]:
            self._reserve(capacity, self._room[1], threads * per_task)
            self._write_table()
        self._settings[:] = per_task, n_atoms, capacity, stress
        self._positions[: 3 * n_atoms].reshape(-1, 3)[:] = positions
        counters = self._space.counters
        counters[:] = 0
        if threads == 1:
            self._program.ctypes(self._table_address, 0)
        else:
            numba.set_num_threads(threads)
            run_together(threads, self._program.address, self._table_address)
        if counters[-1]:
            return None
        energies = self._outputs[:n_atoms] * self.scale
        energies += self._zero
        forces = self._answers[: 3 * n_atoms].reshape(-1, 3).copy()
        virial = self.virials().sum(axis=0) if stress else None
        return Answer(float(energies.sum()), forces, energies, virial)

    def virials(self) -> ndarray:
        """Each atom's share of the virial of the last evaluation with stress, (n_atoms, 3, 3) eV; a view."""
        first = 3 * self._room[0]
        return self._answers[first : first + 9 * self._n_atoms].reshape(-1, 3, 3)

    def _reserve(self, atoms: int, edges: int, scratch: int = 0) -> None:
        """Memory for so many atoms, edges and atoms of tasks at once; what there is, if it is enough."""
        needs = (atoms, edges, scratch or LARGEST_TASK)
        if all(need <= room for need, room in zip(needs, self._room, strict=True)):
            return
        atoms, edges, scratch = self._room = tuple(
            room if need <= room else _padded(need + need // 10, ROWS)
            for need, room in zip(needs, self._room, strict=True)
        )
        rows = atoms * (lay.PER_ATOM + lay.PER_BLOCK * self.layers) + scratch * lay.SCRATCH
        steps = 2 * self.layers + 1
        self._space = Workspace(
            work=aligned(rows * self.channels, self.dtype),
            records=aligned(edges * RECORD, self.dtype),
            sums=aligned(edges * width_of(self.dtype), self.dtype),
            slopes=np.empty(3 * edges),
            places=np.empty((3, edges), dtype=np.int64),
            filled=np.empty(atoms, dtype=np.int64),
            counters=np.zeros(2 * steps + 1, dtype=np.int64),
        )
        self._positions, self._outputs, self._answers = np.zeros(3 * atoms), np.zeros(atoms), np.zeros(12 * atoms)

    def _write_table(self) -> None:
        """Where the program finds its arrays; it is called with the address of this table alone."""
        net, edges, space = self._network, self._edges, self._space
        arrays = (
            net.weights, net.sizes, net.places, net.table, net.levels, *edges, *space, self._positions, self._outputs,
            self._answers,
        )  # fmt: skip
        self._table[: 2 * len(arrays)] = [number for a in arrays for number in (a.ctypes.data, a.size)]


@cache
def _program(dtype: np.dtype) -> Any:
    return program.make_program(numba.from_dtype(dtype))


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def aligned(size: int, dtype: np.dtype) -> ndarray:
    """Zeros that begin where a register does, so that none straddles two cache lines."""
    raw = np.zeros(size * dtype.itemsize + REGISTER_BYTES, dtype=np.uint8)
    first = -raw.ctypes.data % REGISTER_BYTES
    return raw[first : first + size * dtype.itemsize].view(dtype)


class _Layout:
    """Arrays one behind the other, each beginning with a register."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.parts: list[ndarray] = []
        self.size = 0

    def add(self, values: ndarray) -> int:
        """Where in the whole these values begin."""
        first, values = self.size, values.astype(self.dtype).reshape(-1)
        self.parts.append(np.pad(values, (0, -len(values) % panel_width(self.dtype))))
        self.size += len(self.parts[-1])
        return first

    def add_matrix(self, matrix: ndarray) -> int:
        """A matrix (depth, columns) in panels."""
        return self.add(in_panels(matrix.astype(self.dtype)))

    def whole(self) -> ndarray:
        together = aligned(self.size, self.dtype)
        np.concatenate(self.parts, out=together)
        return together


def _lay_out(weights: Weights, dtype: np.dtype, channels: int) -> Network:
    layout, read = _Layout(dtype), weights.readout
    places = np.zeros((len(weights.blocks) + 1, lay.PLACES), dtype=np.int64)
    silent = np.zeros(6 * channels)
    for n, block in enumerate(weights.blocks):
        _place_block(layout, places[n], block, channels, n == 0, weights.radial)
    hidden = _padded(read[0].weight.shape[0], panel_width(dtype))
    first = _widened(read[0].weight, 1, hidden, 1, channels)
    embedding = _widened(weights.embedding, 1, len(weights.embedding), 1, channels)
    last = places[-1]
    last[lay.READ_FIRST] = layout.add_matrix(first.T)
    last[lay.READ_FIRST_BIAS] = layout.add(_widened(read[0].bias[None], 1, 1, 1, hidden))
    last[lay.READ_BACK] = layout.add_matrix(first)
    last[lay.READ_SECOND] = layout.add(_widened(read[1].weight, 1, 1, 1, hidden))
    last[lay.READ_BIAS] = layout.add(read[1].bias)
    last[lay.ZEROS] = layout.add(silent)
    last[lay.SPECIES_PHI] = layout.add(_species_features(weights, channels))
    last[lay.SPECIES] = layout.add(embedding)
    radial = weights.radial
    return Network(
        weights=layout.whole(),
        places=places,
        sizes=np.array([channels, len(weights.blocks), hidden, radial.intervals + DEGREE]),
        table=np.array([radial.start, radial.cutoff, 1 / radial.spacing, radial.intervals]),
        levels=np.array([weights.scale, weights.floor, weights.nearest]),
    )


def _place_block(
    layout: _Layout, places: ndarray, block: Block, channels: int, initial: bool, radial: RadialTable
) -> None:
    f, parts = channels, len(block.filter) // block.mix.shape[1]
    mix = _widened(block.mix, 2, f, 1, f)
    gate_parts = block.gate[1].weight.shape[0] // block.mix.shape[1]
    gate_first = _widened(block.gate[0].weight, 1, f, 2, f)
    gate_second = _widened(block.gate[1].weight, gate_parts, f, 1, f)
    places[lay.MIX], places[lay.MIX_BACK] = layout.add_matrix(mix.T), layout.add_matrix(mix)
    places[lay.GATE_FIRST] = layout.add_matrix(gate_first.T)
    places[lay.GATE_FIRST_BIAS] = layout.add(_widened(block.gate[0].bias[None], 1, 1, 1, f))
    places[lay.GATE_FIRST_BACK] = layout.add_matrix(gate_first)
    places[lay.GATE_SECOND] = layout.add_matrix(gate_second.T)
    places[lay.GATE_SECOND_BIAS] = layout.add(_widened(block.gate[1].bias[None], 1, 1, gate_parts, f))
    places[lay.GATE_SECOND_BACK] = layout.add_matrix(gate_second)
    if not initial:
        phi_first = _widened(block.phi[0].weight, 1, f, 1, f)
        phi_second = _widened(block.phi[1].weight, parts, f, 1, f)
        places[lay.PHI_FIRST] = layout.add_matrix(phi_first.T)
        places[lay.PHI_FIRST_BIAS] = layout.add(_widened(block.phi[0].bias[None], 1, 1, 1, f))
        places[lay.PHI_FIRST_BACK] = layout.add_matrix(phi_first)
        places[lay.PHI_SECOND] = layout.add_matrix(phi_second.T)
        places[lay.PHI_SECOND_BIAS] = layout.add(_widened(block.phi[1].bias[None], 1, 1, parts, f))
        places[lay.PHI_SECOND_BACK] = layout.add_matrix(phi_second)
    filters = _widened(radial.coefficients @ block.filter.T, 1, len(radial.coefficients), parts, f)
    width = width_of(layout.dtype)
    places[lay.TABLE] = layout.add(filters.reshape(-1, parts, f // width, width).transpose(2, 0, 1, 3))


def _species_features(weights: Weights, channels: int) -> ndarray:
    """``φ`` of the first block for every species: (species, 2F)."""
    first, second = weights.blocks[0].phi
    hidden = weights.embedding @ first.weight.T + first.bias
    features = (hidden / (1 + np.exp(-hidden))) @ second.weight.T + second.bias
    return _widened(features, 1, len(features), 2, channels)


def _widened(matrix: ndarray, row_parts: int, rows: int, column_parts: int, columns: int) -> ndarray:
    """A matrix of parts, each padded with zeros to (rows, columns)."""
    old = matrix.reshape(row_parts, matrix.shape[0] // row_parts, column_parts, matrix.shape[1] // column_parts)
    new = np.zeros((row_parts, rows, column_parts, columns))
    new[:, : old.shape[1], :, : old.shape[3]] = old
    return new.reshape(row_parts * rows, column_parts * columns)
