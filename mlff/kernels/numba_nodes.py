"""The elementwise parts of the node blocks and their derivatives, each as one pass over the atoms.

Between the matrix products of an update block (`mlff.student.blocks.Update`) stand a dozen small operations per sweep;
run one by one they cost more in calls than in arithmetic. The equations are in docs/forces.md, "The update block".

Arrays are C-contiguous with ``n = n_atoms`` and F channels. ``mixed`` (n, 3, 2F) holds first the ``U v`` and then the
``V v`` of every atom; ``gates`` (n, 2F) or (n, 3F) those of the scalars, of the product ``Uv·Vv``, and of the vectors,
which the last block lacks. A name with ``_bar`` is a derivative of the summed energy, one with ``d_`` of the loss.
"""

from __future__ import annotations

import numba
import numpy as np

from mlff.kernels import numba_cpu

_atom = numba_cpu.edge_loop
_rows = numba_cpu.row_loop


@_atom
def _silu_row(hidden, gate, value, slope, curvature):
    for f in range(hidden.shape[0]):
        h, g = hidden[f], gate[f]
        v = h * g
        value[f] = v
        # silu' = σ + silu (1 − σ), silu'' = σ (1 − σ) (2 + h (1 − 2 σ)); a constant would make them float64
        slope[f] = g + v - g * v
        rest = g - g * g
        curvature[f] = rest + rest + rest * (h - v - v)


@_rows
def silu(hidden, gate, value, slope, curvature):
    """``h σ(h)`` and its first two derivatives, from ``h`` and ``σ(h)``, all (n, width)."""
    for i in numba.prange(hidden.shape[0]):
        _silu_row(hidden[i], gate[i], value[i], slope[i], curvature[i])


@_atom
def _perceptron_row(d_through, before, slope, curvature, d_hidden, d_before):
    for f in range(before.shape[0]):
        d_hidden[f] = d_through[f] * before[f] * curvature[f]
        d_before[f] = d_through[f] * slope[f]


@_rows
def perceptron_reverse_backward(d_through, before, slope, curvature, d_hidden, d_before):
    """From the derivative by ``through = before ∘ slope`` to those by the hidden layer and by ``before``."""
    for i in numba.prange(before.shape[0]):
        _perceptron_row(d_through[i], before[i], slope[i], curvature[i], d_hidden[i], d_before[i])


@_atom
def _gate_input_row(scalars, m0, m1, m2, floor, entry, norm, product):
    channels = scalars.shape[0]
    for f in range(channels):
        v0, v1, v2 = m0[channels + f], m1[channels + f], m2[channels + f]
        length = np.sqrt(v0 * v0 + v1 * v1 + v2 * v2 + floor[0])
        norm[f] = length
        product[f] = m0[f] * v0 + m1[f] * v1 + m2[f] * v2
        entry[f] = scalars[f]
        entry[channels + f] = length


@_rows
def gate_input(scalars, mixed, floor, entry, norm, product):
    """What the gates see, ``(s, |Vv|)`` (n, 2F), with the norm and the product ``Uv·Vv`` (n, F); ``floor`` is (1,)."""
    for i in numba.prange(scalars.shape[0]):
        _gate_input_row(scalars[i], mixed[i, 0], mixed[i, 1], mixed[i, 2], floor, entry[i], norm[i], product[i])


@_atom
def _scalar_row(scalars, gates, product, changed):
    channels = scalars.shape[0]
    for f in range(channels):
        changed[f] = scalars[f] + gates[f] + gates[channels + f] * product[f]


@_atom
def _vector_row(v, gates, first, changed):
    channels = v.shape[0]
    for f in range(channels):
        changed[f] = v[f] + gates[2 * channels + f] * first[f]


@_rows
def gated(scalars, vectors, mixed, gates, product, new_scalars, new_vectors):
    """``s + a + b (Uv·Vv)`` and ``v + c Uv``; vectors stay as they are where there is no gate for them."""
    for i in numba.prange(scalars.shape[0]):
        _scalar_row(scalars[i], gates[i], product[i], new_scalars[i])
        if gates.shape[1] == 3 * scalars.shape[1]:
            for k in range(3):
                _vector_row(vectors[i, k], gates[i], mixed[i, k], new_vectors[i, k])


@_atom
def _gate_bar_row(s_bar, product, gate_bar):
    channels = s_bar.shape[0]
    for f in range(channels):
        gate_bar[f] = s_bar[f]
        gate_bar[channels + f] = s_bar[f] * product[f]


@_atom
def _vector_gate_bar_row(b0, b1, b2, u0, u1, u2, gate_bar):
    channels = b0.shape[0]
    for f in range(channels):
        gate_bar[2 * channels + f] = b0[f] * u0[f] + b1[f] * u1[f] + b2[f] * u2[f]


@_rows
def gate_bars(s_bar, v_bar, mixed, product, gate_bar):
    """``∂(ΣE)/∂gates``: ``s̄``, ``s̄ (Uv·Vv)``, ``v̄·Uv``."""
    for i in numba.prange(s_bar.shape[0]):
        _gate_bar_row(s_bar[i], product[i], gate_bar[i])
        if gate_bar.shape[1] == 3 * s_bar.shape[1]:
            _vector_gate_bar_row(
                v_bar[i, 0], v_bar[i, 1], v_bar[i, 2], mixed[i, 0], mixed[i, 1], mixed[i, 2], gate_bar[i]
            )


@_atom
def _mixed_bar_row(s_bar, gates, entry_bar, norm, m, m_bar):
    channels = s_bar.shape[0]
    for f in range(channels):
        share = s_bar[f] * gates[channels + f]
        ratio = entry_bar[channels + f] / norm[f]
        m_bar[f] = share * m[channels + f]
        m_bar[channels + f] = share * m[f] + ratio * m[channels + f]


@_atom
def _add_gated_row(v_bar, gates, m_bar):
    channels = v_bar.shape[0]
    for f in range(channels):
        m_bar[f] += v_bar[f] * gates[2 * channels + f]


@_atom
def _sum_row(a, b, total):
    for f in range(a.shape[0]):
        total[f] = a[f] + b[f]


@_rows
def mixed_bars(s_bar, v_bar, gates, entry_bar, norm, mixed, mixed_bar, new_s_bar):
    """``∂(ΣE)/∂(Uv, Vv)`` (n, 3, 2F), and ``s̄`` below the block, from the gates' ``entry_bar`` (n, 2F)."""
    channels = s_bar.shape[1]
    for i in numba.prange(s_bar.shape[0]):
        for k in range(3):
            _mixed_bar_row(s_bar[i], gates[i], entry_bar[i], norm[i], mixed[i, k], mixed_bar[i, k])
            if gates.shape[1] == 3 * channels:
                _add_gated_row(v_bar[i, k], gates[i], mixed_bar[i, k])
        _sum_row(s_bar[i], entry_bar[i], new_s_bar[i])


@_atom
def _mixed_backward_row(s_bar, gates, entry_bar, norm, m0, m1, m2, g0, g1, g2, d_norm, d_share, d0, d1, d2):
    """Returns through ``d_norm[:F]`` the derivative by the norm, through ``d_norm[F:]`` that by its ``_bar``."""
    channels = s_bar.shape[0]
    for f in range(channels):
        share = s_bar[f] * gates[channels + f]
        ratio = entry_bar[channels + f] / norm[f]
        u0, u1, u2 = m0[f], m1[f], m2[f]
        v0, v1, v2 = m0[channels + f], m1[channels + f], m2[channels + f]
        p0, p1, p2 = g0[f], g1[f], g2[f]
        q0, q1, q2 = g0[channels + f], g1[channels + f], g2[channels + f]
        d_share[f] = p0 * v0 + p1 * v1 + p2 * v2 + q0 * u0 + q1 * u1 + q2 * u2
        d_norm_bar = (q0 * v0 + q1 * v1 + q2 * v2) / norm[f]
        d_norm[f] = -d_norm_bar * ratio
        d_norm[channels + f] = d_norm_bar
        d0[f], d1[f], d2[f] = share * q0, share * q1, share * q2
        d0[channels + f] = share * p0 + ratio * q0
        d1[channels + f] = share * p1 + ratio * q1
        d2[channels + f] = share * p2 + ratio * q2


@_rows
def mixed_bars_backward(s_bar, gates, entry_bar, norm, mixed, d_mixed_bar, d_s_bar, entry, d_norm, d_share, d_mixed):
    """Derivatives of the loss through `mixed_bars`, up to what goes through the gates.

    Writes the derivative by ``entry_bar`` into ``entry`` (n, 2F), by norm into ``d_norm`` (n, 2F; first half), by the
    share ``s̄ b`` into ``d_share`` (n, F), by ``mixed`` into ``d_mixed`` (n, 3, 2F).
    """
    channels = s_bar.shape[1]
    for i in numba.prange(s_bar.shape[0]):
        _mixed_backward_row(
            s_bar[i], gates[i], entry_bar[i], norm[i], mixed[i, 0], mixed[i, 1], mixed[i, 2],
            d_mixed_bar[i, 0], d_mixed_bar[i, 1], d_mixed_bar[i, 2], d_norm[i], d_share[i],
            d_mixed[i, 0], d_mixed[i, 1], d_mixed[i, 2],
        )  # fmt: skip
        entry[i, :channels] = d_s_bar[i]
        entry[i, channels:] = d_norm[i, channels:]


@_atom
def _gate_bars_backward_row(s_bar, gates, product, d_gate_bar, d_share, d_s_bar, d_product, d_gates, d_below):
    channels = s_bar.shape[0]
    for f in range(channels):
        d_product[f] = d_gate_bar[channels + f] * s_bar[f]
        d_gates[f] = 0
        d_gates[channels + f] = d_share[f] * s_bar[f]
        d_below[f] = (
            d_s_bar[f] + d_gate_bar[f] + d_gate_bar[channels + f] * product[f] + d_share[f] * gates[channels + f]
        )


@_atom
def _vector_gate_backward_row(v_bar, gates, d_gate_bar, u, d_m_bar, d_v_bar, d_gates, d_m, d_below):
    channels = v_bar.shape[0]
    for f in range(channels):
        bar = d_gate_bar[2 * channels + f]
        d_gates[2 * channels + f] += d_m_bar[f] * v_bar[f]
        d_m[f] += bar * v_bar[f]
        d_below[f] = d_v_bar[f] + d_m_bar[f] * gates[2 * channels + f] + bar * u[f]


@_rows
def gate_bars_backward(
    s_bar, v_bar, gates, product, mixed, d_gate_bar, d_share, d_mixed_bar, d_s_bar, d_v_bar,
    d_product, d_gates, d_mixed, d_s_below, d_v_below,
):  # fmt: skip
    """Derivatives of the loss through `gate_bars` and the direct paths; adds to ``d_mixed``."""
    channels = s_bar.shape[1]
    for i in numba.prange(s_bar.shape[0]):
        _gate_bars_backward_row(
            s_bar[i], gates[i], product[i], d_gate_bar[i], d_share[i], d_s_bar[i], d_product[i], d_gates[i],
            d_s_below[i],
        )  # fmt: skip
        if gates.shape[1] == 3 * channels:
            d_gates[i, 2 * channels :] = 0
            for k in range(3):
                _vector_gate_backward_row(
                    v_bar[i, k], gates[i], d_gate_bar[i], mixed[i, k], d_mixed_bar[i, k], d_v_bar[i, k],
                    d_gates[i], d_mixed[i, k], d_v_below[i, k],
                )  # fmt: skip


@_atom
def _gated_backward_row(d_s, gates, product, d_product, d_gates):
    channels = d_s.shape[0]
    for f in range(channels):
        d_gates[f] = d_s[f]
        d_gates[channels + f] += d_s[f] * product[f]
        d_product[f] += d_s[f] * gates[channels + f]


@_atom
def _gated_vector_backward_row(d_v, gates, u, d_gates, d_m):
    channels = d_v.shape[0]
    for f in range(channels):
        d_gates[2 * channels + f] += d_v[f] * u[f]
        d_m[f] += d_v[f] * gates[2 * channels + f]


@_rows
def gated_backward(d_s, d_v, gates, product, mixed, d_product, d_gates, d_mixed):
    """Derivatives of the loss through `gated`; adds to the three results."""
    for i in numba.prange(d_s.shape[0]):
        _gated_backward_row(d_s[i], gates[i], product[i], d_product[i], d_gates[i])
        if gates.shape[1] == 3 * d_s.shape[1]:
            for k in range(3):
                _gated_vector_backward_row(d_v[i, k], gates[i], mixed[i, k], d_gates[i], d_mixed[i, k])


@_atom
def _mixed_row(m, norm, d_norm, d_entry, d_product, d_m):
    channels = norm.shape[0]
    for f in range(channels):
        d_length = (d_entry[channels + f] + d_norm[f]) / norm[f]
        d_m[f] += d_product[f] * m[channels + f]
        d_m[channels + f] += d_product[f] * m[f] + d_length * m[channels + f]


@_rows
def gate_input_backward(mixed, norm, d_norm, d_entry, d_product, d_s, d_mixed, d_s_below):
    """Derivatives of the loss through `gate_input`; adds to ``d_mixed``."""
    for i in numba.prange(norm.shape[0]):
        for k in range(3):
            _mixed_row(mixed[i, k], norm[i], d_norm[i], d_entry[i], d_product[i], d_mixed[i, k])
        _sum_row(d_s[i], d_entry[i], d_s_below[i])
