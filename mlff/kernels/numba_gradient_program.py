"""Energies, slopes and the gradient of a loss on them as one compiled program, step by step, by all threads at once.

A step is what can be done without a look at what other threads do in it; between steps everybody waits. It falls into
tasks, each for some consecutive atoms, which are shared out before, so that sums over atoms are the same in every run
with that many threads. See `mlff.kernels.numba_gradient_blocks` for what lies where.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from mlff.kernels import gradient_layout as lay
from mlff.kernels import numba_gradient_blocks as blocks
from mlff.kernels import numba_gradient_edges as edges
from mlff.kernels.calling import SIGNATURE, pointer
from mlff.kernels.numba_gradient_atoms import add_column_sums, read_out, read_out_backward
from mlff.kernels.numba_gradient_blocks import add_transposed, multiply
from mlff.kernels.numba_gradient_weights import collect, pack
from mlff.kernels.products import panel_width
from mlff.kernels.vectors import sources, straight

ARRAYS = 8
EDGES_AT_ONCE = 48
"""Or pairs, of a product with filters: few enough for their numbers to stay in the L2 cache."""

_ONE_ROW = np.int64(0)


@straight
def _filters(first, last, at, net, work):
    """Filters of some pairs of edges, and their slopes, for all blocks."""
    f, zeros, pitch = at[lay.CHANNELS], net[-1, lay.ZEROS], at[lay.RADIAL_PITCH]
    for e in range(first, last, EDGES_AT_ONCE):
        rows = min(EDGES_AT_ONCE, last - e)
        for layer in range(at[lay.LAYERS]):
            columns, place = 2 * f if layer == 0 else 3 * f, 3 * f * (layer * at[lay.EDGES] + e)
            for features, filters in (
                (at[lay.PAIR_VALUES], at[lay.FILTERS]),
                (at[lay.PAIR_SLOPES], at[lay.FILTER_SLOPES]),
            ):
                multiply(
                    at,
                    rows,
                    at[lay.RADIAL],
                    columns,
                    features + e * pitch,
                    pitch,
                    net[layer, lay.FILTER],
                    zeros,
                    _ONE_ROW,
                    filters + place,
                    3 * f,
                )


@straight
def _begin(first, last, at, net, species, work):
    """Scalars of some rows, and the features of the first block."""
    f = at[lay.CHANNELS]
    s = at[lay.SCALARS] + first * f
    for i in range(last - first):
        for c in range(f):
            work[s + i * f + c] = work[net[-1, lay.EMBEDDING] + species[first + i] * f + c]
    _features(first, last, _ONE_ROW, at, net, work)


@straight
def _features(first, last, layer, at, net, work):
    """``φ`` of some rows for a block."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    block, own, outs = at[lay.BLOCKS] + layer * lay.PER_BLOCK * here, first * f, 2 * f if layer == 0 else 3 * f
    blocks.perceptron(
        last - first, f, outs, at, net, layer, lay.PHI_PLACES, work, at[lay.SCALARS] + layer * here + own,
        block + lay.PHI_VALUE * here + own, block + lay.PHI * here + 3 * own, 3 * f,
    )  # fmt: skip


@straight
def _forward(layer, first, last, at, net, start, senders, pairs, work):
    """A block for some rows, and what follows without a look at others: the next features, or the readout and the way
    back through the last update."""
    f, here, rows, own = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS], last - first, first * at[lay.CHANNELS]
    block, layers = at[lay.BLOCKS] + layer * lay.PER_BLOCK * here, at[lay.LAYERS]
    s, above = at[lay.SCALARS] + layer * here, block + lay.PER_BLOCK * here
    edges.messages(
        first, last, f, lay.TWO if layer == 0 else lay.THREE, start, senders, pairs, work, at[lay.DIRECTION],
        at[lay.FILTERS] + 3 * f * layer * at[lay.EDGES], block + lay.PHI * here, block + lay.V * here, s, s + here,
        block + lay.V_MID * here,
    )  # fmt: skip
    parts = lay.THREE if layer + 1 < layers else lay.TWO
    floor = work[at[lay.FLOOR]]
    blocks.update(
        first, rows, parts, floor, at, net, layer, work, block, s + here + own, above + lay.V * here + 3 * own,
    )  # fmt: skip
    if layer + 1 < layers:
        _features(first, last, layer + 1, at, net, work)
        return
    width, value, w = at[lay.HIDDEN], at[lay.READ] + first * at[lay.HIDDEN], net[-1]
    multiply(at, rows, f, width, s + here + own, f, w[lay.FIRST], w[lay.FIRST_BIAS], _ONE_ROW, value, width)
    blocks.activate(rows * width, work, value, value + here, value + 2 * here)
    read_out(
        rows, width, work, w[lay.SECOND], w[lay.SECOND_BIAS], value, value + here, value + 3 * here,
        at[lay.OUTPUTS] + first,
    )  # fmt: skip
    s_bar = block + lay.S_BAR * here + own
    multiply(at, rows, width, f, value + 3 * here, width, w[lay.FIRST_BACK], w[lay.ZEROS], _ONE_ROW, s_bar, f)
    blocks.update_reverse(first, rows, parts, at, net, layer, work, block)


@straight
def _reverse(layer, first, last, at, net, start, senders, pairs, work):
    """The way back through a message block and the update block below it."""
    f, here, rows, own = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS], last - first, first * at[lay.CHANNELS]
    block, edge = at[lay.BLOCKS] + layer * lay.PER_BLOCK * here, 3 * f * layer * at[lay.EDGES]
    below = block - lay.PER_BLOCK * here
    # nobody reads the derivatives by the first block's vectors, which are zero
    new_v_bar = below + lay.V_BAR * here if layer > 0 else block + lay.D_V * here
    edges.messages_reverse(
        first, last, f, lay.TWO if layer == 0 else lay.THREE, start, senders, pairs, work, at[lay.DIRECTION],
        at[lay.FILTERS] + edge, at[lay.FILTER_SLOPES] + edge, block + lay.PHI * here, block + lay.V * here,
        block + lay.S_BAR_MID * here, block + lay.V_BAR_MID * here, block + lay.PHI_BAR * here, new_v_bar, at[lay.SUMS],
        layer + 1 < at[lay.LAYERS],
    )  # fmt: skip
    if layer == 0:
        return
    blocks.perceptron_reverse(
        rows, f, 3 * f, at, net, layer, lay.PHI_PLACES, work, block + lay.PHI_BAR * here + 3 * own, 3 * f,
        block + lay.PHI_SLOPE * here + own, block + lay.PHI_BEFORE * here + own, block + lay.S_BAR_MID * here + own, f,
        below + lay.S_BAR * here + own,
    )  # fmt: skip
    blocks.update_reverse(first, rows, lay.THREE, at, net, layer - 1, work, below)


@straight
def _rows_at_once(first, last, room, start):
    """The row up to which the edges of a row and those after it find room; at least the next."""
    k = first + 1
    while k < last and start[k + 1] - start[first] <= room:
        k += 1
    return k


@straight
def _add_filters(first, last, parts, at, work, features, d, by):
    """Add what some edges, whose derivatives by filters or slopes begin at ``d``, say of the filter's weights."""
    f, pitch = at[lay.CHANNELS], at[lay.RADIAL_PITCH]
    if last > first:
        add_transposed(at, pitch, last - first, parts * f, features + first * pitch, pitch, d, 3 * f, by, parts * f)


@straight
def _reverse_backward(layer, first, last, at, net, start, senders, pairs, reverse, work, mine, room, more):
    """Derivatives through `_reverse`, from the first block up; after the last those through the readout too."""
    f, here, rows, own = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS], last - first, first * at[lay.CHANNELS]
    block, edge, layers = at[lay.BLOCKS] + layer * lay.PER_BLOCK * here, 3 * f * layer * at[lay.EDGES], at[lay.LAYERS]
    below, above, space = block - lay.PER_BLOCK * here, block + lay.PER_BLOCK * here, at[lay.PER_TASK] * f
    # in the first block these two are not there and not read
    d_v_above = below + lay.D_V_BAR * here if layer > 0 else block
    d_s_above = below + lay.D_S_BAR * here if layer > 0 else block
    parts = lay.TWO if layer == 0 else lay.THREE
    d_slopes = more + 3 * f * at[lay.EDGE_ROOM]
    i = first
    while i < last:
        k = _rows_at_once(i, last, at[lay.EDGE_ROOM], start)
        edges.reverse_backward_as_senders(
            i, k, f, parts, start, senders, pairs, work, at[lay.DIRECTION], at[lay.FILTERS] + edge,
            at[lay.FILTER_SLOPES] + edge, block + lay.PHI * here, block + lay.V * here, block + lay.S_BAR_MID * here,
            block + lay.V_BAR_MID * here, at[lay.D_SUMS], block + lay.D_PHI_BAR * here, d_v_above,
            block + lay.D_PHI * here, block + lay.D_V * here, more, d_slopes,
        )  # fmt: skip
        by = mine + net[layer, lay.BY_FILTER]
        _add_filters(start[i], start[k], parts, at, work, at[lay.VALUES], more, by)
        _add_filters(start[i], start[k], parts, at, work, at[lay.SLOPES], d_slopes, by)
        i = k
    edges.reverse_backward_as_receivers(
        first, last, f, parts, start, senders, pairs, reverse, work, at[lay.DIRECTION], at[lay.FILTERS] + edge,
        at[lay.FILTER_SLOPES] + edge, block + lay.PHI * here, block + lay.V * here, at[lay.D_SUMS],
        block + lay.D_PHI_BAR * here, d_v_above, d_s_above, room, room + space,
    )  # fmt: skip
    parts = lay.THREE if layer + 1 < layers else lay.TWO
    blocks.update_reverse_backward(
        first, rows, parts, at, net, layer, work, block, mine, room, room + space, room + 4 * space, space,
    )  # fmt: skip
    if layer + 1 < layers:
        blocks.perceptron_reverse_backward(
            rows, f, 3 * f, at, net, layer + 1, lay.PHI_PLACES, work, mine, block + lay.D_S_BAR * here + own,
            above + lay.PHI_BAR * here + 3 * own, 3 * f, above + lay.PHI_SLOPE * here + own,
            above + lay.PHI_BEFORE * here + own, above + lay.D_PHI_HIDDEN * here + own, room,
            above + lay.D_PHI_BAR * here + 3 * own,
        )  # fmt: skip
        return
    _readout_backward(first, rows, at, net, work, mine, block + lay.D_S_BAR * here + own, room, room + 4 * space)
    blocks.update_backward(
        first, rows, lay.TWO, at, net, layer, work, block, mine, room, room + space, room + 4 * space, space,
    )  # fmt: skip


@straight
def _readout_backward(first, rows, at, net, work, mine, d_s_bar, d_s, room):
    """Derivatives through both sweeps of the readout; ``d_s`` becomes that by the scalars."""
    f, here, width, w = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS], at[lay.HIDDEN], net[-1]
    value, s = at[lay.READ] + first * width, at[lay.SCALARS] + at[lay.LAYERS] * here + first * f
    space = at[lay.PER_TASK] * f
    d_through, d_hidden, by_weights = room, room + space, room + 2 * space
    multiply(at, rows, f, width, d_s_bar, f, w[lay.FIRST], w[lay.ZEROS], _ONE_ROW, d_through, width)
    add_transposed(at, width, rows, f, value + 3 * here, width, d_s_bar, f, mine + w[lay.BY_FIRST], f)
    d_outputs = at[lay.D_OUTPUTS] + first
    read_out_backward(
        rows, width, work, w[lay.SECOND], value, value + here, value + 2 * here, d_outputs, d_through, d_hidden,
        by_weights,
    )  # fmt: skip
    add_column_sums(rows, width, work, by_weights, width, mine + w[lay.BY_SECOND])
    for i in range(rows):
        work[mine + w[lay.BY_SECOND_BIAS]] += work[d_outputs + i]
    add_transposed(at, width, rows, f, d_hidden, width, s, f, mine + w[lay.BY_FIRST], f)
    add_column_sums(rows, width, work, d_hidden, width, mine + w[lay.BY_FIRST_BIAS])
    multiply(at, rows, width, f, d_hidden, width, w[lay.FIRST_BACK], w[lay.ZEROS], _ONE_ROW, d_s, f)


@straight
def _backward(layer, first, last, at, net, start, senders, pairs, species, work, mine, room, more):
    """Derivatives through `_forward`, from the last block down: a message block and the update block below it."""
    f, here, rows, own = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS], last - first, first * at[lay.CHANNELS]
    block, edge, space = (
        at[lay.BLOCKS] + layer * lay.PER_BLOCK * here,
        3 * f * layer * at[lay.EDGES],
        at[lay.PER_TASK] * f,
    )
    parts, d_phi, d_v = lay.TWO if layer == 0 else lay.THREE, block + lay.D_PHI * here, block + lay.D_V * here
    i = first
    while i < last:
        k = _rows_at_once(i, last, at[lay.EDGE_ROOM], start)
        edges.messages_backward(
            i, k, f, parts, start, senders, pairs, work, at[lay.DIRECTION], at[lay.FILTERS] + edge,
            block + lay.PHI * here, block + lay.V * here, block + lay.D_S_MID * here, block + lay.D_V_MID * here, d_phi,
            d_v, more,
        )  # fmt: skip
        _add_filters(start[i], start[k], parts, at, work, at[lay.VALUES], more, mine + net[layer, lay.BY_FILTER])
        i = k
    d_hidden, d_s = block + lay.D_PHI_HIDDEN * here + own, room
    if layer == 0:
        # no reverse sweep went through these features
        work[d_hidden : d_hidden + rows * f] = 0
    blocks.perceptron_backward(
        rows, f, parts * f, at, net, layer, lay.PHI_PLACES, work, mine, d_phi + 3 * own, 3 * f,
        at[lay.SCALARS] + layer * here + own, block + lay.PHI_VALUE * here + own, block + lay.PHI_SLOPE * here + own,
        d_hidden, room + space, block + lay.D_S_MID * here + own, f, d_s,
    )  # fmt: skip
    if layer > 0:
        blocks.update_backward(
            first, rows, lay.THREE, at, net, layer - 1, work, block - lay.PER_BLOCK * here, mine, d_s, d_v + 3 * own,
            room + space, space,
        )  # fmt: skip
        return
    for i in range(rows):
        row = mine + net[-1, lay.BY_EMBEDDING] + species[first + i] * f
        for c in range(f):
            work[row + c] += work[d_s + i * f + c]


def steps(layers: int) -> tuple[range, range]:
    """Steps of energies and slopes, and of the gradient."""
    return range(2 * layers + 2), range(2 * layers + 2, 4 * layers + 3)


def make_program(real: numba.types.Float) -> Any:
    """One step of the program for a precision, as a C function to be run by every thread."""
    width, written = panel_width(np.dtype(str(real))), sources()

    @numba.cfunc(SIGNATURE, error_model="numpy", cache=True)
    def program(address, thread):
        # numba keeps a program under the values that it closes over, and this one holds code of all files of the folder
        written  # noqa: B018
        table = numba.carray(pointer(address), (2 * ARRAYS + lay.SETTINGS,), types.int64)
        work = numba.carray(pointer(table[0]), (table[1],), real)
        net = numba.carray(pointer(table[2]), (table[3] // lay.PLACES, lay.PLACES), types.int64)
        parameters = numba.carray(pointer(table[4]), (table[5] // lay.COLUMNS, lay.COLUMNS), types.int64)
        start = numba.carray(pointer(table[6]), (table[7],), types.int64)
        senders = numba.carray(pointer(table[8]), (table[9],), types.int64)
        reverse = numba.carray(pointer(table[10]), (table[11],), types.int64)
        species = numba.carray(pointer(table[12]), (table[13],), types.int64)
        pairs = numba.carray(pointer(table[14]), (table[15],), types.int64)
        at = table[2 * ARRAYS :]
        f, layers, step, threads = at[lay.CHANNELS], at[lay.LAYERS], at[lay.STEP], at[lay.THREADS]
        mine, room = at[lay.GRADIENTS] + thread * at[lay.GRADIENT], at[lay.SCRATCH]
        room += thread * lay.SCRATCH_ROWS * at[lay.PER_TASK] * f
        more = at[lay.EDGE_SCRATCH] + thread * 6 * f * at[lay.EDGE_ROOM]
        if step == 0:
            for n in range(len(parameters)):
                p = parameters[n]
                size = p[lay.OUT_PARTS] * p[lay.OUT] * p[lay.IN_PARTS] * p[lay.IN]
                pack(p, numba.carray(pointer(p[lay.ADDRESS]), (size,), real), work, width, thread, threads)
            return
        if step == 4 * layers + 2:
            for n in range(len(parameters)):
                p = parameters[n]
                size = p[lay.RESULT] + p[lay.OUT_PARTS] * p[lay.OUT] * p[lay.IN_PARTS] * p[lay.IN]
                result = numba.carray(pointer(at[lay.ANSWER]), (size,), real)
                collect(p, work, at[lay.GRADIENTS], at[lay.GRADIENT], result, thread, threads)
            return
        if step == 2 * layers + 2:
            work[mine : mine + at[lay.GRADIENT]] = 0
        if step == 1:
            _filters(thread * at[lay.PAIRS] // threads, (thread + 1) * at[lay.PAIRS] // threads, at, net, work)
        per_task = at[lay.PER_TASK]
        for first in range(thread * per_task, at[lay.ATOMS], threads * per_task):
            last = min(first + per_task, at[lay.ATOMS])
            if step == 1:
                _begin(first, last, at, net, species, work)
            elif step < layers + 2:
                _forward(step - 2, first, last, at, net, start, senders, pairs, work)
            elif step < 2 * layers + 2:
                _reverse(2 * layers + 1 - step, first, last, at, net, start, senders, pairs, work)
            elif step < 3 * layers + 2:
                layer = step - 2 * layers - 2
                _reverse_backward(layer, first, last, at, net, start, senders, pairs, reverse, work, mine, room, more)
            else:
                layer = 4 * layers + 1 - step
                _backward(layer, first, last, at, net, start, senders, pairs, species, work, mine, room, more)

    return program
