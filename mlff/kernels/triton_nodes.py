"""What stands between the matrix products of the node blocks on a GPU, during inference: a program for some atoms.

The equations are those of `mlff.student.blocks.Update` and `mlff.student.layers.Perceptron`. All arrays are
C-contiguous with F channels: ``mixed`` (n_atoms, 3, 2F) holds first the ``Uv`` and then the ``Vv`` of every atom,
``gates`` (n_atoms, PARTS F) those of the scalars, of the product ``Uv·Vv``, and of the vectors, which the last block
lacks.
``ATOMS`` atoms belong to a program and ``BLOCK`` is F rounded up to a power of two.
"""

import triton
import triton.language as tl

from mlff.kernels.triton_language import part


@triton.jit
def activate(hidden, slope, n, SIZE: tl.constexpr):
    """``h σ(h)`` in the place of ``h`` and its derivative ``σ (1 + h (1 − σ))``, n numbers each."""
    k = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    h = tl.load(hidden + k, mask=k < n, other=0.0)
    gate = 1 / (1 + tl.exp(-h))
    tl.store(hidden + k, h * gate, mask=k < n)
    tl.store(slope + k, gate * (1 + h * (1 - gate)), mask=k < n)


@triton.jit
def multiply_by(changed, factor, n, SIZE: tl.constexpr):
    """``changed *= factor``, n numbers each."""
    k = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    tl.store(changed + k, tl.load(changed + k, mask=k < n) * tl.load(factor + k, mask=k < n), mask=k < n)


@part
def _tile(n, F: tl.constexpr, BLOCK: tl.constexpr, ATOMS: tl.constexpr):
    """Atoms (ATOMS, 1) and channels (1, BLOCK) of this program, and which of them there are."""
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)[:, None]
    f = tl.arange(0, BLOCK)[None, :]
    return i, f, (i < n) & (f < F)


@part
def _three(pointer, STEP: tl.constexpr, here):
    """The three components of a vector, ``STEP`` numbers apart."""
    return (
        tl.load(pointer, mask=here, other=0.0),
        tl.load(pointer + STEP, mask=here, other=0.0),
        tl.load(pointer + 2 * STEP, mask=here, other=0.0),
    )


@triton.jit
def gate_input(s, mixed, entry, floor, n, F: tl.constexpr, BLOCK: tl.constexpr, ATOMS: tl.constexpr):
    """``(s, |Vv|)`` (n_atoms, 2F); ``floor`` (1,) is added under the root."""
    i, f, here = _tile(n, F, BLOCK, ATOMS)
    v0, v1, v2 = _three(mixed + i * (6 * F) + F + f, 2 * F, here)
    to = entry + i * (2 * F) + f
    tl.store(to, tl.load(s + i * F + f, mask=here), mask=here)
    tl.store(to + F, tl.sqrt(v0 * v0 + v1 * v1 + v2 * v2 + tl.load(floor)), mask=here)


@triton.jit
def apply_gates(
    s, v, mixed, gates, changed, n, PARTS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, ATOMS: tl.constexpr
):
    """``s += a + b (Uv·Vv)`` and ``changed = v + c Uv``; without the last gate the vectors are left alone."""
    i, f, here = _tile(n, F, BLOCK, ATOMS)
    u0, u1, u2 = _three(mixed + i * (6 * F) + f, 2 * F, here)
    v0, v1, v2 = _three(mixed + i * (6 * F) + F + f, 2 * F, here)
    gate = gates + i * (PARTS * F) + f
    change = tl.load(gate, mask=here) + tl.load(gate + F, mask=here) * (u0 * v0 + u1 * v1 + u2 * v2)
    tl.store(s + i * F + f, tl.load(s + i * F + f, mask=here) + change, mask=here)
    if PARTS == 3:
        last = tl.load(gate + 2 * F, mask=here)
        place = i * (3 * F) + f
        x0, x1, x2 = _three(v + place, F, here)
        tl.store(changed + place, x0 + last * u0, mask=here)
        tl.store(changed + place + F, x1 + last * u1, mask=here)
        tl.store(changed + place + 2 * F, x2 + last * u2, mask=here)


@triton.jit
def gate_bars(
    s_bar, v_bar, mixed, bars, n, PARTS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, ATOMS: tl.constexpr
):
    """Derivatives by the gates (n_atoms, PARTS F): ``s̄``, ``s̄ (Uv·Vv)``, ``v̄·Uv``."""
    i, f, here = _tile(n, F, BLOCK, ATOMS)
    u0, u1, u2 = _three(mixed + i * (6 * F) + f, 2 * F, here)
    v0, v1, v2 = _three(mixed + i * (6 * F) + F + f, 2 * F, here)
    to = bars + i * (PARTS * F) + f
    bar = tl.load(s_bar + i * F + f, mask=here)
    tl.store(to, bar, mask=here)
    tl.store(to + F, bar * (u0 * v0 + u1 * v1 + u2 * v2), mask=here)
    if PARTS == 3:
        t0, t1, t2 = _three(v_bar + i * (3 * F) + f, F, here)
        tl.store(to + 2 * F, t0 * u0 + t1 * u1 + t2 * u2, mask=here)


@triton.jit
def mixed_bars(
    s_bar, v_bar, mixed, gates, entry, entry_bar, bars, n,
    PARTS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    """Derivatives by ``mixed`` (n_atoms, 3, 2F) in ``bars``, and by the scalars below the block in ``s_bar``."""
    i, f, here = _tile(n, F, BLOCK, ATOMS)
    gate = gates + i * (PARTS * F) + f
    bar = tl.load(s_bar + i * F + f, mask=here, other=0.0)
    share = bar * tl.load(gate + F, mask=here, other=0.0)
    place = i * (2 * F) + f
    length = tl.load(entry_bar + place + F, mask=here, other=0.0) / tl.load(entry + place + F, mask=here, other=1.0)
    tl.store(s_bar + i * F + f, bar + tl.load(entry_bar + place, mask=here, other=0.0), mask=here)
    for k in tl.static_range(3):
        m = i * (6 * F) + 2 * k * F + f
        u, v = tl.load(mixed + m, mask=here, other=0.0), tl.load(mixed + m + F, mask=here, other=0.0)
        first = share * v
        if PARTS == 3:
            last = tl.load(gate + 2 * F, mask=here, other=0.0)
            first += tl.load(v_bar + i * (3 * F) + k * F + f, mask=here, other=0.0) * last
        tl.store(bars + m, first, mask=here)
        tl.store(bars + m + F, share * u + length * v, mask=here)


@triton.jit
def read_out(hidden, weights, bias, outputs, n, F: tl.constexpr, BLOCK: tl.constexpr, ATOMS: tl.constexpr):
    """``w · silu(h) + b`` of every atom into ``outputs``, and its derivative by ``h`` in the place of ``h``.

    Args:
        hidden: (n_atoms, F) ``h``, of as many channels as the layer has.
        weights, bias: (F,) and (1,).
    """
    i, f, here = _tile(n, F, BLOCK, ATOMS)
    h = tl.load(hidden + i * F + f, mask=here, other=0.0)
    weight = tl.load(weights + f, mask=f < F, other=0.0)
    gate = 1 / (1 + tl.exp(-h))
    atom = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    tl.store(outputs + atom, tl.sum(weight * h * gate, axis=1) + tl.load(bias), mask=atom < n)
    tl.store(hidden + i * F + f, weight * gate * (1 + h * (1 - gate)), mask=here)
