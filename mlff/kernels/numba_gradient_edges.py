"""Message passing with filters as they are, its reverse sweep, and both their derivatives: the edges during training.

A filter that is being learnt has no table, so the filters ``W`` and their slopes ``W'`` are products of the radial
features with the filter's weights, made beforehand. They are functions of the distance, so an edge and its reverse
share them: ``pairs`` (n_edges) says which are an edge's. One row of the sorted edge list belongs to one thread, which
alone writes that row's results. The equations are in docs/forces.md.

All numbers such as ``phi`` say where in the flat array ``work`` something of all atoms, or all pairs, begins: rows of F
or 3F numbers per atom, of 3F per pair. ``parts`` is 2 in the first block, where the vectors are zero and neither
features nor filters have a third part. Edges have unit vectors ``direction`` (3 each); four numbers per edge in
``d_sums`` are derivatives of the loss by ``d̄`` and ``n̄``.
"""

from __future__ import annotations

from mlff.kernels.vectors import constant, four_sums, lanes_of, load, spread, store, straight


@straight
def messages(first, last, f, parts, start, senders, pairs, work, direction, filters, phi, v, s, new_s, new_v):
    """``s`` and ``v`` of some rows after a message block."""
    for i in range(first, last):
        for c in range(i * f, (i + 1) * f, lanes_of(work)):
            own = 2 * i * f + c
            ds = load(work, s + c)
            d0, d1, d2 = load(work, v + own), load(work, v + own + f), load(work, v + own + 2 * f)
            for e in range(start[i], start[i + 1]):
                n, j = direction + 3 * e, 3 * senders[e] * f + c - i * f
                p, w = phi + j, filters + 3 * pairs[e] * f + c - i * f
                ds = ds + load(work, p) * load(work, w)
                radial = load(work, p + f) * load(work, w + f)
                d0 = d0 + spread(work, n) * radial
                d1 = d1 + spread(work, n + 1) * radial
                d2 = d2 + spread(work, n + 2) * radial
                if parts == 3:
                    vector, q = load(work, p + 2 * f) * load(work, w + 2 * f), v + j
                    d0 = d0 + vector * load(work, q)
                    d1 = d1 + vector * load(work, q + f)
                    d2 = d2 + vector * load(work, q + 2 * f)
            store(work, new_s + c, ds)
            store(work, new_v + own, d0)
            store(work, new_v + own + f, d1)
            store(work, new_v + own + 2 * f, d2)


@straight
def messages_reverse(
    first, last, f, parts, start, senders, pairs, work, direction, filters, slopes, phi, v, s_bar, v_bar, phi_bar,
    new_v_bar, sums, add,
):  # fmt: skip
    """The reverse sweep of `messages` for some rows, which are senders here.

    Args:
        slopes: where the slopes of the filters begin.
        s_bar, v_bar: derivatives by the results of `messages`.
        phi_bar, new_v_bar: derivatives by the features, and by the vectors with those in ``v_bar`` in them.
        sums: (width per edge) sums over channels of ``d̄`` and ``n̄`` of the reversed edge, lanes ``4 n`` to ``4 n + 3``.
        add: whether ``sums`` are added to.
    """
    width = lanes_of(work)
    for i in range(first, last):
        for c in range(0, f, width):
            p, own = phi + 3 * i * f + c, 3 * i * f + c
            phi_s, phi_r, phi_v = load(work, p), load(work, p + f), load(work, p + 2 * f)
            v0, v1, v2 = load(work, v + own), load(work, v + own + f), load(work, v + own + 2 * f)
            d0, d1, d2 = load(work, v_bar + own), load(work, v_bar + own + f), load(work, v_bar + own + 2 * f)
            bar_s = bar_r = bar_v = constant(work, 0.0)
            for e in range(start[i], start[i + 1]):
                j, w, g = senders[e], filters + 3 * pairs[e] * f + c, slopes + 3 * pairs[e] * f + c
                scalar, t = load(work, s_bar + j * f + c), v_bar + 3 * j * f + c
                t0, t1, t2 = load(work, t), load(work, t + f), load(work, t + 2 * f)
                # minus what the reversed edge, whose unit vector is −n, does along itself
                n = direction + 3 * e
                radial = spread(work, n) * t0 + spread(work, n + 1) * t1 + spread(work, n + 2) * t2
                filter_r = load(work, w + f)
                bar_s = bar_s + scalar * load(work, w)
                bar_r = bar_r - radial * filter_r
                along = scalar * phi_s * load(work, g) - radial * phi_r * load(work, g + f)
                if parts == 3:
                    vector, filter_v = v0 * t0 + v1 * t1 + v2 * t2, load(work, w + 2 * f)
                    bar_v = bar_v + vector * filter_v
                    along = along + vector * phi_v * load(work, g + 2 * f)
                    sent = phi_v * filter_v
                    d0, d1, d2 = d0 + sent * t0, d1 + sent * t1, d2 + sent * t2
                sent = phi_r * filter_r
                sum_ = four_sums(along, sent * t0, sent * t1, sent * t2)
                if add or c > 0:
                    sum_ = sum_ + load(work, sums + e * width)
                store(work, sums + e * width, sum_)
            p, q = phi_bar + own, new_v_bar + own
            store(work, p, bar_s)
            store(work, p + f, bar_r)
            store(work, p + 2 * f, bar_v)
            store(work, q, d0)
            store(work, q + f, d1)
            store(work, q + 2 * f, d2)


@straight
def reverse_backward_as_senders(
    first, last, f, parts, start, senders, pairs, work, direction, filters, slopes, phi, v, s_bar, v_bar, d_sums,
    d_phi_bar, d_new_v_bar, d_phi, d_v, d_filters, d_slopes,
):  # fmt: skip
    """Derivatives of a loss through `messages_reverse` by what the rows and their edges have.

    Args:
        d_phi_bar, d_new_v_bar: derivatives of the loss by the results of `messages_reverse`.
        d_phi, d_v: derivatives by features and vectors.
        d_filters, d_slopes: (3F per edge of these rows) derivatives by filters and their slopes.
    """
    for i in range(first, last):
        for c in range(0, f, lanes_of(work)):
            own = 3 * i * f + c
            phi_s, phi_r = load(work, phi + own), load(work, phi + own + f)
            sum_s = sum_r = sum_v = sum0 = sum1 = sum2 = constant(work, 0.0)
            phi_v = v0 = v1 = v2 = g0 = g1 = g2 = g_s = g_r = g_v = constant(work, 0.0)
            if parts == 3:
                phi_v = load(work, phi + own + 2 * f)
                v0, v1, v2 = load(work, v + own), load(work, v + own + f), load(work, v + own + 2 * f)
                q, g = d_new_v_bar + own, d_phi_bar + own
                g0, g1, g2 = load(work, q), load(work, q + f), load(work, q + 2 * f)
                g_s, g_r, g_v = load(work, g), load(work, g + f), load(work, g + 2 * f)
            for e in range(start[i], start[i + 1]):
                j, w, n, m = senders[e], 3 * pairs[e] * f + c, direction + 3 * e, d_sums + 4 * e
                d = 3 * (e - start[first]) * f + c
                scalar, t = load(work, s_bar + j * f + c), v_bar + 3 * j * f + c
                t0, t1, t2 = load(work, t), load(work, t + f), load(work, t + 2 * f)
                radial = spread(work, n) * t0 + spread(work, n + 1) * t1 + spread(work, n + 2) * t2
                turned = spread(work, m + 1) * t0 + spread(work, m + 2) * t1 + spread(work, m + 3) * t2
                along = spread(work, m)
                sum_s = sum_s + along * load(work, slopes + w) * scalar
                sum_r = sum_r + load(work, filters + w + f) * turned - along * load(work, slopes + w + f) * radial
                store(work, d_slopes + d, along * scalar * phi_s)
                store(work, d_slopes + d + f, constant(work, 0.0) - along * radial * phi_r)
                store(work, d_filters + d, g_s * scalar)
                store(work, d_filters + d + f, phi_r * turned - g_r * radial)
                if parts == 3:
                    filter_v, slope_v = load(work, filters + w + 2 * f), along * load(work, slopes + w + 2 * f)
                    vector = v0 * t0 + v1 * t1 + v2 * t2
                    carried = g0 * t0 + g1 * t1 + g2 * t2
                    sum_v = sum_v + slope_v * vector + filter_v * carried
                    store(work, d_slopes + d + 2 * f, along * vector * phi_v)
                    store(work, d_filters + d + 2 * f, g_v * vector + phi_v * carried)
                    weight = g_v * filter_v + slope_v * phi_v
                    sum0, sum1, sum2 = sum0 + weight * t0, sum1 + weight * t1, sum2 + weight * t2
            store(work, d_phi + own, sum_s)
            store(work, d_phi + own + f, sum_r)
            store(work, d_phi + own + 2 * f, sum_v)
            store(work, d_v + own, sum0)
            store(work, d_v + own + f, sum1)
            store(work, d_v + own + 2 * f, sum2)


@straight
def reverse_backward_as_receivers(
    first, last, f, parts, start, senders, pairs, reverse, work, direction, filters, slopes, phi, v, d_sums, d_phi_bar,
    d_new_v_bar, d_s_above, d_s_bar, d_v_bar,
):  # fmt: skip
    """Derivatives of a loss through `messages_reverse` by ``s_bar`` and ``v_bar`` of some rows.

    Args:
        d_s_above: derivative by the scalars' own way past the block, which has ``s_bar`` in it.
        d_s_bar, d_v_bar: results, for these rows alone.
    """
    for i in range(first, last):
        for c in range(0, f, lanes_of(work)):
            d_s = d0 = d1 = d2 = constant(work, 0.0)
            if parts == 3:
                own = d_new_v_bar + 3 * i * f + c
                d_s = load(work, d_s_above + i * f + c)
                d0, d1, d2 = load(work, own), load(work, own + f), load(work, own + 2 * f)
            for e in range(start[i], start[i + 1]):
                j, w, n, m = 3 * senders[e] * f + c, 3 * pairs[e] * f + c, direction + 3 * e, d_sums + 4 * reverse[e]
                along = spread(work, m)
                phi_s, phi_r = load(work, phi + j), load(work, phi + j + f)
                filter_r = load(work, filters + w + f)
                radial = along * load(work, slopes + w + f) * phi_r
                d_s = d_s + along * load(work, slopes + w) * phi_s
                if parts == 3:
                    phi_v, filter_v = load(work, phi + j + 2 * f), load(work, filters + w + 2 * f)
                    g = d_phi_bar + j
                    d_s = d_s + load(work, g) * load(work, filters + w)
                    radial = radial + load(work, g + f) * filter_r
                    vector = load(work, g + 2 * f) * filter_v + along * load(work, slopes + w + 2 * f) * phi_v
                    sent, q = phi_v * filter_v, d_new_v_bar + j
                    d0 = d0 + load(work, v + j) * vector + sent * load(work, q)
                    d1 = d1 + load(work, v + j + f) * vector + sent * load(work, q + f)
                    d2 = d2 + load(work, v + j + 2 * f) * vector + sent * load(work, q + 2 * f)
                sent = phi_r * filter_r
                d0 = d0 + spread(work, n) * radial + sent * spread(work, m + 1)
                d1 = d1 + spread(work, n + 1) * radial + sent * spread(work, m + 2)
                d2 = d2 + spread(work, n + 2) * radial + sent * spread(work, m + 3)
            store(work, d_s_bar + (i - first) * f + c, d_s)
            q = d_v_bar + 3 * (i - first) * f + c
            store(work, q, d0)
            store(work, q + f, d1)
            store(work, q + 2 * f, d2)


@straight
def messages_backward(
    first, last, f, parts, start, senders, pairs, work, direction, filters, phi, v, d_s, d_v, d_phi, d_below, d_filters
):
    """Derivatives of a loss through `messages`, from those by its results ``d_s`` and ``d_v``.

    Args:
        d_phi: is added to.
        d_filters: (3F per edge of these rows) derivatives by the filters.
        d_below: derivative by the vectors, is added to; ``d_v`` of the row itself is in it afterwards.
    """
    for i in range(first, last):
        for c in range(0, f, lanes_of(work)):
            own = 3 * i * f + c
            v0, v1, v2 = load(work, v + own), load(work, v + own + f), load(work, v + own + 2 * f)
            g_s = load(work, d_s + i * f + c)
            g0, g1, g2 = load(work, d_v + own), load(work, d_v + own + f), load(work, d_v + own + 2 * f)
            p, b = d_phi + own, d_below + own
            sum_s, sum_r, sum_v = load(work, p), load(work, p + f), load(work, p + 2 * f)
            sum0, sum1, sum2 = load(work, b) + g0, load(work, b + f) + g1, load(work, b + 2 * f) + g2
            phi_v = load(work, phi + own + 2 * f)
            for e in range(start[i], start[i + 1]):
                j, w, n = 3 * senders[e] * f + c, 3 * pairs[e] * f + c, direction + 3 * e
                d = 3 * (e - start[first]) * f + c
                n0, n1, n2 = spread(work, n), spread(work, n + 1), spread(work, n + 2)
                t0, t1, t2 = load(work, d_v + j), load(work, d_v + j + f), load(work, d_v + j + 2 * f)
                # as receiver: what this edge's filter did for the row
                store(work, d_filters + d, g_s * load(work, phi + j))
                store(work, d_filters + d + f, (n0 * g0 + n1 * g1 + n2 * g2) * load(work, phi + j + f))
                # as sender of the reversed edge: what the row did for its neighbour
                sum_s = sum_s + load(work, d_s + senders[e] * f + c) * load(work, filters + w)
                sum_r = sum_r - (n0 * t0 + n1 * t1 + n2 * t2) * load(work, filters + w + f)
                if parts == 3:
                    q, filter_v = v + j, load(work, filters + w + 2 * f)
                    through = load(work, q) * g0 + load(work, q + f) * g1 + load(work, q + 2 * f) * g2
                    store(work, d_filters + d + 2 * f, through * load(work, phi + j + 2 * f))
                    sum_v = sum_v + (v0 * t0 + v1 * t1 + v2 * t2) * filter_v
                    vector = phi_v * filter_v
                    sum0, sum1, sum2 = sum0 + vector * t0, sum1 + vector * t1, sum2 + vector * t2
            store(work, p, sum_s)
            store(work, p + f, sum_r)
            store(work, p + 2 * f, sum_v)
            store(work, b, sum0)
            store(work, b + f, sum1)
            store(work, b + 2 * f, sum2)
