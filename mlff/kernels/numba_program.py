"""Energies, forces and stress of one structure as one compiled program, run by all threads at once.

The program is a list of steps: one per block of the network forward, one per block back, and the sums of the forces.
A step falls into tasks, each for some consecutive atoms: their messages, then the products of their node block, so that
what one task writes is still in the caches when it is read again. Threads take tasks until a step has none left and
wait for those that others still work on; since only tasks that somebody has taken are waited for, any number of
threads, even one after the other, gets to the end. Results do not depend on how tasks were shared out.

``work`` holds, each for all atoms: ``s``; ``s̄`` and ``v̄`` twice, because neighbours read one while the other is
written; and per block what the reverse sweep reads again (`_V` … `_GATE_SLOPE`). Then every thread's scratch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic
from numpy import ndarray

from mlff.kernels.numba_atoms import (
    activate,
    apply_gates,
    gate_bars,
    gate_input,
    mixed_bars,
    multiply_by,
    read_out,
)
from mlff.kernels.numba_edges import (
    edge_slopes,
    first_messages,
    first_messages_reverse,
    measure_edges,
    messages,
    messages_reverse,
    row_forces,
    row_virials,
)
from mlff.kernels.products import multiply
from mlff.kernels.vectors import address, lanes_of, straight

PER_ATOM = 9
"""Rows of F numbers per atom in ``work`` that do not belong to a block."""
PER_BLOCK = 17
"""And those that do."""
SCRATCH = 20
"""And per atom of a task in a thread's scratch."""

# where the rows of a block begin, in rows per atom
_V, _PHI, _PHI_SLOPE, _MIXED, _GATES, _GATE_SLOPE = 0, 3, 6, 7, 13, 16

# columns of `Network.places`, where in the weights something begins
MIX, GATE_FIRST, GATE_FIRST_BIAS, GATE_SECOND, GATE_SECOND_BIAS = 0, 1, 2, 3, 4
PHI_FIRST, PHI_FIRST_BIAS, PHI_SECOND, PHI_SECOND_BIAS = 5, 6, 7, 8
MIX_BACK, GATE_FIRST_BACK, GATE_SECOND_BACK, PHI_FIRST_BACK, PHI_SECOND_BACK = 9, 10, 11, 12, 13
TABLE = 14
PLACES = 15
"""Columns; the last row, after those of the blocks, is that of the readout: first layer, its bias, transposed first
layer, second layer, its bias, zeros, species' features, species' embedding."""
READ_FIRST, READ_FIRST_BIAS, READ_BACK, READ_SECOND, READ_BIAS, ZEROS, SPECIES_PHI, SPECIES = 0, 1, 2, 3, 4, 5, 6, 7


class Network(NamedTuple):
    """A student's weights as the program reads them.

    Attributes:
        weights: (…) every matrix in panels, biases, tables, in the precision of the network.
        places: (layers + 1, PLACES) where they begin.
        sizes: channels F, layers, width of the readout, coefficients of a table.
        table: start and cutoff in Å, intervals per Å, intervals.
        levels: energy scale in eV, floor of |Vv|², and the distance in Å below which an edge is reported.
    """

    weights: ndarray
    places: ndarray
    sizes: ndarray
    table: ndarray
    levels: ndarray


class Edges(NamedTuple):
    """The wide edge list: ``start`` (n_atoms + 1), ``senders`` and ``reverse`` (n_edges), ``offsets`` (3 n_edges) Å or
    nothing, ``species`` (n_atoms) index of each atom's element."""

    start: ndarray
    senders: ndarray
    reverse: ndarray
    offsets: ndarray
    species: ndarray


class Workspace(NamedTuple):
    """Memory of the program: see this module and `mlff.kernels.numba_edges`; ``filled`` records of every
    row, ``counters`` (2 steps + 2)."""

    work: ndarray
    records: ndarray
    sums: ndarray
    slopes: ndarray
    places: ndarray
    filled: ndarray
    counters: ndarray


@intrinsic
def _take(typing_context, counters, index):
    """Value of a counter that all threads share, which goes up by one."""

    def generate(context, builder, signature, arguments):
        pointer = address(context, builder, counters, *arguments)
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters, types.intp), generate


@intrinsic
def _look(typing_context, counters, index):
    """Value of a counter that all threads share."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(address(context, builder, counters, *arguments), "seq_cst", 8)

    return types.int64(counters, types.intp), generate


_ONE_ROW = np.int64(0)
"""Step between the rows of what a product starts from, where that is one row for all: a bias, or zeros. As a number of
numpy, because numba compiles a function anew for a Python zero."""

_PATIENCE = 2000
"""Looks at a counter, some microseconds, before a thread that waits lets others have its core."""

_yield_core = types.ExternalFunction("sched_yield", types.int32())


@straight
def _update(rows, layer, net, work, s, vectors, new_vectors, mixed, gates, slope, entry, hidden):
    """An update block for some rows."""
    w, places, f = net.weights, net.places, net.sizes[0]
    zeros = places[-1, ZEROS]
    parts = 3 if layer + 1 < net.sizes[1] else 2
    multiply(3 * rows, f, 2 * f, work, vectors, f, w, places[layer, MIX], w, zeros, _ONE_ROW, work, mixed, 2 * f)
    gate_input(rows, f, net.levels[1], work, s, mixed, entry)
    bias = places[layer, GATE_FIRST_BIAS]
    multiply(rows, 2 * f, f, work, entry, 2 * f, w, places[layer, GATE_FIRST], w, bias, _ONE_ROW, work, hidden, f)
    activate(rows * f, work, hidden, slope)
    bias = places[layer, GATE_SECOND_BIAS]
    multiply(
        rows, f, parts * f, work, hidden, f, w, places[layer, GATE_SECOND], w, bias, _ONE_ROW, work, gates, parts * f
    )  # fmt: skip
    apply_gates(rows, f, parts, work, s, vectors, mixed, gates, new_vectors)


@straight
def _update_reverse(
    rows, layer, net, work, s_bar, v_bar, mixed, gates, slope, entry, bars, hidden, entry_bar, wide, s_new, v_new
):
    """The reverse sweep of an update block for some rows, from ``s_bar`` and ``v_bar`` to ``s_new`` and ``v_new``."""
    w, places, f = net.weights, net.places, net.sizes[0]
    zeros = places[-1, ZEROS]
    parts = 3 if layer + 1 < net.sizes[1] else 2
    gate_bars(rows, f, parts, work, s_bar, v_bar, mixed, bars)
    back = places[layer, GATE_SECOND_BACK]
    multiply(rows, parts * f, f, work, bars, parts * f, w, back, w, zeros, _ONE_ROW, work, hidden, f)
    multiply_by(rows * f, work, hidden, slope)
    back = places[layer, GATE_FIRST_BACK]
    multiply(rows, f, 2 * f, work, hidden, f, w, back, w, zeros, _ONE_ROW, work, entry_bar, 2 * f)
    gate_input(rows, f, net.levels[1], work, s_bar, mixed, entry)
    mixed_bars(rows, f, parts, work, s_bar, v_bar, mixed, gates, entry, entry_bar, wide, s_new)
    back = places[layer, MIX_BACK]
    if parts == 3:
        multiply(3 * rows, 2 * f, f, work, wide, 2 * f, w, back, work, v_bar, f, work, v_new, f)
    else:
        multiply(3 * rows, 2 * f, f, work, wide, 2 * f, w, back, w, zeros, _ONE_ROW, work, v_new, f)


@straight
def _features(rows, layer, net, work, s, hidden, slope, phi):
    """``φ`` of some rows for a message block."""
    w, places, f = net.weights, net.places, net.sizes[0]
    bias = places[layer, PHI_FIRST_BIAS]
    multiply(rows, f, f, work, s, f, w, places[layer, PHI_FIRST], w, bias, _ONE_ROW, work, hidden, f)
    activate(rows * f, work, hidden, slope)
    bias = places[layer, PHI_SECOND_BIAS]
    multiply(rows, f, 3 * f, work, hidden, f, w, places[layer, PHI_SECOND], w, bias, _ONE_ROW, work, phi, 3 * f)


@straight
def _features_reverse(rows, layer, net, work, phi_bar, slope, hidden, s_bar, s_new):
    """``s̄`` of some rows below a message block."""
    w, places, f = net.weights, net.places, net.sizes[0]
    zeros = places[-1, ZEROS]
    multiply(
        rows, 3 * f, f, work, phi_bar, 3 * f, w, places[layer, PHI_SECOND_BACK], w, zeros, _ONE_ROW, work, hidden, f
    )  # fmt: skip
    multiply_by(rows * f, work, hidden, slope)
    multiply(rows, f, f, work, hidden, f, w, places[layer, PHI_FIRST_BACK], work, s_bar, f, work, s_new, f)


@straight
def _readout(rows, first, net, work, s, hidden, slope, s_bar, outputs):
    """Outputs of some rows and ``s̄``."""
    w, read, f, h = net.weights, net.places[-1], net.sizes[0], net.sizes[2]
    multiply(rows, f, h, work, s, f, w, read[READ_FIRST], w, read[READ_FIRST_BIAS], _ONE_ROW, work, hidden, h)
    activate(rows * h, work, hidden, slope)
    read_out(rows, h, w, read[READ_SECOND], w[read[READ_BIAS]], work, hidden, slope, outputs, first)
    multiply(rows, h, f, work, hidden, h, w, read[READ_BACK], w, read[ZEROS], _ONE_ROW, work, s_bar, f)


@straight
def _forward(layer, first, last, net, edges, space, capacity, scratch, outputs):
    """Message and update block of a layer; then the features of the next, or the readout and the way back through the
    update block."""
    f, layers, knots = net.sizes[0], net.sizes[1], net.sizes[3]
    work, start, count = space.work, edges.start, space.filled
    atom, knot = space.places[0], space.places[1]
    rows, room = last - first, scratch[1]
    here = capacity * f
    s, block = first * f, here * (PER_ATOM + PER_BLOCK * layer)
    vectors = scratch[0]
    entry, hidden, bars = vectors + 3 * room, vectors + 5 * room, vectors + 6 * room
    tables = net.weights[net.places[layer, TABLE] :]
    if layer == 0:
        read = net.places[-1]
        first_messages(
            first, last, f, start, count, atom, knot, space.records, tables, knots, edges.species,
            net.weights[read[SPECIES_PHI] :], net.weights[read[SPECIES] :], work, 0, vectors,
        )  # fmt: skip
    else:
        messages(
            first, last, f, start, count, atom, knot, space.records, tables, knots, work,
            block + _PHI * here, block + _V * here, 0, vectors,
        )  # fmt: skip
    mixed, gates = block + _MIXED * here + 6 * first * f, block + _GATES * here + 3 * first * f
    slope = block + _GATE_SLOPE * here + first * f
    following = block + PER_BLOCK * here
    if layer + 1 < layers:
        _update(
            rows,
            layer,
            net,
            work,
            s,
            vectors,
            following + _V * here + 3 * first * f,
            mixed,
            gates,
            slope,
            entry,
            hidden,
        )
        phi_slope = following + _PHI_SLOPE * here + first * f
        _features(rows, layer + 1, net, work, s, hidden, phi_slope, following + _PHI * here + 3 * first * f)
        return
    _update(rows, layer, net, work, s, vectors, vectors, mixed, gates, slope, entry, hidden)
    _readout(rows, first, net, work, s, hidden, bars, entry, outputs)
    side = layers % 2
    _update_reverse(
        rows, layer, net, work, entry, vectors, mixed, gates, slope, bars + 3 * room, bars, hidden, bars + 5 * room,
        bars + 7 * room, here * (1 + side) + first * f, here * (3 + 3 * side) + 3 * first * f,
    )  # fmt: skip


@straight
def _back(layer, first, last, net, edges, space, capacity, scratch):
    """The way back through a message block and the update block below it; the slopes of the edges after the last."""
    f, layers, knots = net.sizes[0], net.sizes[1], net.sizes[3]
    work, start, count = space.work, edges.start, space.filled
    atom, knot = space.places[0], space.places[1]
    rows, room = last - first, scratch[1]
    here = capacity * f
    block, side = here * (PER_ATOM + PER_BLOCK * layer), (layer + 1) % 2
    s_bar, v_bar = here * (1 + side), here * (3 + 3 * side)
    tables, more = net.weights[net.places[layer, TABLE] :], layer + 1 < layers
    if layer == 0:
        first_messages_reverse(
            first, last, f, start, count, atom, knot, space.records, tables, knots, edges.species,
            net.weights[net.places[-1, SPECIES_PHI] :], work, s_bar, v_bar, space.sums, more,
        )  # fmt: skip
        scale, width = net.levels[0], lanes_of(work)
        edge_slopes(
            first, last, start, count, space.places[2], space.records, space.sums, width, scale, space.slopes
        )  # fmt: skip
        return
    phi_bar, through = scratch[0], scratch[0] + 3 * room
    hidden, below, rest = through + 3 * room, through + 4 * room, through + 5 * room
    messages_reverse(
        first, last, f, start, count, atom, knot, space.records, tables, knots, work, block + _PHI * here,
        block + _V * here, s_bar, v_bar, phi_bar, through, space.sums, more,
    )  # fmt: skip
    slope = block + _PHI_SLOPE * here + first * f
    _features_reverse(rows, layer, net, work, phi_bar, slope, hidden, s_bar + first * f, below)
    block -= PER_BLOCK * here
    mixed, gates = block + _MIXED * here + 6 * first * f, block + _GATES * here + 3 * first * f
    slope = block + _GATE_SLOPE * here + first * f
    # φ̄ is used up, so its room is free for the derivatives of the gates
    _update_reverse(
        rows, layer - 1, net, work, below, through, mixed, gates, slope, rest, phi_bar, hidden, rest + 2 * room,
        rest + 4 * room, here * (1 + layer % 2) + first * f, here * (3 + 3 * (layer % 2)) + 3 * first * f,
    )  # fmt: skip


@intrinsic
def _pointer(typing_context, number):
    """An address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic
def _call(typing_context, program, argument):
    """Call the function of one integer at an address."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


ARRAYS = 20
"""Arrays of a program, the first entries of its table: address and size of each, in the order in which they are read
below; after them `SETTINGS` integers."""
SETTINGS = 4


def make_program(real: numba.types.Float) -> Any:
    """The program for a precision, as a C function of the address of its table, to be run by every thread."""

    @numba.cfunc(types.void(types.int64), error_model="numpy", cache=True)
    def program(address):
        table = numba.carray(_pointer(address), (2 * ARRAYS + SETTINGS,), types.int64)
        weights = numba.carray(_pointer(table[0]), (table[1],), real)
        sizes = numba.carray(_pointer(table[2]), (table[3],), types.int64)
        places = numba.carray(_pointer(table[4]), (table[5] // PLACES, PLACES), types.int64)
        radial = numba.carray(_pointer(table[6]), (table[7],), types.float64)
        levels = numba.carray(_pointer(table[8]), (table[9],), types.float64)
        start = numba.carray(_pointer(table[10]), (table[11],), types.int64)
        senders = numba.carray(_pointer(table[12]), (table[13],), types.int64)
        reverse = numba.carray(_pointer(table[14]), (table[15],), types.int64)
        offsets = numba.carray(_pointer(table[16]), (table[17],), types.float64)
        species = numba.carray(_pointer(table[18]), (table[19],), types.int64)
        work = numba.carray(_pointer(table[20]), (table[21],), real)
        records = numba.carray(_pointer(table[22]), (table[23],), real)
        sums = numba.carray(_pointer(table[24]), (table[25],), real)
        slopes = numba.carray(_pointer(table[26]), (table[27],), types.float64)
        found = numba.carray(_pointer(table[28]), (3, table[29] // 3), types.int64)
        count = numba.carray(_pointer(table[30]), (table[31],), types.int64)
        counters = numba.carray(_pointer(table[32]), (table[33],), types.int64)
        positions = numba.carray(_pointer(table[34]), (table[35],), types.float64)
        outputs = numba.carray(_pointer(table[36]), (table[37],), types.float64)
        answers = numba.carray(_pointer(table[38]), (table[39],), types.float64)
        per_task, n_atoms = table[2 * ARRAYS], table[2 * ARRAYS + 1]
        capacity, stress = table[2 * ARRAYS + 2], table[2 * ARRAYS + 3]
        net = Network(weights, places, sizes, radial, levels)
        edges = Edges(start, senders, reverse, offsets, species)
        space = Workspace(work, records, sums, slopes, found, count, counters)
        f, layers = sizes[0], sizes[1]
        n_tasks = (n_atoms + per_task - 1) // per_task
        room = per_task * f
        thread = _take(counters, 4 * layers + 3)
        scratch = (capacity * f * (PER_ATOM + PER_BLOCK * layers) + thread * SCRATCH * room, room)
        for step in range(2 * layers + 1):
            while True:
                task = _take(counters, 2 * step)
                if task >= n_tasks:
                    break
                first, last = task * per_task, min((task + 1) * per_task, n_atoms)
                if step == 0:
                    measure_edges(
                        first, last, positions, start, senders, offsets, radial, records, found[0], found[1], found[2],
                        count, slopes, counters[4 * layers + 2 :], levels[2],
                    )  # fmt: skip
                if step < layers:
                    _forward(step, first, last, net, edges, space, capacity, scratch, outputs)
                elif step < 2 * layers:
                    _back(2 * layers - 1 - step, first, last, net, edges, space, capacity, scratch)
                else:
                    row_forces(first, last, start, reverse, slopes, answers)
                    if stress:
                        row_virials(
                            first, last, positions, start, senders, offsets, slopes, answers[3 * capacity :]
                        )  # fmt: skip
                _take(counters, 2 * step + 1)
            looks = 0
            while _look(counters, 2 * step + 1) < n_tasks:
                looks += 1
                if looks > _PATIENCE:
                    _yield_core()

    return program


@numba.njit(parallel=True, error_model="numpy", nogil=True, cache=True)
def run_together(threads, program, table):
    """Run the program at an address with some threads; ``table`` is the address of its table."""
    for _ in numba.prange(threads):
        _call(program, table)
