"""Message passing along edges as loops over rows: the operations of `mlff.kernels.reference` and their derivatives.

One row of the sorted edge list belongs to one thread, which alone writes that row's results: no atomics, no per-edge
temporaries. The equations and their derivation are in docs/forces.md. Arrays are C-contiguous; ``features`` is
(n_atoms, parts, F) and ``filters`` (n_edges, parts, F) with parts (s, r, v), or (s, r) in the initial block where the
vectors are zero. A filter is a function of the distance, so an edge and its reverse have equal filters; the loops rely
on it.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core.cpu import CPUTargetOptions
from numba.core.options import TargetOptions

# a vectorised loop needs the promise that results do not overlap inputs; numba has the flag but no option for it
CPUTargetOptions.noalias = TargetOptions.Mapping("noalias")
setattr(numba.config, "THREADING_LAYER_PRIORITY", ["omp", "tbb", "workqueue"])  # noqa: B010 (numba's types lack it)

_FOR_ONE_EDGE: dict[str, Any] = {"error_model": "numpy", "noalias": True, "forceinline": True}
edge_loop = numba.njit(fastmath=True, cache=True, **_FOR_ONE_EDGE)
row_loop = numba.njit(parallel=True, fastmath=True, error_model="numpy", nogil=True, cache=True)


@edge_loop
def _message_edge(phi, v, w, n0, n1, n2, ds, dv):
    for f in range(ds.shape[0]):
        ds[f] += phi[0, f] * w[0, f]
        radial = phi[1, f] * w[1, f]
        vector = phi[2, f] * w[2, f]
        dv[0, f] += n0 * radial + vector * v[0, f]
        dv[1, f] += n1 * radial + vector * v[1, f]
        dv[2, f] += n2 * radial + vector * v[2, f]


@row_loop
def message(features, vectors, filters, direction, start, senders, scalar_change, vector_change):
    """`reference.message` for blocks with vectors."""
    for i in numba.prange(start.shape[0] - 1):
        scalar_change[i] = 0
        vector_change[i] = 0
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _message_edge(features[j], vectors[j], filters[e], n0, n1, n2, scalar_change[i], vector_change[i])


@edge_loop
def _initial_message_edge(phi, w, n0, n1, n2, ds, dv):
    for f in range(ds.shape[0]):
        ds[f] += phi[0, f] * w[0, f]
        radial = phi[1, f] * w[1, f]
        dv[0, f] += n0 * radial
        dv[1, f] += n1 * radial
        dv[2, f] += n2 * radial


@row_loop
def initial_message(features, filters, direction, start, senders, scalar_change, vector_change):
    """`reference.message` for the initial block."""
    for i in numba.prange(start.shape[0] - 1):
        scalar_change[i] = 0
        vector_change[i] = 0
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _initial_message_edge(features[j], filters[e], n0, n1, n2, scalar_change[i], vector_change[i])


@edge_loop
def _message_backward_edge(phi, phi_j, v, v_j, w, n0, n1, n2, gs, gs_j, gv, gv_j, d_phi, d_v, d_w):
    for f in range(gs.shape[0]):
        # as receiver: what this edge's filter did for the row
        along = n0 * gv[0, f] + n1 * gv[1, f] + n2 * gv[2, f]
        through = v_j[0, f] * gv[0, f] + v_j[1, f] * gv[1, f] + v_j[2, f] * gv[2, f]
        d_w[0, f] = gs[f] * phi_j[0, f]
        d_w[1, f] = along * phi_j[1, f]
        d_w[2, f] = through * phi_j[2, f]
        # as sender of the reversed edge: what the row did for its neighbour
        g0, g1, g2 = gv_j[0, f], gv_j[1, f], gv_j[2, f]
        d_phi[0, f] += gs_j[f] * w[0, f]
        d_phi[1, f] -= (n0 * g0 + n1 * g1 + n2 * g2) * w[1, f]
        d_phi[2, f] += (v[0, f] * g0 + v[1, f] * g1 + v[2, f] * g2) * w[2, f]
        vector = phi[2, f] * w[2, f]
        d_v[0, f] += vector * g0
        d_v[1, f] += vector * g1
        d_v[2, f] += vector * g2


@row_loop
def message_backward(features, vectors, filters, direction, start, senders, gs, gv, d_features, d_vectors, d_filters):
    """Derivatives of a loss through `message`, from those with respect to its results ``gs`` and ``gv``."""
    for i in numba.prange(start.shape[0] - 1):
        d_features[i] = 0
        d_vectors[i] = 0
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _message_backward_edge(
                features[i], features[j], vectors[i], vectors[j], filters[e], n0, n1, n2,
                gs[i], gs[j], gv[i], gv[j], d_features[i], d_vectors[i], d_filters[e],
            )  # fmt: skip


@edge_loop
def _initial_message_backward_edge(phi_j, w, n0, n1, n2, gs, gs_j, gv, gv_j, d_phi, d_w):
    for f in range(gs.shape[0]):
        d_w[0, f] = gs[f] * phi_j[0, f]
        d_w[1, f] = (n0 * gv[0, f] + n1 * gv[1, f] + n2 * gv[2, f]) * phi_j[1, f]
        d_phi[0, f] += gs_j[f] * w[0, f]
        d_phi[1, f] -= (n0 * gv_j[0, f] + n1 * gv_j[1, f] + n2 * gv_j[2, f]) * w[1, f]


@row_loop
def initial_message_backward(features, filters, direction, start, senders, gs, gv, d_features, d_filters):
    """Derivatives of a loss through `initial_message`."""
    for i in numba.prange(start.shape[0] - 1):
        d_features[i] = 0
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _initial_message_backward_edge(
                features[j], filters[e], n0, n1, n2, gs[i], gs[j], gv[i], gv[j], d_features[i], d_filters[e]
            )


@edge_loop
def _reverse_edge(phi, v, w, n0, n1, n2, s_bar, v_bar, phi_bar, through_bar, w_bar, n_bar):
    m0 = n0 * 0
    m1, m2 = m0, m0
    for f in range(s_bar.shape[0]):
        t0, t1, t2 = v_bar[0, f], v_bar[1, f], v_bar[2, f]
        scalar = s_bar[f]
        radial = -(n0 * t0 + n1 * t1 + n2 * t2)
        vector = v[0, f] * t0 + v[1, f] * t1 + v[2, f] * t2
        w_bar[0, f] = scalar * phi[0, f]
        w_bar[1, f] = radial * phi[1, f]
        w_bar[2, f] = vector * phi[2, f]
        phi_bar[0, f] += scalar * w[0, f]
        phi_bar[1, f] += radial * w[1, f]
        phi_bar[2, f] += vector * w[2, f]
        sent_radial = phi[1, f] * w[1, f]
        m0 += sent_radial * t0
        m1 += sent_radial * t1
        m2 += sent_radial * t2
        sent_vector = phi[2, f] * w[2, f]
        through_bar[0, f] += sent_vector * t0
        through_bar[1, f] += sent_vector * t1
        through_bar[2, f] += sent_vector * t2
    n_bar[0], n_bar[1], n_bar[2] = m0, m1, m2


@row_loop
def reverse(
    features, vectors, filters, direction, start, senders, s_bar, v_bar, phi_bar, through_bar, filter_bar, direction_bar
):
    """`reference.message_reverse` for blocks with vectors."""
    for i in numba.prange(start.shape[0] - 1):
        phi_bar[i] = 0
        through_bar[i] = 0
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _reverse_edge(
                features[i], vectors[i], filters[e], n0, n1, n2,
                s_bar[j], v_bar[j], phi_bar[i], through_bar[i], filter_bar[e], direction_bar[e],
            )  # fmt: skip


@edge_loop
def _initial_reverse_edge(phi, w, n0, n1, n2, s_bar, v_bar, w_bar, n_bar):
    m0 = n0 * 0
    m1, m2 = m0, m0
    for f in range(s_bar.shape[0]):
        t0, t1, t2 = v_bar[0, f], v_bar[1, f], v_bar[2, f]
        w_bar[0, f] = s_bar[f] * phi[0, f]
        w_bar[1, f] = -(n0 * t0 + n1 * t1 + n2 * t2) * phi[1, f]
        sent_radial = phi[1, f] * w[1, f]
        m0 += sent_radial * t0
        m1 += sent_radial * t1
        m2 += sent_radial * t2
    n_bar[0], n_bar[1], n_bar[2] = m0, m1, m2


@row_loop
def initial_reverse(features, filters, direction, start, senders, s_bar, v_bar, filter_bar, direction_bar):
    """`reference.message_reverse` for the initial block."""
    for i in numba.prange(start.shape[0] - 1):
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _initial_reverse_edge(
                features[i], filters[e], n0, n1, n2, s_bar[j], v_bar[j], filter_bar[e], direction_bar[e]
            )


@edge_loop
def _reverse_backward_sender(phi, v, w, n0, n1, n2, s, t, g_phi, g_v, g_w, g_n, d_phi, d_v, d_w):
    m0, m1, m2 = g_n[0], g_n[1], g_n[2]
    for f in range(s.shape[0]):
        t0, t1, t2 = t[0, f], t[1, f], t[2, f]
        radial = -(n0 * t0 + n1 * t1 + n2 * t2)
        vector = v[0, f] * t0 + v[1, f] * t1 + v[2, f] * t2
        turned = m0 * t0 + m1 * t1 + m2 * t2
        carried = g_v[0, f] * t0 + g_v[1, f] * t1 + g_v[2, f] * t2
        d_phi[0, f] += g_w[0, f] * s[f]
        d_phi[1, f] += g_w[1, f] * radial + w[1, f] * turned
        d_phi[2, f] += g_w[2, f] * vector + w[2, f] * carried
        d_w[0, f] = g_phi[0, f] * s[f]
        d_w[1, f] = g_phi[1, f] * radial + phi[1, f] * turned
        d_w[2, f] = g_phi[2, f] * vector + phi[2, f] * carried
        weight = g_phi[2, f] * w[2, f] + g_w[2, f] * phi[2, f]
        d_v[0, f] += weight * t0
        d_v[1, f] += weight * t1
        d_v[2, f] += weight * t2


@edge_loop
def _reverse_backward_receiver(phi, v, w, n0, n1, n2, g_phi, g_v, g_w, g_n, d_s, d_t):
    m0, m1, m2 = g_n[0], g_n[1], g_n[2]
    for f in range(d_s.shape[0]):
        d_s[f] += g_phi[0, f] * w[0, f] + g_w[0, f] * phi[0, f]
        radial = g_phi[1, f] * w[1, f] + g_w[1, f] * phi[1, f]
        vector = g_phi[2, f] * w[2, f] + g_w[2, f] * phi[2, f]
        sent_radial = phi[1, f] * w[1, f]
        sent_vector = phi[2, f] * w[2, f]
        d_t[0, f] += n0 * radial + v[0, f] * vector + sent_vector * g_v[0, f] + sent_radial * m0
        d_t[1, f] += n1 * radial + v[1, f] * vector + sent_vector * g_v[1, f] + sent_radial * m1
        d_t[2, f] += n2 * radial + v[2, f] * vector + sent_vector * g_v[2, f] + sent_radial * m2


@row_loop
def reverse_backward(
    features, vectors, filters, direction, start, senders, back, s_bar, v_bar,
    g_phi, g_through, g_filter, g_direction, d_features, d_vectors, d_filters, d_s_bar, d_v_bar,
):  # fmt: skip
    """Derivatives of a loss through `reverse`, from those with respect to its four results ``g_…``."""
    for i in numba.prange(start.shape[0] - 1):
        d_features[i] = 0
        d_vectors[i] = 0
        d_s_bar[i] = 0
        d_v_bar[i] = 0
        for e in range(start[i], start[i + 1]):
            j, q = senders[e], back[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _reverse_backward_sender(
                features[i], vectors[i], filters[e], n0, n1, n2, s_bar[j], v_bar[j],
                g_phi[i], g_through[i], g_filter[e], g_direction[e], d_features[i], d_vectors[i], d_filters[e],
            )  # fmt: skip
            _reverse_backward_receiver(
                features[j], vectors[j], filters[e], n0, n1, n2,
                g_phi[j], g_through[j], g_filter[q], g_direction[q], d_s_bar[i], d_v_bar[i],
            )  # fmt: skip


@edge_loop
def _initial_reverse_backward_edge(
    phi, phi_j, w, n0, n1, n2, s, t, g_w, g_w_back, g_n, g_n_back, d_phi, d_w, d_s, d_t
):  # fmt: skip
    m0, m1, m2 = g_n[0], g_n[1], g_n[2]
    k0, k1, k2 = g_n_back[0], g_n_back[1], g_n_back[2]
    for f in range(s.shape[0]):
        turned = m0 * t[0, f] + m1 * t[1, f] + m2 * t[2, f]
        d_phi[0, f] += g_w[0, f] * s[f]
        d_phi[1, f] += w[1, f] * turned - g_w[1, f] * (n0 * t[0, f] + n1 * t[1, f] + n2 * t[2, f])
        d_w[0, f] = 0
        d_w[1, f] = phi[1, f] * turned
        d_s[f] += g_w_back[0, f] * phi_j[0, f]
        radial = g_w_back[1, f] * phi_j[1, f]
        sent_radial = phi_j[1, f] * w[1, f]
        d_t[0, f] += n0 * radial + sent_radial * k0
        d_t[1, f] += n1 * radial + sent_radial * k1
        d_t[2, f] += n2 * radial + sent_radial * k2


@row_loop
def initial_reverse_backward(
    features, filters, direction, start, senders, back, s_bar, v_bar,
    g_filter, g_direction, d_features, d_filters, d_s_bar, d_v_bar,
):  # fmt: skip
    """Derivatives of a loss through `initial_reverse`."""
    for i in numba.prange(start.shape[0] - 1):
        d_features[i] = 0
        d_s_bar[i] = 0
        d_v_bar[i] = 0
        for e in range(start[i], start[i + 1]):
            j, q = senders[e], back[e]
            n0, n1, n2 = direction[e, 0], direction[e, 1], direction[e, 2]
            _initial_reverse_backward_edge(
                features[i], features[j], filters[e], n0, n1, n2, s_bar[j], v_bar[j],
                g_filter[e], g_filter[q], g_direction[e], g_direction[q],
                d_features[i], d_filters[e], d_s_bar[i], d_v_bar[i],
            )  # fmt: skip
