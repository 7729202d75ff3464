"""The node blocks of a few atoms on a GPU, their matrix products included: a program for every atom.

Where atoms are few, a product takes less time than its launch. Here a block is one launch: a program carries its atom
through all products of the block, reading the weights from the L2 cache while it goes, and what one product leaves in
memory the next one reads after a barrier. With more atoms than the GPU has processors the same weights would be read
too often, and the products are cuBLAS's again, with the kernels of `mlff.kernels.triton_nodes` between them.

The equations are those of `mlff.student.blocks` and `mlff.student.layers`. Weights are as torch has them, (outputs,
inputs), for the reverse sweep, and ``turned``, (inputs, outputs), for the forward sweep, so that neighbouring numbers
are always read together. ``INPUTS`` inputs of a product are worked on at once.
"""

import triton
import triton.language as tl

from mlff.kernels.triton_language import part


@part
def _product(
    x, weight, K: tl.constexpr, STRIDE: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr, INPUTS: tl.constexpr
):
    """``x · weight``, (1, BLOCK), of K numbers in memory and N columns of a matrix whose rows are ``STRIDE`` long."""
    n = tl.arange(0, BLOCK)[None, :]
    total = tl.zeros((INPUTS, BLOCK), x.dtype.element_ty)
    for at in tl.static_range(0, K, INPUTS):
        k = at + tl.arange(0, INPUTS)[:, None]
        factor = tl.load(x + k, mask=k < K, other=0.0)
        total += factor * tl.load(weight + k * STRIDE + n, mask=(k < K) & (n < N), other=0.0)
    return tl.sum(total, axis=0, keep_dims=True)


@part
def _three_products(
    x, weight, STEP: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
    INPUTS: tl.constexpr,
):  # fmt: skip
    """The same for three rows of ``x``, ``STEP`` numbers apart."""
    n = tl.arange(0, BLOCK)[None, :]
    first = tl.zeros((INPUTS, BLOCK), x.dtype.element_ty)
    second, third = first, first
    for at in tl.static_range(0, K, INPUTS):
        k = at + tl.arange(0, INPUTS)[:, None]
        factor = tl.load(weight + k * STRIDE + n, mask=(k < K) & (n < N), other=0.0)
        first += factor * tl.load(x + k, mask=k < K, other=0.0)
        second += factor * tl.load(x + STEP + k, mask=k < K, other=0.0)
        third += factor * tl.load(x + 2 * STEP + k, mask=k < K, other=0.0)
    return (
        tl.sum(first, axis=0, keep_dims=True),
        tl.sum(second, axis=0, keep_dims=True),
        tl.sum(third, axis=0, keep_dims=True),
    )


@part
def _three(pointer, STEP: tl.constexpr, channel):
    """The three components of a vector, ``STEP`` numbers apart."""
    return (
        tl.load(pointer, mask=channel, other=0.0),
        tl.load(pointer + STEP, mask=channel, other=0.0),
        tl.load(pointer + 2 * STEP, mask=channel, other=0.0),
    )


@part
def _store_three(pointer, STEP: tl.constexpr, x, y, z, channel):
    tl.store(pointer, x, mask=channel)
    tl.store(pointer + STEP, y, mask=channel)
    tl.store(pointer + 2 * STEP, z, mask=channel)


@part
def _activated(h, slope, place, channel):
    """``silu(h)``; its derivative goes into ``slope``."""
    gate = 1 / (1 + tl.exp(-h))
    tl.store(slope + place, gate * (1 + h * (1 - gate)), mask=channel)
    return h * gate


@part
def _update(
    i, s, after, mix, gate_first, gate_first_bias, gate_second, gate_second_bias, floor,
    mixed, entry, hidden, gate_slope, gates, changed,
    PARTS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """The update block of an atom: ``s`` and, with three parts, ``changed``; the rest is for the reverse sweep."""
    f = tl.arange(0, BLOCK)[None, :]
    channel, own, vector = f < F, i * F + f, i * (3 * F) + f
    row = after + i * (3 * F)
    u0, u1, u2 = _three_products(row, mix, F, F, 2 * F, F, BLOCK, INPUTS)
    v0, v1, v2 = _three_products(row, mix + F, F, F, 2 * F, F, BLOCK, INPUTS)
    to = mixed + i * (6 * F) + f
    _store_three(to, 2 * F, u0, u1, u2, channel)
    _store_three(to + F, 2 * F, v0, v1, v2, channel)
    scalar = tl.load(s + own, mask=channel, other=0.0)
    to = entry + i * (2 * F) + f
    tl.store(to, scalar, mask=channel)
    tl.store(to + F, tl.sqrt(v0 * v0 + v1 * v1 + v2 * v2 + tl.load(floor)), mask=channel)
    tl.debug_barrier()
    h = _product(entry + i * (2 * F), gate_first, 2 * F, F, F, BLOCK, INPUTS)
    h += tl.load(gate_first_bias + f, mask=channel, other=0.0)
    tl.store(hidden + own, _activated(h, gate_slope, own, channel), mask=channel)
    tl.debug_barrier()
    row, to = hidden + i * F, gates + i * (PARTS * F) + f
    a = _product(row, gate_second, F, PARTS * F, F, BLOCK, INPUTS)
    a += tl.load(gate_second_bias + f, mask=channel, other=0.0)
    b = _product(row, gate_second + F, F, PARTS * F, F, BLOCK, INPUTS)
    b += tl.load(gate_second_bias + F + f, mask=channel, other=0.0)
    tl.store(to, a, mask=channel)
    tl.store(to + F, b, mask=channel)
    tl.store(s + own, scalar + a + b * (u0 * v0 + u1 * v1 + u2 * v2), mask=channel)
    if PARTS == 3:
        c = _product(row, gate_second + 2 * F, F, PARTS * F, F, BLOCK, INPUTS)
        c += tl.load(gate_second_bias + 2 * F + f, mask=channel, other=0.0)
        tl.store(to + 2 * F, c, mask=channel)
        x0, x1, x2 = _three(after + vector, F, channel)
        _store_three(changed + vector, F, x0 + c * u0, x1 + c * u1, x2 + c * u2, channel)
    tl.debug_barrier()


@triton.jit
def update_and_features(
    s, after, mix, gate_first, gate_first_bias, gate_second, gate_second_bias, floor,
    mixed, entry, hidden, gate_slope, gates, changed,
    phi_first, phi_first_bias, phi_second, phi_second_bias, phi_slope, phi,
    F: tl.constexpr, BLOCK: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """The update block of an atom, and its features for the messages above.

    Args:
        s: (n_atoms, F), which changes.
        after: (n_atoms, 3, F) vectors after the messages.
        mix, gate_first, gate_second, phi_first, phi_second: turned.
        mixed, entry, gate_slope, gates, phi_slope: for the reverse sweep, as in `mlff.kernels.triton_memory.Tape`.
        hidden: (n_atoms, F) to work in.
        changed, phi: (n_atoms, 3, F) vectors and (n_atoms, 3F) features.
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    channel, own = f < F, i * F + f
    _update(
        i, s, after, mix, gate_first, gate_first_bias, gate_second, gate_second_bias, floor,
        mixed, entry, hidden, gate_slope, gates, changed, 3, F, BLOCK, INPUTS,
    )  # fmt: skip
    h = _product(s + i * F, phi_first, F, F, F, BLOCK, INPUTS)
    h += tl.load(phi_first_bias + f, mask=channel, other=0.0)
    tl.store(hidden + own, _activated(h, phi_slope, own, channel), mask=channel)
    tl.debug_barrier()
    for k in tl.static_range(3):
        feature = _product(hidden + i * F, phi_second + k * F, F, 3 * F, F, BLOCK, INPUTS)
        feature += tl.load(phi_second_bias + k * F + f, mask=channel, other=0.0)
        tl.store(phi + i * (3 * F) + k * F + f, feature, mask=channel)


@triton.jit
def update_and_output(
    s, after, mix, gate_first, gate_first_bias, gate_second, gate_second_bias, floor,
    mixed, entry, hidden, gate_slope, gates, read_first, read_first_turned, read_first_bias, read_second,
    read_second_bias, read_hidden, outputs, s_bar,
    H: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """The last update block of an atom, its output, and ``s̄`` with which the reverse sweep starts.

    Args:
        read_first, read_first_turned: (H, F) and (F, H).
        read_hidden: (n_atoms, H) to work in.
        outputs, s_bar: (n_atoms,) and (n_atoms, F).
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    _update(
        i, s, after, mix, gate_first, gate_first_bias, gate_second, gate_second_bias, floor,
        mixed, entry, hidden, gate_slope, gates, after, 2, F, BLOCK, INPUTS,
    )  # fmt: skip
    h = _product(s + i * F, read_first_turned, F, H, H, BLOCK, INPUTS)
    h += tl.load(read_first_bias + f, mask=f < H, other=0.0)
    gate, weight = 1 / (1 + tl.exp(-h)), tl.load(read_second + f, mask=f < H, other=0.0)
    at = i + tl.arange(0, 1)
    tl.store(outputs + at, tl.sum(weight * h * gate, axis=1) + tl.load(read_second_bias))
    tl.store(read_hidden + i * H + f, weight * gate * (1 + h * (1 - gate)), mask=f < H)
    tl.debug_barrier()
    bar = _product(read_hidden + i * H, read_first, H, F, F, BLOCK, INPUTS)
    tl.store(s_bar + i * F + f, bar, mask=f < F)


@triton.jit
def update_reverse(
    s_bar, v_bar, phi_first, phi_second, phi_slope, phi_bar, mix, gate_first, gate_second,
    mixed, entry, gate_slope, gates, hidden, bars, mixed_bar,
    PARTS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """The reverse sweep of an atom's features above, unless the block is the last one, and of its update block.

    Args:
        s_bar, v_bar: (n_atoms, F) and (n_atoms, 3, F) above the block, which become those below.
        phi_bar: (n_atoms, 3F) derivatives by the features.
        hidden, bars, mixed_bar: (n_atoms, F), (n_atoms, PARTS F) and (n_atoms, 3, 2F) to work in; ``bars`` may be
            ``phi_bar``.
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    channel, own = f < F, i * F + f
    bar = tl.load(s_bar + own, mask=channel, other=0.0)
    if PARTS == 3:
        through = _product(phi_bar + i * (3 * F), phi_second, 3 * F, F, F, BLOCK, INPUTS)
        through *= tl.load(phi_slope + own, mask=channel, other=0.0)
        tl.store(hidden + own, through, mask=channel)
        tl.debug_barrier()
        bar += _product(hidden + i * F, phi_first, F, F, F, BLOCK, INPUTS)
    u0, u1, u2 = _three(mixed + i * (6 * F) + f, 2 * F, channel)
    v0, v1, v2 = _three(mixed + i * (6 * F) + F + f, 2 * F, channel)
    to = bars + i * (PARTS * F) + f
    tl.store(to, bar, mask=channel)
    tl.store(to + F, bar * (u0 * v0 + u1 * v1 + u2 * v2), mask=channel)
    vector = v_bar + i * (3 * F) + f
    gate = gates + i * (PARTS * F) + f
    share = bar * tl.load(gate + F, mask=channel, other=0.0)
    b0, b1, b2 = share * v0, share * v1, share * v2
    if PARTS == 3:
        t0, t1, t2 = _three(vector, F, channel)
        tl.store(to + 2 * F, t0 * u0 + t1 * u1 + t2 * u2, mask=channel)
        last = tl.load(gate + 2 * F, mask=channel, other=0.0)
        b0, b1, b2 = b0 + last * t0, b1 + last * t1, b2 + last * t2
    tl.debug_barrier()
    through = _product(bars + i * (PARTS * F), gate_second, PARTS * F, F, F, BLOCK, INPUTS)
    through *= tl.load(gate_slope + own, mask=channel, other=0.0)
    tl.store(hidden + own, through, mask=channel)
    tl.debug_barrier()
    bar += _product(hidden + i * F, gate_first, F, 2 * F, F, BLOCK, INPUTS)
    length = _product(hidden + i * F, gate_first + F, F, 2 * F, F, BLOCK, INPUTS)
    length = length / tl.load(entry + i * (2 * F) + F + f, mask=channel, other=1.0)
    tl.store(s_bar + own, bar, mask=channel)
    to = mixed_bar + i * (6 * F) + f
    _store_three(to, 2 * F, b0, b1, b2, channel)
    _store_three(to + F, 2 * F, share * u0 + length * v0, share * u1 + length * v1, share * u2 + length * v2, channel)
    tl.debug_barrier()
    d0, d1, d2 = _three_products(mixed_bar + i * (6 * F), mix, 2 * F, 2 * F, F, F, BLOCK, INPUTS)
    if PARTS == 3:
        t0, t1, t2 = _three(vector, F, channel)
        d0, d1, d2 = d0 + t0, d1 + t1, d2 + t2
    _store_three(vector, F, d0, d1, d2, channel)
