"""Inference in the atoms: what stands between the matrix products of the node blocks, for a few rows at a time.

The equations are those of `mlff.student.blocks.Update` and `mlff.student.layers.Perceptron`. All numbers such as
``mixed`` say where in the flat array ``work`` something begins; ``mixed`` (rows, 3, 2F) holds first the ``Uv`` and then
the ``Vv`` of every atom, ``gates`` has ``parts`` times F numbers per row.
"""

from __future__ import annotations

from mlff.kernels.vectors import constant, exponential, lanes_of, load, square_root, store, straight, total


@straight
def activate(n, work, hidden, slope):
    """``h σ(h)`` in the place of ``h`` and its derivative ``σ (1 + h (1 − σ))``, n numbers each."""
    width = lanes_of(work)
    one, zero = constant(work, 1.0), constant(work, 0.0)
    for f in range(0, n, width):
        h = load(work, hidden + f)
        gate = one / (one + exponential(zero - h))
        store(work, hidden + f, h * gate)
        store(work, slope + f, gate * (one + h * (one - gate)))


@straight
def multiply_by(n, work, changed, factor):
    """``changed *= factor``, n numbers each."""
    for f in range(0, n, lanes_of(work)):
        store(work, changed + f, load(work, changed + f) * load(work, factor + f))


@straight
def gate_input(rows, channels, floor, work, s, mixed, entry):
    """``(s, |Vv|)`` (rows, 2F)."""
    small = constant(work, floor)
    for i in range(rows):
        for f in range(0, channels, lanes_of(work)):
            m = mixed + 6 * i * channels + channels + f
            v0, v1, v2 = load(work, m), load(work, m + 2 * channels), load(work, m + 4 * channels)
            store(work, entry + 2 * i * channels + f, load(work, s + i * channels + f))
            store(work, entry + (2 * i + 1) * channels + f, square_root(v0 * v0 + v1 * v1 + v2 * v2 + small))


@straight
def apply_gates(rows, channels, parts, work, s, vectors, mixed, gates, new_vectors):
    """``s += a + b (Uv·Vv)`` and ``new_v = v + c Uv``; without the last gate the vectors are left alone."""
    for i in range(rows):
        for f in range(0, channels, lanes_of(work)):
            m, g, v = mixed + 6 * i * channels + f, gates + parts * i * channels + f, 3 * i * channels + f
            u0, u1, u2 = load(work, m), load(work, m + 2 * channels), load(work, m + 4 * channels)
            m += channels
            product = u0 * load(work, m) + u1 * load(work, m + 2 * channels) + u2 * load(work, m + 4 * channels)
            change = load(work, g) + load(work, g + channels) * product
            store(work, s + i * channels + f, load(work, s + i * channels + f) + change)
            if parts == 3:
                gate, a, b = load(work, g + 2 * channels), vectors + v, new_vectors + v
                store(work, b, load(work, a) + gate * u0)
                store(work, b + channels, load(work, a + channels) + gate * u1)
                store(work, b + 2 * channels, load(work, a + 2 * channels) + gate * u2)


@straight
def gate_bars(rows, channels, parts, work, s_bar, v_bar, mixed, bars):
    """Derivatives by the gates: ``s̄``, ``s̄ (Uv·Vv)``, ``v̄·Uv``."""
    for i in range(rows):
        for f in range(0, channels, lanes_of(work)):
            m, g, v = mixed + 6 * i * channels + f, bars + parts * i * channels + f, v_bar + 3 * i * channels + f
            u0, u1, u2 = load(work, m), load(work, m + 2 * channels), load(work, m + 4 * channels)
            bar = load(work, s_bar + i * channels + f)
            store(work, g, bar)
            if parts == 3:
                along = load(work, v) * u0 + load(work, v + channels) * u1 + load(work, v + 2 * channels) * u2
                store(work, g + 2 * channels, along)
            m += channels
            product = u0 * load(work, m) + u1 * load(work, m + 2 * channels) + u2 * load(work, m + 4 * channels)
            store(work, g + channels, bar * product)


@straight
def mixed_bars(rows, channels, parts, work, s_bar, v_bar, mixed, gates, entry, entry_bar, bars, below):
    """Derivatives by ``mixed`` (rows, 3, 2F), and by the scalars below the block."""
    for i in range(rows):
        for f in range(0, channels, lanes_of(work)):
            g, s = gates + parts * i * channels + f, i * channels + f
            bar = load(work, s_bar + s)
            share = bar * load(work, g + channels)
            norm = (2 * i + 1) * channels + f
            length = load(work, entry_bar + norm) / load(work, entry + norm)
            store(work, below + s, bar + load(work, entry_bar + 2 * i * channels + f))
            for k in range(3):
                m = (6 * i + 2 * k) * channels + f
                u, v = load(work, mixed + m), load(work, mixed + m + channels)
                first = share * v
                if parts == 3:
                    first = first + load(work, v_bar + (3 * i + k) * channels + f) * load(work, g + 2 * channels)
                store(work, bars + m, first)
                store(work, bars + m + channels, share * u + length * v)


@straight
def read_out(rows, channels, weights, last, bias, work, hidden, slope, outputs, first):
    """``w · silu(h) + b`` of every row into ``outputs``, and its derivative by ``h`` in the place of ``silu(h)``."""
    width = lanes_of(work)
    for i in range(rows):
        collected = constant(work, 0.0)
        for f in range(0, channels, width):
            h, weight = hidden + i * channels + f, load(weights, last + f)
            collected = collected + weight * load(work, h)
            store(work, h, weight * load(work, slope + i * channels + f))
        outputs[first + i] = total(collected) + bias
