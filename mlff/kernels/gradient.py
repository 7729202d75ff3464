"""A student in training as one compiled program on the CPU: both sweeps, and the gradient of a loss on their results.

`GradientProgram` takes tensors of weights and edges and knows nothing of the network's classes; `mlff.student.adjoint`
hands them over. Channels are padded to whole registers with weights of zero, which changes no result. The weights are
laid out anew at every call, because they change from step to step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from threading import RLock
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors as unflatten

from mlff.kernels import gradient_layout as lay
from mlff.kernels import numba_gradient_program as program
from mlff.kernels.calling import LARGEST_NUMBER_OF_THREADS, run_together
from mlff.kernels.inference import aligned
from mlff.kernels.products import ROWS, compiled, panel_width
from mlff.kernels.reference import EdgeList
from mlff.kernels.vectors import width_of

LARGEST_TASK = 64
"""Atoms of a task: enough rows to use a weight often, few enough for their intermediates to stay in the L2 cache."""

SMALLEST_SHARE = 8
"""Atoms per thread below which another thread costs more than it does."""


class Shape(NamedTuple):
    """Sizes of a student: channels, blocks, hidden width of the readout, radial features (R + 1), species."""

    channels: int
    layers: int
    hidden: int
    radial: int
    species: int


class Side(NamedTuple):
    """Outputs or inputs of a matrix: parts, numbers in each, and those with the padding."""

    parts: int
    length: int
    padded: int

    @property
    def total(self) -> int:
        return self.parts * self.length


class Parameter(NamedTuple):
    """How a weight is laid out.

    Attributes:
        row: of the list of places.
        outputs, inputs: of the matrix; a bias has one output.
        by: column of the list of places for its derivative.
        forward, back, rows: columns for its panels, those of the transposed matrix, or its rows.
        transposed: whether the derivative is that of the transposed matrix.
        shift: for a column of the matrix before it: how far behind its panels and its derivative this one begins.
    """

    row: int
    outputs: Side
    inputs: Side
    by: int
    forward: int = -1
    back: int = -1
    rows: int = -1
    transposed: bool = False
    shift: tuple[int, int] | None = None


def parameters(shape: Shape, panel: int) -> list[Parameter]:
    """Of every weight, in the order in which the program takes them.

    For every block both layers of φ (weight, bias), the filter (weight, bias), the mixing matrix, both layers of the
    gates; then both layers of the readout and the embedding.

    Args:
        shape: of the student.
        panel: width of a panel, to which channels are padded.
    """
    channels, found = _padded(shape.channels, panel), []

    def side(parts: int) -> Side:
        return Side(parts, shape.channels, channels)

    for n in range(shape.layers):
        parts, gates = 2 if n == 0 else 3, 2 if n == shape.layers - 1 else 3
        found += _perceptron(n, lay.PHI_PLACES, side(1), side(1), side(parts))
        found += _filter(n, side(parts), shape.radial, panel)
        found.append(Parameter(n, side(2), side(1), lay.BY_MIX, lay.MIX, lay.MIX_BACK))
        found += _perceptron(n, lay.GATE_PLACES, side(2), side(1), side(gates))
    hidden = Side(1, shape.hidden, _padded(shape.hidden, panel))
    read = _perceptron(shape.layers, lay.READ_PLACES, side(1), hidden, _ONE)
    # one output: its weights are a row, and no panels of it are needed
    read[2] = read[2]._replace(forward=-1, back=-1, rows=lay.READ_PLACES + lay.SECOND)
    species = Side(1, shape.species, shape.species)
    return [*found, *read, Parameter(shape.layers, species, side(1), lay.BY_EMBEDDING, rows=lay.EMBEDDING)]


_ONE = Side(1, 1, 1)


def _perceptron(row: int, place: int, ins: Side, hidden: Side, outs: Side) -> list[Parameter]:
    found = []
    for inputs, outputs, p, by in (
        (ins, hidden, place + lay.FIRST, place + lay.BY_FIRST),
        (hidden, outs, place + lay.SECOND, place + lay.BY_SECOND),
    ):
        # the bias follows its weight, and the panels of the transposed matrix follow the bias
        found.append(Parameter(row, outputs, inputs, by, forward=p, back=p + 2))
        found.append(Parameter(row, _ONE, outputs, by + 1, rows=p + 1))
    return found


def _filter(row: int, outputs: Side, radial: int, panel: int) -> list[Parameter]:
    """One matrix of both, the bias as its last column."""
    weight = Parameter(
        row, outputs, Side(1, radial - 1, radial), lay.BY_FILTER, forward=lay.FILTER, transposed=True
    )  # fmt: skip
    shift = radial - 1
    bias = weight._replace(inputs=Side(1, 1, radial), shift=(shift * panel, shift * outputs.parts * outputs.padded))
    return [weight, bias]


class GradientProgram:
    """Evaluates one batch after another, with memory that grows to the largest.

    Args:
        shape: of the student.
        dtype: float32 or float64, of everything.
        floor: added to |Vv|².
    """

    def __init__(self, shape: Shape, dtype: torch.dtype, floor: float) -> None:
        self.shape, self.dtype = shape, dtype
        self._real = torch.empty(0, dtype=dtype).numpy().dtype
        self._panel = panel_width(self._real)
        self._channels, self._hidden = (_padded(n, self._panel) for n in (shape.channels, shape.hidden))
        self._pitch = _padded(shape.radial, ROWS)
        self._floor = floor
        self._parameters = parameters(shape, self._panel)
        self._lay_out()
        self._program = _program(self._real)
        self._room: tuple[int, ...] = (0, 0, 0, 0, 0)
        self._table = np.zeros(2 * program.ARRAYS + lay.SETTINGS, dtype=np.int64)
        self._settings = self._table[-lay.SETTINGS :]
        self._table_address = self._table.ctypes.data
        self.lock = RLock()
        """For the time between sweeps and their way back, or of one call of either."""
        self.batch = 0
        """Number of the last batch; its sweeps can be walked back until the next one comes."""

    def sweeps(
        self, weights: Sequence[Tensor], species: Tensor, edges: EdgeList, radial: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Both sweeps of a batch.

        Args:
            weights: as `parameters` lists them.
            species: (n_atoms,) index of each atom's element.
            edges: unit vectors in the precision of the weights.
            radial: values and slopes (n_edges, R + 1) of the radial features.

        Returns:
            ``output`` (n_atoms,), and ``d̄`` and ``n̄`` of the reversed edges as (n_edges, 4).
        """
        self.batch += 1
        n_atoms, n_edges = len(species), len(edges.senders)
        threads = max(1, min(torch.get_num_threads(), LARGEST_NUMBER_OF_THREADS, n_atoms // SMALLEST_SHARE))
        shares = threads * max(1, -(-n_atoms // (threads * LARGEST_TASK)))
        per_task = max(ROWS, _padded(-(-n_atoms // shares), ROWS))
        pairs, firsts = _pairs(edges.reverse)
        degree = int((edges.row_start[1:] - edges.row_start[:-1]).max()) if n_edges else 0
        self._reserve(n_atoms, n_edges, threads * per_task, threads, max(degree, program.EDGES_AT_ONCE))
        at = self._settings
        at[lay.ATOMS], at[lay.PER_TASK], at[lay.THREADS] = n_atoms, per_task, threads
        self._span(lay.DIRECTION, n_edges, 3).copy_(edges.direction)
        at[lay.PAIRS] = len(firsts)
        for spot, pair_spot, features in zip(
            (lay.VALUES, lay.SLOPES), (lay.PAIR_VALUES, lay.PAIR_SLOPES), radial, strict=True
        ):
            self._span(spot, n_edges, self._pitch)[:, : self.shape.radial].copy_(features)
            of_pairs = self._span(pair_spot, len(firsts), self._pitch)
            torch.index_select(self._span(spot, n_edges, self._pitch), 0, firsts, out=of_pairs)
        given = [edges.row_start, edges.senders, edges.reverse, species, pairs]
        self._kept = [*[tensor.contiguous() for tensor in given], *[weight.contiguous() for weight in weights]]
        self._table[6:16] = [number for tensor in self._kept[:5] for number in (tensor.data_ptr(), tensor.numel())]
        self._list[:, lay.ADDRESS] = [weight.data_ptr() for weight in self._kept[5:]]
        self._run(program.steps(self.shape.layers)[0], threads)
        lanes = width_of(self._real)
        sums = self._span(lay.SUMS, n_edges, lanes).view(n_edges, lanes // 4, 4).sum(dim=1)
        return self._span(lay.OUTPUTS, n_atoms).clone(), sums

    def gradient(self, d_output: Tensor, d_sums: Tensor) -> Sequence[Tensor]:
        """Derivatives of a loss by all weights, from those by the results of the last batch's sweeps; once."""
        self.batch += 1
        self._span(lay.D_OUTPUTS, len(d_output)).copy_(d_output)
        self._span(lay.D_SUMS, len(d_sums), 4).copy_(d_sums)
        whole = torch.empty(self._result_size, dtype=self.dtype)
        self._settings[lay.ANSWER] = whole.data_ptr()
        self._run(program.steps(self.shape.layers)[1], int(self._settings[lay.THREADS]))
        return unflatten(whole, self._kept[5:])

    def _run(self, steps: range, threads: int) -> None:
        if threads > 1:
            use_threads_of_torch()
        for step in steps:
            self._settings[lay.STEP] = step
            if threads == 1:
                self._program.ctypes(self._table_address, 0)
            else:
                run_together(threads, self._program.address, self._table_address)

    def _span(self, spot: int, rows: int, columns: int = 0) -> Tensor:
        """Some rows of what begins at a spot, as a view."""
        first = int(self._settings[spot])
        span = self._work[first : first + rows * max(columns, 1)]
        return span.view(rows, columns) if columns else span

    def _lay_out(self) -> None:
        """Where weights and their derivatives lie, which depends on nothing but the student's shape."""
        places = np.zeros((self.shape.layers + 1, lay.PLACES), dtype=np.int64)
        self._list = np.full((len(self._parameters), lay.COLUMNS), -1, dtype=np.int64)
        size = gradient = result = 0
        for entry, p in zip(self._list, self._parameters, strict=True):
            entry[lay.OUT_PARTS : lay.IN_PADDED + 1] = *p.outputs, *p.inputs
            entry[lay.RESULT], entry[lay.TRANSPOSED] = result, p.transposed
            result += p.outputs.total * p.inputs.total
            if p.shift is not None:
                entry[lay.FORWARD] = places[p.row, p.forward] + p.shift[0]
                entry[lay.BY] = places[p.row, p.by] + p.shift[1]
                continue
            columns = p.outputs.parts * p.outputs.padded
            length = _padded(columns * p.inputs.parts * p.inputs.padded, self._panel)
            for column, place in ((lay.FORWARD, p.forward), (lay.BACK, p.back), (lay.ROWS, p.rows)):
                if place >= 0:
                    places[p.row, place] = entry[column] = size
                    size += length
            places[p.row, p.by] = entry[lay.BY] = gradient
            gradient += _padded(columns * self._pitch, self._panel) if p.transposed else length
        places[-1, lay.ZEROS] = size
        self._places, self._zeros = places, 6 * self._channels
        self._weights_size, self._gradient_size, self._result_size = size + self._zeros, gradient, result

    def _reserve(self, atoms: int, edges: int, scratch: int, threads: int, degree: int) -> None:
        """Memory for so many atoms, edges, atoms of tasks at once and threads; what there is, if it is enough."""
        needs = (atoms, edges, scratch, threads, degree)
        if all(need <= room for need, room in zip(needs, self._room, strict=True)):
            return
        self._room = tuple(
            room if need <= room else need + need // 10 for need, room in zip(needs, self._room, strict=True)
        )
        atoms, edges, scratch, threads, degree = self._room
        atoms, edges = _padded(atoms, ROWS), _padded(edges, ROWS)
        f, layers = self._channels, self.shape.layers
        # an edge and its reverse share their filters
        at, filters = self._settings, 3 * f * _padded(edges // 2, ROWS) * layers
        sizes = {
            lay.FLOOR: self._panel,
            lay.GRADIENTS: threads * self._gradient_size,
            lay.SCALARS: (layers + 1) * atoms * f,
            lay.BLOCKS: layers * lay.PER_BLOCK * atoms * f,
            lay.READ: 4 * atoms * f,
            lay.OUTPUTS: atoms,
            lay.D_OUTPUTS: atoms,
            lay.DIRECTION: 3 * edges,
            lay.VALUES: edges * self._pitch,
            lay.SLOPES: edges * self._pitch,
            lay.SUMS: edges * width_of(self._real),
            lay.D_SUMS: 4 * edges,
            lay.PAIR_VALUES: edges * self._pitch,
            lay.PAIR_SLOPES: edges * self._pitch,
            lay.FILTERS: filters,
            lay.FILTER_SLOPES: filters,
            lay.EDGE_SCRATCH: threads * 6 * f * degree,
            lay.SCRATCH: scratch * lay.SCRATCH_ROWS * f,
        }
        size = self._weights_size
        for spot, length in sizes.items():
            at[spot] = size
            size += _padded(length, self._panel)
        at[: lay.ATOMS] = f, layers, self._hidden, self.shape.radial, self._pitch
        at[lay.CAPACITY], at[lay.EDGES] = atoms, _padded(edges // 2, ROWS)
        at[lay.GRADIENT], at[lay.EDGE_ROOM] = self._gradient_size, degree
        # memory made in inference mode could not be written to outside it
        with torch.inference_mode(False):
            self._work = torch.from_numpy(aligned(size, self._real))
        self._work[at[lay.FLOOR]] = self._floor
        at[lay.WORK], at[lay.ITEM] = self._work.data_ptr(), self._real.itemsize
        products = compiled(numba.from_dtype(self._real))
        at[lay.MULTIPLY], at[lay.ADD_TRANSPOSED] = products.multiply.address, products.add_transposed.address
        arrays = (self._work.numpy(), self._places, self._list)
        self._table[:6] = [number for array in arrays for number in (array.ctypes.data, array.size)]


@cache
def _program(dtype: np.dtype) -> Any:
    return program.make_program(numba.from_dtype(dtype))


def _pairs(reverse: Tensor) -> tuple[Tensor, Tensor]:
    """Of every edge the pair that it and its reverse make, and of every pair the first edge."""
    edges = torch.arange(len(reverse))
    firsts = (edges < reverse).nonzero().squeeze(-1)
    pairs = torch.empty_like(reverse)
    pairs[firsts] = edges[: len(firsts)]
    pairs[reverse[firsts]] = edges[: len(firsts)]
    return pairs, firsts


def use_threads_of_torch() -> None:
    """Let the kernels run with as many threads as torch."""
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, LARGEST_NUMBER_OF_THREADS))
    # at its first start numba gives the OpenMP library, which torch may share, a number of its own
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
