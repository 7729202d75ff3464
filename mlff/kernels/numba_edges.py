"""Inference along edges: distances, messages, their reverse sweep and forces, a few rows of the edge list at a time.

The equations are those of `mlff.kernels.reference`; here the filters come from the tables of `mlff.kernels.tables`
while they are used, one register of channels after another, and nothing is stored per edge and channel. All arrays are
flat. Rows of features are F channels long, a row per atom and part; ``work`` holds all features, and numbers such as
``phi`` say where in it something begins.

A record of an edge has `RECORD` numbers: six weights of the spline, six of its derivative, the unit vector, 1/d. Edges
of the skin, beyond the cutoff, have no record: the records of atom i begin at ``start[i]`` and are ``count[i]`` many.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from mlff.kernels.vectors import (
    Lanes,
    address,
    constant,
    four_sums,
    lanes_of,
    load,
    load_lanes,
    spread,
    spread_value,
    store,
    straight,
)

RECORD = 16
SLOPE, UNIT, INVERSE = 6, 12, 15


@intrinsic
def _spline(typing_context, records, record, table, place, step):
    """``Σ_q weight_q · c_q``: six weights from ``records``, six registers of coefficients ``step`` apart."""
    lanes = Lanes(table.dtype)

    def generate(context, builder, signature, arguments):
        records_, record_, table_, place_, step_ = arguments
        weights = address(context, builder, records, records_, record_)
        pointer = address(context, builder, table, table_, place_)
        value = None
        for q in range(6):
            weight = spread_value(builder, lanes, builder.load(builder.gep(weights, [ir.Constant(record_.type, q)])))
            product = builder.fmul(weight, load_lanes(builder, lanes, pointer), flags=("contract",))
            value = product if value is None else builder.fadd(value, product, flags=("contract",))
            pointer = builder.gep(pointer, [step_])
        return value

    return lanes(records, types.intp, table, types.intp, types.intp), generate


@straight
def spline_weights(t, inverse_spacing, records, r):
    """Weights of the six B-splines at the part ``t`` of an interval, and of their derivatives."""
    w0, w1, w2, w3, w4, w5 = 1.0 - t, t, 0.0, 0.0, 0.0, 0.0
    for p in range(2, 6):
        if p == 5:
            s = inverse_spacing
            records[r + SLOPE] = -w0 * s
            records[r + SLOPE + 1] = (w0 - w1) * s
            records[r + SLOPE + 2] = (w1 - w2) * s
            records[r + SLOPE + 3] = (w2 - w3) * s
            records[r + SLOPE + 4] = (w3 - w4) * s
            records[r + SLOPE + 5] = w4 * s
        # de Boor's recurrence on equal intervals, from the last weight to the first
        w5 = (t + p - 5) * w4 / p
        w4 = ((t + p - 4) * w3 + (5 - t) * w4) / p
        w3 = ((t + p - 3) * w2 + (4 - t) * w3) / p
        w2 = ((t + p - 2) * w1 + (3 - t) * w2) / p
        w1 = ((t + p - 1) * w0 + (2 - t) * w1) / p
        w0 = (1 - t) * w0 / p
    records[r], records[r + 1], records[r + 2] = w0, w1, w2
    records[r + 3], records[r + 4], records[r + 5] = w3, w4, w5


@straight
def measure_edges(
    first, last, positions, start, senders, offsets, table, records, atom, knot, wide, count, slopes, too_near, nearest
):
    """Make the records of some rows.

    Args:
        first, last: rows.
        positions: (3 n_atoms) Å.
        start, senders: the wide edge list.
        offsets: (3 n_edges) Å added to a sender, or nothing without periodicity.
        table: start, cutoff, number of intervals per Å, number of intervals.
        records, atom, knot, wide: of every record, its sender, interval and edge in the wide list.
        count: records of every row.
        slopes: (3 n_edges) set to zero.
        too_near: element 0 becomes an edge shorter than ``nearest``, plus one.
    """
    low, cutoff, per_angstrom, intervals = table[0], table[1], table[2], int(table[3])
    shifted = offsets.shape[0] > 0
    for i in range(first, last):
        n = start[i]
        for e in range(start[i], start[i + 1]):
            j = senders[e]
            x = positions[3 * j] - positions[3 * i]
            y = positions[3 * j + 1] - positions[3 * i + 1]
            z = positions[3 * j + 2] - positions[3 * i + 2]
            if shifted:
                x, y, z = x + offsets[3 * e], y + offsets[3 * e + 1], z + offsets[3 * e + 2]
            slopes[3 * e] = slopes[3 * e + 1] = slopes[3 * e + 2] = 0.0
            squared = x * x + y * y + z * z
            if squared >= cutoff * cutoff:
                continue
            distance = squared**0.5
            if not distance >= nearest:
                too_near[0] = e + 1
                continue
            place = (distance - low) * per_angstrom
            interval = min(int(place), intervals - 1)
            r = RECORD * n
            spline_weights(place - interval, per_angstrom, records, r)
            inverse = 1.0 / distance
            records[r + UNIT], records[r + UNIT + 1], records[r + UNIT + 2] = x * inverse, y * inverse, z * inverse
            records[r + INVERSE] = inverse
            atom[n], knot[n], wide[n] = j, interval, e
            n += 1
        count[i] = n - start[i]


@straight
def first_messages(
    first, last, channels, start, count, atom, knot, records, tables, knots, species, phi, embedding, work, s, v
):
    """``s`` and ``v`` of some rows after the first message, where ``φ`` is a table over species and ``v`` was zero.

    Args:
        tables: filters (F / width, knots, 2, width).
        knots: how many.
        phi: (species, 2F) features.
        embedding: (species, F).
        s, v: where in ``work`` the results of all rows, and of these rows, begin.
    """
    width = lanes_of(work)
    for c in range(channels // width):
        f = c * width
        table = c * knots * 2 * width
        for i in range(first, last):
            ds = load(embedding, species[i] * channels + f)
            d0 = d1 = d2 = constant(work, 0.0)
            for e in range(start[i], start[i] + count[i]):
                r, b = RECORD * e, table + knot[e] * 2 * width
                p = species[atom[e]] * 2 * channels + f
                ds = ds + load(phi, p) * _spline(records, r, tables, b, 2 * width)
                radial = load(phi, p + channels) * _spline(records, r, tables, b + width, 2 * width)
                d0 = d0 + spread(records, r + UNIT) * radial
                d1 = d1 + spread(records, r + UNIT + 1) * radial
                d2 = d2 + spread(records, r + UNIT + 2) * radial
            store(work, s + i * channels + f, ds)
            q = v + 3 * (i - first) * channels + f
            store(work, q, d0)
            store(work, q + channels, d1)
            store(work, q + 2 * channels, d2)


@straight
def messages(first, last, channels, start, count, atom, knot, records, tables, knots, work, phi, v, s, changed):
    """``s`` and ``v`` of some rows after a message block.

    Args:
        tables: filters (F / width, knots, 3, width).
        phi, v: where in ``work`` the features (3F per atom) and vectors of all atoms begin.
        s, changed: where the scalars of all rows begin, which change, and the new vectors of these rows.
    """
    width = lanes_of(work)
    for c in range(channels // width):
        f = c * width
        table = c * knots * 3 * width
        for i in range(first, last):
            own = v + 3 * i * channels + f
            ds = load(work, s + i * channels + f)
            d0, d1, d2 = load(work, own), load(work, own + channels), load(work, own + 2 * channels)
            for e in range(start[i], start[i] + count[i]):
                r, b, j = RECORD * e, table + knot[e] * 3 * width, atom[e]
                p, q = phi + 3 * j * channels + f, v + 3 * j * channels + f
                ds = ds + load(work, p) * _spline(records, r, tables, b, 3 * width)
                radial = load(work, p + channels) * _spline(records, r, tables, b + width, 3 * width)
                vector = load(work, p + 2 * channels) * _spline(records, r, tables, b + 2 * width, 3 * width)
                d0 = d0 + spread(records, r + UNIT) * radial + vector * load(work, q)
                d1 = d1 + spread(records, r + UNIT + 1) * radial + vector * load(work, q + channels)
                d2 = d2 + spread(records, r + UNIT + 2) * radial + vector * load(work, q + 2 * channels)
            store(work, s + i * channels + f, ds)
            q = changed + 3 * (i - first) * channels + f
            store(work, q, d0)
            store(work, q + channels, d1)
            store(work, q + 2 * channels, d2)


@straight
def messages_reverse(
    first, last, channels, start, count, atom, knot, records, tables, knots, work, phi, v, s_bar, v_bar,
    phi_bar, through, sums, add,
):  # fmt: skip
    """The reverse sweep of `messages` for some rows, which are senders here.

    Args:
        tables, phi, v: as given to `messages`.
        s_bar, v_bar: where in ``work`` the derivatives of all atoms begin.
        phi_bar: where the derivatives by the features of these rows go (3F per atom).
        through: where those by the vectors of these rows go, with ``v_bar`` of the row itself in them.
        sums: (width per record) sums over channels of the slopes of this record's edge along and across it, lanes
            ``4 n`` up to ``4 n + 3``.
        add: whether ``sums`` are added to.
    """
    width = lanes_of(work)
    for c in range(channels // width):
        f = c * width
        table = c * knots * 3 * width
        for i in range(first, last):
            p, q = phi + 3 * i * channels + f, v + 3 * i * channels + f
            phi_s, phi_r, phi_v = load(work, p), load(work, p + channels), load(work, p + 2 * channels)
            v0, v1, v2 = load(work, q), load(work, q + channels), load(work, q + 2 * channels)
            own = v_bar + 3 * i * channels + f
            d0, d1, d2 = load(work, own), load(work, own + channels), load(work, own + 2 * channels)
            bar_s = bar_r = bar_v = constant(work, 0.0)
            for e in range(start[i], start[i] + count[i]):
                r, b, j = RECORD * e, table + knot[e] * 3 * width, atom[e]
                n0, n1, n2 = spread(records, r + UNIT), spread(records, r + UNIT + 1), spread(records, r + UNIT + 2)
                scalar, t = load(work, s_bar + j * channels + f), v_bar + 3 * j * channels + f
                t0, t1, t2 = load(work, t), load(work, t + channels), load(work, t + 2 * channels)
                # minus what the reversed edge, whose unit vector is −n, does along itself
                radial = n0 * t0 + n1 * t1 + n2 * t2
                vector = v0 * t0 + v1 * t1 + v2 * t2
                along = scalar * phi_s * _spline(records, r + SLOPE, tables, b, 3 * width)
                along = along - radial * phi_r * _spline(records, r + SLOPE, tables, b + width, 3 * width)
                along = along + vector * phi_v * _spline(records, r + SLOPE, tables, b + 2 * width, 3 * width)
                filter_r = _spline(records, r, tables, b + width, 3 * width)
                filter_v = _spline(records, r, tables, b + 2 * width, 3 * width)
                bar_s = bar_s + scalar * _spline(records, r, tables, b, 3 * width)
                bar_r = bar_r - radial * filter_r
                bar_v = bar_v + vector * filter_v
                sent_radial, sent_vector = phi_r * filter_r, phi_v * filter_v
                d0, d1, d2 = d0 + sent_vector * t0, d1 + sent_vector * t1, d2 + sent_vector * t2
                sum_ = four_sums(along, sent_radial * t0, sent_radial * t1, sent_radial * t2)
                if add or c > 0:
                    sum_ = sum_ + load(sums, e * width)
                store(sums, e * width, sum_)
            p, q = phi_bar + 3 * (i - first) * channels + f, through + 3 * (i - first) * channels + f
            store(work, p, bar_s)
            store(work, p + channels, bar_r)
            store(work, p + 2 * channels, bar_v)
            store(work, q, d0)
            store(work, q + channels, d1)
            store(work, q + 2 * channels, d2)


@straight
def first_messages_reverse(
    first, last, channels, start, count, atom, knot, records, tables, knots, species, phi, work, s_bar, v_bar, sums, add
):
    """The reverse sweep of `first_messages` for some rows: only the slopes of their edges depend on positions."""
    width = lanes_of(work)
    for c in range(channels // width):
        f = c * width
        table = c * knots * 2 * width
        for i in range(first, last):
            p = species[i] * 2 * channels + f
            phi_s, phi_r = load(phi, p), load(phi, p + channels)
            for e in range(start[i], start[i] + count[i]):
                r, b, j = RECORD * e, table + knot[e] * 2 * width, atom[e]
                t = v_bar + 3 * j * channels + f
                t0, t1, t2 = load(work, t), load(work, t + channels), load(work, t + 2 * channels)
                radial = spread(records, r + UNIT) * t0 + spread(records, r + UNIT + 1) * t1
                radial = radial + spread(records, r + UNIT + 2) * t2
                along = load(work, s_bar + j * channels + f) * phi_s * _spline(records, r + SLOPE, tables, b, 2 * width)
                along = along - radial * phi_r * _spline(records, r + SLOPE, tables, b + width, 2 * width)
                sent = phi_r * _spline(records, r, tables, b + width, 2 * width)
                sum_ = four_sums(along, sent * t0, sent * t1, sent * t2)
                if add or c > 0:
                    sum_ = sum_ + load(sums, e * width)
                store(sums, e * width, sum_)


@straight
def edge_slopes(first, last, start, count, wide, records, sums, width, scale, slopes):
    """``g_ji`` of the edges (i, j) of some rows, eV/Å, from the sums over channels: ``d̄ n + (n̄ − n (n·n̄)) / d`` with
    ``n → −n``."""
    for i in range(first, last):
        for e in range(start[i], start[i] + count[i]):
            along = m0 = m1 = m2 = 0.0
            for k in range(e * width, (e + 1) * width, 4):
                along, m0, m1, m2 = along + sums[k], m0 + sums[k + 1], m1 + sums[k + 2], m2 + sums[k + 3]
            r = RECORD * e
            n0, n1, n2 = float(records[r + UNIT]), float(records[r + UNIT + 1]), float(records[r + UNIT + 2])
            inverse = float(records[r + INVERSE])
            along += (n0 * m0 + n1 * m1 + n2 * m2) * inverse
            g = 3 * wide[e]
            slopes[g] = (m0 * inverse - along * n0) * scale
            slopes[g + 1] = (m1 * inverse - along * n1) * scale
            slopes[g + 2] = (m2 * inverse - along * n2) * scale


@straight
def row_forces(first, last, start, reverse, slopes, forces):
    """``F_i = Σ_j (g_ij − g_ji)`` of some rows, eV/Å."""
    for i in range(first, last):
        x = y = z = 0.0
        for e in range(start[i], start[i + 1]):
            a, b = 3 * reverse[e], 3 * e
            x += slopes[a] - slopes[b]
            y += slopes[a + 1] - slopes[b + 1]
            z += slopes[a + 2] - slopes[b + 2]
        forces[3 * i], forces[3 * i + 1], forces[3 * i + 2] = x, y, z


@straight
def row_virials(first, last, positions, start, senders, offsets, slopes, virials):
    """``Σ_j r_ji ⊗ g_ji`` of some rows (9 each), eV."""
    shifted = offsets.shape[0] > 0
    for i in range(first, last):
        for k in range(9):
            virials[9 * i + k] = 0.0
        for e in range(start[i], start[i + 1]):
            for a in range(3):
                x = positions[3 * senders[e] + a] - positions[3 * i + a]
                if shifted:
                    x += offsets[3 * e + a]
                for b in range(3):
                    virials[9 * i + 3 * a + b] -= x * slopes[3 * e + b]
