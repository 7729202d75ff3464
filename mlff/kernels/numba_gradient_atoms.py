"""Derivatives of a loss in the atoms: what stands between the matrix products of the node blocks during training.

The equations are in docs/forces.md, "The update block"; those of the two sweeps themselves are `numba_atoms`. Numbers
such as ``mixed`` say where in the flat array ``work`` something begins; ``mixed`` (rows, 3, 2F) holds first the ``Uv``
and then the ``Vv`` of every atom, ``gates`` has ``parts`` times F numbers per row. A name with ``_bar`` is a derivative
of the summed energy, one with ``d_`` of the loss.
"""

from __future__ import annotations

from mlff.kernels.vectors import constant, exponential, lanes_of, load, spread, store, straight, total


@straight
def activate(n, work, hidden, slope, curvature):
    """``h σ(h)`` in the place of ``h``, and its first two derivatives, n numbers each."""
    one, zero = constant(work, 1.0), constant(work, 0.0)
    for f in range(0, n, lanes_of(work)):
        h = load(work, hidden + f)
        gate = one / (one + exponential(zero - h))
        value = h * gate
        store(work, hidden + f, value)
        # silu' = σ + silu (1 − σ), silu'' = σ (1 − σ) (2 + h (1 − 2 σ))
        store(work, slope + f, gate + value - gate * value)
        rest = gate - gate * gate
        store(work, curvature + f, rest + rest + rest * (h - value - value))


@straight
def through_activation(n, work, before, slope, through):
    """``through = before ∘ slope``, n numbers each."""
    for f in range(0, n, lanes_of(work)):
        store(work, through + f, load(work, before + f) * load(work, slope + f))


@straight
def through_activation_backward(n, work, d_through, before, slope, curvature, d_hidden):
    """Derivatives through ``before ∘ slope``: by the hidden layer, and by ``before`` in the place of ``d_through``."""
    for f in range(0, n, lanes_of(work)):
        d = load(work, d_through + f)
        store(work, d_hidden + f, d * load(work, before + f) * load(work, curvature + f))
        store(work, d_through + f, d * load(work, slope + f))


@straight
def add_product(n, work, into, a, b):
    """``into += a ∘ b``, n numbers each."""
    for f in range(0, n, lanes_of(work)):
        store(work, into + f, load(work, into + f) + load(work, a + f) * load(work, b + f))


@straight
def add_column_sums(rows, columns, work, a, pitch, into):
    """``into += Σ_i a_i``."""
    for f in range(0, columns, lanes_of(work)):
        collected = load(work, into + f)
        for i in range(rows):
            collected = collected + load(work, a + i * pitch + f)
        store(work, into + f, collected)


@straight
def mixed_bars_backward(
    rows, f, parts, work, s_bar, mixed, gates, entry, entry_bar, d_bars, d_s_mid, d_entry, d_norm, d_share, d_mixed
):
    """Derivatives through `numba_atoms.mixed_bars`, up to what goes through the gates.

    Args:
        d_bars: (rows, 3, 2F) derivative by its ``bars``.
        d_s_mid: derivative by its ``below``.
        d_entry: becomes that by ``entry_bar`` (rows, 2F).
        d_norm, d_share, d_mixed: become those by the norm, by ``s̄ b`` and by ``mixed``.
    """
    zero = constant(work, 0.0)
    for i in range(rows):
        for c in range(0, f, lanes_of(work)):
            s, n = i * f + c, (2 * i + 1) * f + c
            norm = load(work, entry + n)
            share = load(work, s_bar + s) * load(work, gates + parts * i * f + f + c)
            ratio = load(work, entry_bar + n) / norm
            by_share = by_norm = zero
            for k in range(3):
                m = (6 * i + 2 * k) * f + c
                u, v = load(work, mixed + m), load(work, mixed + m + f)
                p, q = load(work, d_bars + m), load(work, d_bars + m + f)
                by_share = by_share + p * v + q * u
                by_norm = by_norm + q * v
                store(work, d_mixed + m, share * q)
                store(work, d_mixed + m + f, share * p + ratio * q)
            by_norm = by_norm / norm
            store(work, d_norm + s, zero - by_norm * ratio)
            store(work, d_share + s, by_share)
            store(work, d_entry + n, by_norm)
            store(work, d_entry + n - f, load(work, d_s_mid + s))


@straight
def gate_bars_backward(
    rows, f, parts, work, s_bar, v_bar, mixed, gates, d_gate_bar, d_share, d_bars, d_s_mid, d_v_mid, d_product, d_gates,
    d_mixed, d_s, d_v,
):  # fmt: skip
    """Derivatives through `numba_atoms.gate_bars` and the direct paths.

    Args:
        d_product, d_gates: become the derivatives by ``Uv·Vv`` and by the gates.
        d_mixed: is added to.
        d_s, d_v: become the derivatives by ``s_bar`` and ``v_bar``.
    """
    for i in range(rows):
        for c in range(0, f, lanes_of(work)):
            s, g = i * f + c, parts * i * f + c
            bar, by_product = load(work, s_bar + s), load(work, d_gate_bar + g + f)
            share = load(work, d_share + s)
            product = by_gate = constant(work, 0.0)
            for k in range(3):
                m, v = (6 * i + 2 * k) * f + c, (3 * i + k) * f + c
                u = load(work, mixed + m)
                product = product + u * load(work, mixed + m + f)
                if parts == 3:
                    by_bar, p, b = load(work, d_gate_bar + g + 2 * f), load(work, d_bars + m), load(work, v_bar + v)
                    by_gate = by_gate + p * b
                    store(work, d_mixed + m, load(work, d_mixed + m) + by_bar * b)
                    new = load(work, d_v_mid + v) + p * load(work, gates + g + 2 * f) + by_bar * u
                    store(work, d_v + v, new)
            new = load(work, d_s_mid + s) + load(work, d_gate_bar + g)
            new = new + by_product * product + share * load(work, gates + g + f)
            store(work, d_s + s, new)
            store(work, d_product + s, by_product * bar)
            store(work, d_gates + g, constant(work, 0.0))
            store(work, d_gates + g + f, share * bar)
            if parts == 3:
                store(work, d_gates + g + 2 * f, by_gate)


@straight
def gates_backward(rows, f, parts, work, d_s, d_v, mixed, gates, d_product, d_gates, d_mixed):
    """Derivatives through `numba_atoms.apply_gates`, added to the last three."""
    for i in range(rows):
        for c in range(0, f, lanes_of(work)):
            s, g = i * f + c, parts * i * f + c
            d = load(work, d_s + s)
            product = by_gate = constant(work, 0.0)
            for k in range(3):
                m = (6 * i + 2 * k) * f + c
                u = load(work, mixed + m)
                product = product + u * load(work, mixed + m + f)
                if parts == 3:
                    t = load(work, d_v + (3 * i + k) * f + c)
                    by_gate = by_gate + t * u
                    store(work, d_mixed + m, load(work, d_mixed + m) + t * load(work, gates + g + 2 * f))
            store(work, d_gates + g, load(work, d_gates + g) + d)
            store(work, d_gates + g + f, load(work, d_gates + g + f) + d * product)
            store(work, d_product + s, load(work, d_product + s) + d * load(work, gates + g + f))
            if parts == 3:
                store(work, d_gates + g + 2 * f, load(work, d_gates + g + 2 * f) + by_gate)


@straight
def gate_input_backward(rows, f, work, mixed, entry, d_norm, d_entry, d_product, d_s, d_mixed, d_s_mid):
    """Derivatives through `numba_atoms.gate_input`; adds to ``d_mixed``."""
    for i in range(rows):
        for c in range(0, f, lanes_of(work)):
            s, n = i * f + c, (2 * i + 1) * f + c
            by_length = (load(work, d_entry + n) + load(work, d_norm + s)) / load(work, entry + n)
            by_product = load(work, d_product + s)
            for k in range(3):
                m = (6 * i + 2 * k) * f + c
                u, v = load(work, mixed + m), load(work, mixed + m + f)
                store(work, d_mixed + m, load(work, d_mixed + m) + by_product * v)
                store(work, d_mixed + m + f, load(work, d_mixed + m + f) + by_product * u + by_length * v)
            store(work, d_s_mid + s, load(work, d_s + s) + load(work, d_entry + n - f))


@straight
def read_out(rows, width, work, weights, bias, hidden, slope, through, outputs):
    """``w · silu(h) + b`` of every row into ``outputs``, and its derivative by ``h``."""
    for i in range(rows):
        collected = constant(work, 0.0)
        for f in range(0, width, lanes_of(work)):
            h, weight = i * width + f, load(work, weights + f)
            collected = collected + weight * load(work, hidden + h)
            store(work, through + h, weight * load(work, slope + h))
        work[outputs + i] = total(collected) + work[bias]


@straight
def read_out_backward(rows, width, work, weights, value, slope, curvature, d_outputs, d_through, d_hidden, by_weights):
    """Derivatives through `read_out`: by the hidden layer, and by the weights of every row (rows, width).

    Args:
        d_outputs: derivative of the loss by the outputs, one per row.
        d_through: by ``through``.
    """
    for i in range(rows):
        d = spread(work, d_outputs + i)
        for f in range(0, width, lanes_of(work)):
            h, weight = i * width + f, load(work, weights + f)
            bar, along = load(work, d_through + h), load(work, slope + h)
            store(work, d_hidden + h, weight * (bar * load(work, curvature + h) + d * along))
            store(work, by_weights + h, bar * along + d * load(work, value + h))
