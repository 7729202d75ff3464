"""The blocks of a student for some rows during training: both sweeps and their derivatives, between two waits.

A number such as ``x`` says where in ``work`` something begins, see `mlff.kernels.gradient_layout`; ``at`` holds the
settings of the program, ``net`` the places of the weights. Derivatives by weights are counted from the beginning
``mine`` of those that a thread collects.
"""

from __future__ import annotations

import numpy as np

from mlff.kernels import gradient_layout as lay
from mlff.kernels.calling import call
from mlff.kernels.numba_atoms import apply_gates, gate_bars, gate_input, mixed_bars
from mlff.kernels.numba_gradient_atoms import (
    activate,
    add_column_sums,
    add_product,
    gate_bars_backward,
    gate_input_backward,
    gates_backward,
    mixed_bars_backward,
    through_activation,
    through_activation_backward,
)
from mlff.kernels.vectors import straight

_ONE_ROW = np.int64(0)
"""Step between the rows of what a product starts from, where that is one row for all: a bias, or zeros."""


@straight
def multiply(at, rows, depth, columns, a, stride, panels, initial, step, out, pitch):
    """`mlff.kernels.products.multiply` within ``work``."""
    work, item = at[lay.WORK], at[lay.ITEM]
    panels, initial, out = work + item * panels, work + item * initial, work + item * out
    call(at[lay.MULTIPLY], (rows, depth, columns, work + item * a, stride, panels, initial, step, out, pitch))


@straight
def add_transposed(at, rows, depth, columns, a, stride, b, height, out, pitch):
    """``out += aᵀ · b`` within ``work``, see `mlff.kernels.products.Products`."""
    work, item = at[lay.WORK], at[lay.ITEM]
    a, b, out = work + item * a, work + item * b, work + item * out
    call(at[lay.ADD_TRANSPOSED], (rows, depth, columns, a, stride, b, height, out, pitch))


@straight
def perceptron(rows, ins, outs, at, net, layer, q, work, x, value, y, pitch):
    """``y = W2 silu(W1 x + b1) + b2``; leaves ``silu`` and, ``here`` and twice as far behind it, its derivatives."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    p = net[layer]
    multiply(at, rows, ins, f, x, ins, p[q + lay.FIRST], p[q + lay.FIRST_BIAS], _ONE_ROW, value, f)
    activate(rows * f, work, value, value + here, value + 2 * here)
    multiply(at, rows, f, outs, value, f, p[q + lay.SECOND], p[q + lay.SECOND_BIAS], _ONE_ROW, y, pitch)


@straight
def perceptron_reverse(
    rows, ins, outs, at, net, layer, q, work, y_bar, pitch, slope, before, start, step, x_bar,
):  # fmt: skip
    """``x̄ = start + W1ᵀ (silu' ∘ W2ᵀ ȳ)``; leaves ``W2ᵀ ȳ`` and, ``here`` behind it, what W1ᵀ multiplies."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    p, zeros = net[layer], net[-1, lay.ZEROS]
    multiply(at, rows, outs, f, y_bar, pitch, p[q + lay.SECOND_BACK], zeros, _ONE_ROW, before, f)
    through_activation(rows * f, work, before, slope, before + here)
    multiply(at, rows, f, ins, before + here, f, p[q + lay.FIRST_BACK], start, step, x_bar, ins)


@straight
def perceptron_reverse_backward(
    rows, ins, outs, at, net, layer, q, work, mine, d_x_bar, y_bar, pitch, slope, before, d_hidden, d_before, d_y_bar,
):  # fmt: skip
    """From the derivative by ``x̄`` to the one by ``ȳ``; leaves that by the hidden layer."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    p, zeros = net[layer], net[-1, lay.ZEROS]
    multiply(at, rows, ins, f, d_x_bar, ins, p[q + lay.FIRST], zeros, _ONE_ROW, d_before, f)
    add_transposed(at, f, rows, ins, before + here, f, d_x_bar, ins, mine + p[q + lay.BY_FIRST], ins)
    through_activation_backward(rows * f, work, d_before, before, slope, slope + here, d_hidden)
    add_transposed(at, outs, rows, f, y_bar, pitch, d_before, f, mine + p[q + lay.BY_SECOND], f)
    multiply(at, rows, f, outs, d_before, f, p[q + lay.SECOND], zeros, _ONE_ROW, d_y_bar, pitch)


@straight
def perceptron_backward(
    rows, ins, outs, at, net, layer, q, work, mine, d_y, pitch, x, value, slope, d_hidden, room, start, step, d_x,
):  # fmt: skip
    """``start`` plus the derivative by ``x``, from the one by ``y`` and what `perceptron_reverse_backward` left."""
    f = at[lay.CHANNELS]
    p, zeros = net[layer], net[-1, lay.ZEROS]
    multiply(at, rows, outs, f, d_y, pitch, p[q + lay.SECOND_BACK], zeros, _ONE_ROW, room, f)
    add_product(rows * f, work, d_hidden, room, slope)
    add_transposed(at, outs, rows, f, d_y, pitch, value, f, mine + p[q + lay.BY_SECOND], f)
    add_column_sums(rows, outs, work, d_y, pitch, mine + p[q + lay.BY_SECOND_BIAS])
    add_transposed(at, f, rows, ins, d_hidden, f, x, ins, mine + p[q + lay.BY_FIRST], ins)
    add_column_sums(rows, f, work, d_hidden, f, mine + p[q + lay.BY_FIRST_BIAS])
    multiply(at, rows, f, ins, d_hidden, f, p[q + lay.FIRST_BACK], start, step, d_x, ins)


@straight
def update(first, rows, parts, floor, at, net, layer, work, block, s, new_v):
    """An update block: ``s`` in place, and ``new_v``."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    zeros, own = net[-1, lay.ZEROS], first * f
    v, mixed, entry = (
        block + lay.V_MID * here + 3 * own,
        block + lay.MIXED * here + 6 * own,
        block + lay.ENTRY * here + 2 * own,
    )
    gates = block + lay.GATES * here + parts * own
    multiply(at, 3 * rows, f, 2 * f, v, f, net[layer, lay.MIX], zeros, _ONE_ROW, mixed, 2 * f)
    gate_input(rows, f, floor, work, s, mixed, entry)
    value = block + lay.GATE_VALUE * here + own
    perceptron(rows, 2 * f, parts * f, at, net, layer, lay.GATE_PLACES, work, entry, value, gates, parts * f)
    apply_gates(rows, f, parts, work, s, v, mixed, gates, new_v)


@straight
def update_reverse(first, rows, parts, at, net, layer, work, block):
    """From ``s̄`` and ``v̄`` above the update to those below it."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    zeros, own = net[-1, lay.ZEROS], first * f
    s_bar, v_bar = block + lay.S_BAR * here + own, block + lay.V_BAR * here + 3 * own
    mixed, gates = block + lay.MIXED * here + 6 * own, block + lay.GATES * here + parts * own
    bars, entry_bar = block + lay.GATE_BAR * here + parts * own, block + lay.ENTRY_BAR * here + 2 * own
    mixed_bar, v_new = block + lay.MIXED_BAR * here + 6 * own, block + lay.V_BAR_MID * here + 3 * own
    gate_bars(rows, f, parts, work, s_bar, v_bar, mixed, bars)
    perceptron_reverse(
        rows, 2 * f, parts * f, at, net, layer, lay.GATE_PLACES, work, bars, parts * f,
        block + lay.GATE_SLOPE * here + own, block + lay.GATE_BEFORE * here + own, zeros, _ONE_ROW, entry_bar,
    )  # fmt: skip
    mixed_bars(
        rows, f, parts, work, s_bar, v_bar, mixed, gates, block + lay.ENTRY * here + 2 * own, entry_bar, mixed_bar,
        block + lay.S_BAR_MID * here + own,
    )  # fmt: skip
    start, step = (v_bar, f) if parts == 3 else (zeros, _ONE_ROW)
    multiply(at, 3 * rows, 2 * f, f, mixed_bar, 2 * f, net[layer, lay.MIX_BACK], start, step, v_new, f)


@straight
def update_reverse_backward(first, rows, parts, at, net, layer, work, block, mine, d_s_mid, d_v_mid, room, space):
    """Through `update_reverse`, from the derivatives by its results to those by ``s̄`` and ``v̄``."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    zeros, own = net[-1, lay.ZEROS], first * f
    s_bar, v_bar = block + lay.S_BAR * here + own, block + lay.V_BAR * here + 3 * own
    mixed, gates = block + lay.MIXED * here + 6 * own, block + lay.GATES * here + parts * own
    mixed_bar, d_mixed = block + lay.MIXED_BAR * here + 6 * own, block + lay.D_MIXED * here + 6 * own
    d_bars, d_entry, d_gate_bar, d_share = room, room + 6 * space, room + 8 * space, room + 11 * space
    hidden = room + 12 * space
    add_transposed(at, 2 * f, 3 * rows, f, mixed_bar, 2 * f, d_v_mid, f, mine + net[layer, lay.BY_MIX], f)
    multiply(at, 3 * rows, f, 2 * f, d_v_mid, f, net[layer, lay.MIX], zeros, _ONE_ROW, d_bars, 2 * f)
    mixed_bars_backward(
        rows, f, parts, work, s_bar, mixed, gates, block + lay.ENTRY * here + 2 * own,
        block + lay.ENTRY_BAR * here + 2 * own, d_bars, d_s_mid, d_entry, block + lay.D_NORM * here + own, d_share,
        d_mixed,
    )  # fmt: skip
    perceptron_reverse_backward(
        rows, 2 * f, parts * f, at, net, layer, lay.GATE_PLACES, work, mine, d_entry,
        block + lay.GATE_BAR * here + parts * own, parts * f, block + lay.GATE_SLOPE * here + own,
        block + lay.GATE_BEFORE * here + own, block + lay.D_GATE_HIDDEN * here + own, hidden, d_gate_bar,
    )  # fmt: skip
    gate_bars_backward(
        rows, f, parts, work, s_bar, v_bar, mixed, gates, d_gate_bar, d_share, d_bars, d_s_mid, d_v_mid,
        block + lay.D_PRODUCT * here + own, block + lay.D_GATES * here + parts * own, d_mixed,
        block + lay.D_S_BAR * here + own, block + lay.D_V_BAR * here + 3 * own,
    )  # fmt: skip


@straight
def update_backward(first, rows, parts, at, net, layer, work, block, mine, d_s, d_v, room, space):
    """Through `update`, from the derivatives by its results to those by the scalars and vectors below it."""
    f, here = at[lay.CHANNELS], at[lay.CAPACITY] * at[lay.CHANNELS]
    zeros, own = net[-1, lay.ZEROS], first * f
    mixed, gates = block + lay.MIXED * here + 6 * own, block + lay.GATES * here + parts * own
    entry, d_mixed = block + lay.ENTRY * here + 2 * own, block + lay.D_MIXED * here + 6 * own
    d_product, d_gates = block + lay.D_PRODUCT * here + own, block + lay.D_GATES * here + parts * own
    d_entry, hidden = room, room + 2 * space
    gates_backward(rows, f, parts, work, d_s, d_v, mixed, gates, d_product, d_gates, d_mixed)
    perceptron_backward(
        rows, 2 * f, parts * f, at, net, layer, lay.GATE_PLACES, work, mine, d_gates, parts * f, entry,
        block + lay.GATE_VALUE * here + own, block + lay.GATE_SLOPE * here + own,
        block + lay.D_GATE_HIDDEN * here + own, hidden, zeros, _ONE_ROW, d_entry,
    )  # fmt: skip
    gate_input_backward(
        rows, f, work, mixed, entry, block + lay.D_NORM * here + own, d_entry, d_product, d_s, d_mixed,
        block + lay.D_S_MID * here + own,
    )  # fmt: skip
    v_mid = block + lay.V_MID * here + 3 * own
    add_transposed(at, 2 * f, 3 * rows, f, d_mixed, 2 * f, v_mid, f, mine + net[layer, lay.BY_MIX], f)
    start, step = (d_v, f) if parts == 3 else (zeros, _ONE_ROW)
    d_v_mid = block + lay.D_V_MID * here + 3 * own
    multiply(at, 3 * rows, 2 * f, f, d_mixed, 2 * f, net[layer, lay.MIX_BACK], start, step, d_v_mid, f)
