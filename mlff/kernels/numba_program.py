"""Energies, forces and stress of one structure as one compiled program, run by all threads at once.

The program is a list of steps: one per block of the network forward, one per block back, and the sums of the forces.
A step falls into tasks, each for some consecutive atoms: their messages, then the products of their node block, so that
what one task writes is still in the caches when it is read again. Threads take tasks until a step has none left and
wait for those that others still work on; since only tasks that somebody has taken are waited for, any number of
threads, even one after the other, gets to the end. Results do not depend on how tasks were shared out.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from mlff.kernels import inference_layout as lay
from mlff.kernels.calling import SIGNATURE, pointer
from mlff.kernels.inference_layout import Edges, Network, Workspace
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
from mlff.kernels.vectors import address, lanes_of, sources, straight


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
    zeros = places[-1, lay.ZEROS]
    parts = 3 if layer + 1 < net.sizes[1] else 2
    multiply(3 * rows, f, 2 * f, work, vectors, f, w, places[layer, lay.MIX], w, zeros, _ONE_ROW, work, mixed, 2 * f)
    gate_input(rows, f, net.levels[1], work, s, mixed, entry)
    bias = places[layer, lay.GATE_FIRST_BIAS]
    multiply(rows, 2 * f, f, work, entry, 2 * f, w, places[layer, lay.GATE_FIRST], w, bias, _ONE_ROW, work, hidden, f)
    activate(rows * f, work, hidden, slope)
    bias = places[layer, lay.GATE_SECOND_BIAS]
    multiply(
        rows, f, parts * f, work, hidden, f, w, places[layer, lay.GATE_SECOND], w, bias, _ONE_ROW, work, gates,
        parts * f,
    )  # fmt: skip
    apply_gates(rows, f, parts, work, s, vectors, mixed, gates, new_vectors)


@straight
def _update_reverse(
    rows, layer, net, work, s_bar, v_bar, mixed, gates, slope, entry, bars, hidden, entry_bar, wide, s_new, v_new
):
    """The reverse sweep of an update block for some rows, from ``s_bar`` and ``v_bar`` to ``s_new`` and ``v_new``."""
    w, places, f = net.weights, net.places, net.sizes[0]
    zeros = places[-1, lay.ZEROS]
    parts = 3 if layer + 1 < net.sizes[1] else 2
    gate_bars(rows, f, parts, work, s_bar, v_bar, mixed, bars)
    back = places[layer, lay.GATE_SECOND_BACK]
    multiply(rows, parts * f, f, work, bars, parts * f, w, back, w, zeros, _ONE_ROW, work, hidden, f)
    multiply_by(rows * f, work, hidden, slope)
    back = places[layer, lay.GATE_FIRST_BACK]
    multiply(rows, f, 2 * f, work, hidden, f, w, back, w, zeros, _ONE_ROW, work, entry_bar, 2 * f)
    gate_input(rows, f, net.levels[1], work, s_bar, mixed, entry)
    mixed_bars(rows, f, parts, work, s_bar, v_bar, mixed, gates, entry, entry_bar, wide, s_new)
    back = places[layer, lay.MIX_BACK]
    if parts == 3:
        multiply(3 * rows, 2 * f, f, work, wide, 2 * f, w, back, work, v_bar, f, work, v_new, f)
    else:
        multiply(3 * rows, 2 * f, f, work, wide, 2 * f, w, back, w, zeros, _ONE_ROW, work, v_new, f)


@straight
def _features(rows, layer, net, work, s, hidden, slope, phi):
    """``φ`` of some rows for a message block."""
    w, places, f = net.weights, net.places, net.sizes[0]
    bias = places[layer, lay.PHI_FIRST_BIAS]
    multiply(rows, f, f, work, s, f, w, places[layer, lay.PHI_FIRST], w, bias, _ONE_ROW, work, hidden, f)
    activate(rows * f, work, hidden, slope)
    bias = places[layer, lay.PHI_SECOND_BIAS]
    multiply(rows, f, 3 * f, work, hidden, f, w, places[layer, lay.PHI_SECOND], w, bias, _ONE_ROW, work, phi, 3 * f)


@straight
def _features_reverse(rows, layer, net, work, phi_bar, slope, hidden, s_bar, s_new):
    """``s̄`` of some rows below a message block."""
    w, places, f = net.weights, net.places, net.sizes[0]
    zeros = places[-1, lay.ZEROS]
    multiply(
        rows, 3 * f, f, work, phi_bar, 3 * f, w, places[layer, lay.PHI_SECOND_BACK], w, zeros, _ONE_ROW, work, hidden,
        f,
    )  # fmt: skip
    multiply_by(rows * f, work, hidden, slope)
    multiply(rows, f, f, work, hidden, f, w, places[layer, lay.PHI_FIRST_BACK], work, s_bar, f, work, s_new, f)


@straight
def _readout(rows, first, net, work, s, hidden, slope, s_bar, outputs):
    """Outputs of some rows and ``s̄``."""
    w, read, f, h = net.weights, net.places[-1], net.sizes[0], net.sizes[2]
    multiply(rows, f, h, work, s, f, w, read[lay.READ_FIRST], w, read[lay.READ_FIRST_BIAS], _ONE_ROW, work, hidden, h)
    activate(rows * h, work, hidden, slope)
    read_out(rows, h, w, read[lay.READ_SECOND], w[read[lay.READ_BIAS]], work, hidden, slope, outputs, first)
    multiply(rows, h, f, work, hidden, h, w, read[lay.READ_BACK], w, read[lay.ZEROS], _ONE_ROW, work, s_bar, f)


@straight
def _forward(layer, first, last, net, edges, space, capacity, scratch, outputs):
    """Message and update block of a layer; then the features of the next, or the readout and the way back through the
    update block."""
    f, layers, knots = net.sizes[0], net.sizes[1], net.sizes[3]
    work, start, count = space.work, edges.start, space.filled
    atom, knot = space.places[0], space.places[1]
    rows, room = last - first, scratch[1]
    here = capacity * f
    s, block = first * f, here * (lay.PER_ATOM + lay.PER_BLOCK * layer)
    vectors = scratch[0]
    entry, hidden, bars = vectors + 3 * room, vectors + 5 * room, vectors + 6 * room
    tables = net.weights[net.places[layer, lay.TABLE] :]
    if layer == 0:
        read = net.places[-1]
        first_messages(
            first, last, f, start, count, atom, knot, space.records, tables, knots, edges.species,
            net.weights[read[lay.SPECIES_PHI] :], net.weights[read[lay.SPECIES] :], work, 0, vectors,
        )  # fmt: skip
    else:
        messages(
            first, last, f, start, count, atom, knot, space.records, tables, knots, work, block + lay.AT_PHI * here,
            block + lay.AT_V * here, 0, vectors,
        )  # fmt: skip
    mixed, gates = block + lay.AT_MIXED * here + 6 * first * f, block + lay.AT_GATES * here + 3 * first * f
    slope = block + lay.AT_GATE_SLOPE * here + first * f
    following = block + lay.PER_BLOCK * here
    if layer + 1 < layers:
        v_new = following + lay.AT_V * here + 3 * first * f
        _update(rows, layer, net, work, s, vectors, v_new, mixed, gates, slope, entry, hidden)
        phi_slope = following + lay.AT_PHI_SLOPE * here + first * f
        _features(rows, layer + 1, net, work, s, hidden, phi_slope, following + lay.AT_PHI * here + 3 * first * f)
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
    block, side = here * (lay.PER_ATOM + lay.PER_BLOCK * layer), (layer + 1) % 2
    s_bar, v_bar = here * (1 + side), here * (3 + 3 * side)
    tables, more = net.weights[net.places[layer, lay.TABLE] :], layer + 1 < layers
    if layer == 0:
        first_messages_reverse(
            first, last, f, start, count, atom, knot, space.records, tables, knots, edges.species,
            net.weights[net.places[-1, lay.SPECIES_PHI] :], work, s_bar, v_bar, space.sums, more,
        )  # fmt: skip
        scale, width = net.levels[0], lanes_of(work)
        edge_slopes(
            first, last, start, count, space.places[2], space.records, space.sums, width, scale, space.slopes,
        )  # fmt: skip
        return
    phi_bar, through = scratch[0], scratch[0] + 3 * room
    hidden, below, rest = through + 3 * room, through + 4 * room, through + 5 * room
    messages_reverse(
        first, last, f, start, count, atom, knot, space.records, tables, knots, work, block + lay.AT_PHI * here,
        block + lay.AT_V * here, s_bar, v_bar, phi_bar, through, space.sums, more,
    )  # fmt: skip
    slope = block + lay.AT_PHI_SLOPE * here + first * f
    _features_reverse(rows, layer, net, work, phi_bar, slope, hidden, s_bar + first * f, below)
    block -= lay.PER_BLOCK * here
    mixed, gates = block + lay.AT_MIXED * here + 6 * first * f, block + lay.AT_GATES * here + 3 * first * f
    slope = block + lay.AT_GATE_SLOPE * here + first * f
    # φ̄ is used up, so its room is free for the derivatives of the gates
    _update_reverse(
        rows, layer - 1, net, work, below, through, mixed, gates, slope, rest, phi_bar, hidden, rest + 2 * room,
        rest + 4 * room, here * (1 + layer % 2) + first * f, here * (3 + 3 * (layer % 2)) + 3 * first * f,
    )  # fmt: skip


def make_program(real: numba.types.Float) -> Any:
    """The program for a precision, as a C function to be run by every thread."""

    written = sources()

    @numba.cfunc(SIGNATURE, error_model="numpy", cache=True)
    def program(address, thread):
        # numba keeps a program under the values that it closes over, and this one holds code of all files of the folder
        written  # noqa: B018
        table = numba.carray(pointer(address), (2 * lay.ARRAYS + lay.SETTINGS,), types.int64)
        weights = numba.carray(pointer(table[0]), (table[1],), real)
        sizes = numba.carray(pointer(table[2]), (table[3],), types.int64)
        places = numba.carray(pointer(table[4]), (table[5] // lay.PLACES, lay.PLACES), types.int64)
        radial = numba.carray(pointer(table[6]), (table[7],), types.float64)
        levels = numba.carray(pointer(table[8]), (table[9],), types.float64)
        start = numba.carray(pointer(table[10]), (table[11],), types.int64)
        senders = numba.carray(pointer(table[12]), (table[13],), types.int64)
        reverse = numba.carray(pointer(table[14]), (table[15],), types.int64)
        offsets = numba.carray(pointer(table[16]), (table[17],), types.float64)
        species = numba.carray(pointer(table[18]), (table[19],), types.int64)
        work = numba.carray(pointer(table[20]), (table[21],), real)
        records = numba.carray(pointer(table[22]), (table[23],), real)
        sums = numba.carray(pointer(table[24]), (table[25],), real)
        slopes = numba.carray(pointer(table[26]), (table[27],), types.float64)
        found = numba.carray(pointer(table[28]), (3, table[29] // 3), types.int64)
        count = numba.carray(pointer(table[30]), (table[31],), types.int64)
        counters = numba.carray(pointer(table[32]), (table[33],), types.int64)
        positions = numba.carray(pointer(table[34]), (table[35],), types.float64)
        outputs = numba.carray(pointer(table[36]), (table[37],), types.float64)
        answers = numba.carray(pointer(table[38]), (table[39],), types.float64)
        per_task, n_atoms = table[2 * lay.ARRAYS], table[2 * lay.ARRAYS + 1]
        capacity, stress = table[2 * lay.ARRAYS + 2], table[2 * lay.ARRAYS + 3]
        net = Network(weights, places, sizes, radial, levels)
        edges = Edges(start, senders, reverse, offsets, species)
        space = Workspace(work, records, sums, slopes, found, count, counters)
        f, layers = sizes[0], sizes[1]
        n_tasks = (n_atoms + per_task - 1) // per_task
        room = per_task * f
        scratch = (capacity * f * (lay.PER_ATOM + lay.PER_BLOCK * layers) + thread * lay.SCRATCH * room, room)
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
                            first, last, positions, start, senders, offsets, slopes, answers[3 * capacity :],
                        )  # fmt: skip
                _take(counters, 2 * step + 1)
            looks = 0
            while _look(counters, 2 * step + 1) < n_tasks:
                looks += 1
                if looks > _PATIENCE:
                    _yield_core()

    return program
