"""Messages along edges and their reverse sweep on a GPU, during inference: a program for the row of every atom.

The equations are those of `mlff.kernels.reference`, the tables those of `mlff.kernels.tables`: a filter is read from
the table while it is used, nothing is stored per edge and channel, and a row alone writes its results, so there are no
atomics and sums have one order. A table of fifth degree suits a GPU better than the radial functions themselves: six
rows of a few hundred that stay in the caches, whatever the number of radial functions, no sines, and one set of
coefficients for value and slope, which keeps the forces the exact derivative of the tabulated energy.

Rows of features are F channels long, one per atom and part; ``BLOCK`` is F rounded up to a power of two and ``EDGES``
the edges of a row that are worked on at once. Loop bounds come from memory, so a recorded graph stays right when the
edges change. The records of `mlff.kernels.triton_geometry.measure` come first among the arguments: those of atom i
begin at ``start[i]`` and are ``count[i]`` many.
"""

import triton
import triton.language as tl

from mlff.kernels.triton_language import part

TABLE_SCALE = 120
"""Coefficients of a table are divided by it, which leaves whole numbers in the polynomials below."""


@part
def _values(t):
    """120 times the weights of the six B-splines at the part ``t`` of an interval."""
    u = 1 - t
    squared, mirrored = t * t, u * u
    return (
        mirrored * mirrored * u,
        26 + t * (-50 + t * (20 + t * (20 + t * (-20 + t * 5)))),
        66 + squared * (-60 + squared * (30 - t * 10)),
        26 + t * (50 + t * (20 + t * (-20 + t * (-20 + t * 10)))),
        1 + t * (5 + t * (10 + t * (10 + t * (5 - t * 5)))),
        squared * squared * t,
    )


@part
def _derivatives(t):
    """The derivatives of `_values` by ``t``."""
    u = 1 - t
    squared, mirrored = t * t, u * u
    return (
        mirrored * mirrored * -5,
        -50 + t * (40 + t * (60 + t * (-80 + t * 25))),
        t * (-120 + squared * (120 - t * 50)),
        50 + t * (40 + t * (-60 + t * (-80 + t * 50))),
        5 + t * (20 + t * (30 + t * (20 - t * 25))),
        squared * squared * 5,
    )


@part
def _spline(weights, rows, channel, STEP: tl.constexpr):
    """``Σ_q weight_q · c_q`` with the coefficients ``STEP`` numbers apart."""
    total = weights[0] * tl.load(rows, mask=channel, other=0.0)
    for q in tl.static_range(1, 6):
        total += weights[q] * tl.load(rows + q * STEP, mask=channel, other=0.0)
    return total


@part
def _spline_and_slope(weights, steepness, rows, channel, STEP: tl.constexpr):
    """The same with two sets of weights and one reading of the coefficients."""
    coefficient = tl.load(rows, mask=channel, other=0.0)
    total, slope = weights[0] * coefficient, steepness[0] * coefficient
    for q in tl.static_range(1, 6):
        coefficient = tl.load(rows + q * STEP, mask=channel, other=0.0)
        total += weights[q] * coefficient
        slope += steepness[q] * coefficient
    return total, slope


@triton.jit
def first_messages(
    start, count, sender, knot, place, unit, table, species, phi, embedding, s, v,
    F: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """``s`` and ``v`` of a row after the first message, where ``φ`` is a table over species and ``v`` was zero.

    Args:
        table: (knots, 2, F) filters.
        species: (n_atoms,) int32.
        phi, embedding: (species, 2F) and (species, F).
        s, v: (n_atoms, F) and (n_atoms, 3, F) results.
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    channel = f < F
    begin = tl.load(start + i)
    end = begin + tl.load(count + i)
    ds = tl.zeros((EDGES, BLOCK), s.dtype.element_ty)
    d0, d1, d2 = ds, ds, ds
    at = begin
    while at < end:
        e = at + tl.arange(0, EDGES)[:, None]
        live = e < end
        here = live & channel
        j = tl.load(sender + e, mask=live, other=0)
        weights = _values(tl.load(place + e, mask=live, other=0.0))
        rows = table + tl.load(knot + e, mask=live, other=0) * (2 * F) + f
        p = phi + tl.load(species + j, mask=live, other=0) * (2 * F) + f
        ds += tl.load(p, mask=here, other=0.0) * _spline(weights, rows, channel, 2 * F)
        radial = tl.load(p + F, mask=here, other=0.0) * _spline(weights, rows + F, channel, 2 * F)
        d0 += tl.load(unit + 4 * e, mask=live, other=0.0) * radial
        d1 += tl.load(unit + 4 * e + 1, mask=live, other=0.0) * radial
        d2 += tl.load(unit + 4 * e + 2, mask=live, other=0.0) * radial
        at += EDGES
    own = tl.load(embedding + tl.load(species + i) * F + f, mask=channel, other=0.0)
    tl.store(s + i * F + f, own + tl.sum(ds, axis=0, keep_dims=True), mask=channel)
    to = v + i * 3 * F + f
    tl.store(to, tl.sum(d0, axis=0, keep_dims=True), mask=channel)
    tl.store(to + F, tl.sum(d1, axis=0, keep_dims=True), mask=channel)
    tl.store(to + 2 * F, tl.sum(d2, axis=0, keep_dims=True), mask=channel)


@triton.jit
def messages(
    start, count, sender, knot, place, unit, table, phi, v, s, changed,
    F: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """``s`` and the new vectors ``changed`` (n_atoms, 3, F) of a row after a message block.

    Args:
        table: (knots, 3, F) filters.
        phi, v: (n_atoms, 3F) features and (n_atoms, 3, F) vectors of all atoms.
        s: (n_atoms, F), which changes.
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    channel = f < F
    begin = tl.load(start + i)
    end = begin + tl.load(count + i)
    ds = tl.zeros((EDGES, BLOCK), s.dtype.element_ty)
    d0, d1, d2 = ds, ds, ds
    at = begin
    while at < end:
        e = at + tl.arange(0, EDGES)[:, None]
        live = e < end
        here = live & channel
        row = tl.load(sender + e, mask=live, other=0).to(tl.int64) * (3 * F) + f
        weights = _values(tl.load(place + e, mask=live, other=0.0))
        rows = table + tl.load(knot + e, mask=live, other=0) * (3 * F) + f
        ds += tl.load(phi + row, mask=here, other=0.0) * _spline(weights, rows, channel, 3 * F)
        radial = tl.load(phi + row + F, mask=here, other=0.0) * _spline(weights, rows + F, channel, 3 * F)
        vector = tl.load(phi + row + 2 * F, mask=here, other=0.0) * _spline(weights, rows + 2 * F, channel, 3 * F)
        d0 += tl.load(unit + 4 * e, mask=live, other=0.0) * radial
        d1 += tl.load(unit + 4 * e + 1, mask=live, other=0.0) * radial
        d2 += tl.load(unit + 4 * e + 2, mask=live, other=0.0) * radial
        d0 += vector * tl.load(v + row, mask=here, other=0.0)
        d1 += vector * tl.load(v + row + F, mask=here, other=0.0)
        d2 += vector * tl.load(v + row + 2 * F, mask=here, other=0.0)
        at += EDGES
    own = v + i * 3 * F + f
    to = changed + i * 3 * F + f
    tl.store(s + i * F + f, tl.load(s + i * F + f, mask=channel) + tl.sum(ds, axis=0, keep_dims=True), mask=channel)
    tl.store(to, tl.load(own, mask=channel) + tl.sum(d0, axis=0, keep_dims=True), mask=channel)
    tl.store(to + F, tl.load(own + F, mask=channel) + tl.sum(d1, axis=0, keep_dims=True), mask=channel)
    tl.store(to + 2 * F, tl.load(own + 2 * F, mask=channel) + tl.sum(d2, axis=0, keep_dims=True), mask=channel)


@triton.jit
def messages_reverse(
    start, count, sender, knot, place, unit, table, phi, v, s_bar, v_bar, phi_bar, through, sums,
    ADD: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The reverse sweep of `messages` for a row, which is the sender here.

    Args:
        table, phi, v: as given to `messages`.
        s_bar, v_bar: (n_atoms, F) and (n_atoms, 3, F) derivatives of all atoms.
        phi_bar: (n_atoms, 3F) derivatives by the features.
        through: (n_atoms, 3, F) derivatives by the vectors, with ``v_bar`` of the row itself in them.
        sums: (n_records, 4) sums over channels of the slope of this record's edge along and across it, float64.
        ADD: whether ``sums`` are added to.
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    channel = f < F
    begin = tl.load(start + i)
    end = begin + tl.load(count + i)
    own = i * 3 * F + f
    phi_s = tl.load(phi + own, mask=channel, other=0.0)
    phi_r = tl.load(phi + own + F, mask=channel, other=0.0)
    phi_v = tl.load(phi + own + 2 * F, mask=channel, other=0.0)
    v0 = tl.load(v + own, mask=channel, other=0.0)
    v1 = tl.load(v + own + F, mask=channel, other=0.0)
    v2 = tl.load(v + own + 2 * F, mask=channel, other=0.0)
    bar_s = tl.zeros((EDGES, BLOCK), phi.dtype.element_ty)
    bar_r, bar_v, d0, d1, d2 = bar_s, bar_s, bar_s, bar_s, bar_s
    at = begin
    while at < end:
        e = at + tl.arange(0, EDGES)[:, None]
        live = e < end
        here = live & channel
        j = tl.load(sender + e, mask=live, other=0).to(tl.int64) * F
        part = tl.load(place + e, mask=live, other=0.0)
        weights, steepness = _values(part), _derivatives(part)
        rows = table + tl.load(knot + e, mask=live, other=0) * (3 * F) + f
        scalar = tl.load(s_bar + j + f, mask=here, other=0.0)
        t = v_bar + 3 * j + f
        t0 = tl.load(t, mask=here, other=0.0)
        t1 = tl.load(t + F, mask=here, other=0.0)
        t2 = tl.load(t + 2 * F, mask=here, other=0.0)
        # minus what the reversed edge, whose unit vector is −n, does along itself
        radial = tl.load(unit + 4 * e, mask=live, other=0.0) * t0
        radial += tl.load(unit + 4 * e + 1, mask=live, other=0.0) * t1
        radial += tl.load(unit + 4 * e + 2, mask=live, other=0.0) * t2
        vector = v0 * t0 + v1 * t1 + v2 * t2
        filter_s, slope = _spline_and_slope(weights, steepness, rows, channel, 3 * F)
        along = scalar * phi_s * slope
        bar_s += scalar * filter_s
        filter_r, slope = _spline_and_slope(weights, steepness, rows + F, channel, 3 * F)
        along -= radial * phi_r * slope
        bar_r -= radial * filter_r
        filter_v, slope = _spline_and_slope(weights, steepness, rows + 2 * F, channel, 3 * F)
        along += vector * phi_v * slope
        bar_v += vector * filter_v
        sent = phi_v * filter_v
        d0 += sent * t0
        d1 += sent * t1
        d2 += sent * t2
        sent = phi_r * filter_r
        to = sums + 4 * e
        tl.store(to, _over_channels(along, to, live, ADD), mask=live)
        tl.store(to + 1, _over_channels(sent * t0, to + 1, live, ADD), mask=live)
        tl.store(to + 2, _over_channels(sent * t1, to + 2, live, ADD), mask=live)
        tl.store(to + 3, _over_channels(sent * t2, to + 3, live, ADD), mask=live)
        at += EDGES
    to = phi_bar + i * 3 * F + f
    tl.store(to, tl.sum(bar_s, axis=0, keep_dims=True), mask=channel)
    tl.store(to + F, tl.sum(bar_r, axis=0, keep_dims=True), mask=channel)
    tl.store(to + 2 * F, tl.sum(bar_v, axis=0, keep_dims=True), mask=channel)
    own = v_bar + i * 3 * F + f
    to = through + i * 3 * F + f
    tl.store(to, tl.load(own, mask=channel) + tl.sum(d0, axis=0, keep_dims=True), mask=channel)
    tl.store(to + F, tl.load(own + F, mask=channel) + tl.sum(d1, axis=0, keep_dims=True), mask=channel)
    tl.store(to + 2 * F, tl.load(own + 2 * F, mask=channel) + tl.sum(d2, axis=0, keep_dims=True), mask=channel)


@part
def _over_channels(values, before, live, ADD: tl.constexpr):
    """(EDGES, 1) sums over the channels in float64, added to those of the blocks above."""
    total = tl.sum(values, axis=1, keep_dims=True).to(tl.float64)
    if ADD:
        total += tl.load(before, mask=live, other=0.0)
    return total


@triton.jit
def first_messages_reverse(
    start, count, sender, knot, place, unit, wide, table, species, phi, s_bar, v_bar, sums, levels, slopes,
    ADD: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The reverse sweep of `first_messages` for a row, and with it the slopes of the row's reversed edges.

    ``g_ji = d̄ n + (n̄ − n (n·n̄)) / d`` with ``n → −n``, in eV/Å.

    Args:
        table, species, phi: as given to `first_messages`.
        s_bar, v_bar: as given to `messages_reverse`.
        sums: what the blocks above have collected, if ``ADD``.
        levels: as given to `mlff.kernels.triton_geometry.measure`.
        slopes: (n_edges, 3) of the wide list, float64.
    """
    i = tl.program_id(0).to(tl.int64)
    f = tl.arange(0, BLOCK)[None, :]
    channel = f < F
    begin = tl.load(start + i)
    end = begin + tl.load(count + i)
    own = phi + tl.load(species + i) * (2 * F) + f
    phi_s = tl.load(own, mask=channel, other=0.0)
    phi_r = tl.load(own + F, mask=channel, other=0.0)
    per_angstrom, scale = tl.load(levels + 2), tl.load(levels + 3)
    at = begin
    while at < end:
        e = at + tl.arange(0, EDGES)[:, None]
        live = e < end
        here = live & channel
        j = tl.load(sender + e, mask=live, other=0).to(tl.int64) * F
        part = tl.load(place + e, mask=live, other=0.0)
        weights, steepness = _values(part), _derivatives(part)
        rows = table + tl.load(knot + e, mask=live, other=0) * (2 * F) + f
        n0 = tl.load(unit + 4 * e, mask=live, other=0.0)
        n1 = tl.load(unit + 4 * e + 1, mask=live, other=0.0)
        n2 = tl.load(unit + 4 * e + 2, mask=live, other=0.0)
        t = v_bar + 3 * j + f
        t0 = tl.load(t, mask=here, other=0.0)
        t1 = tl.load(t + F, mask=here, other=0.0)
        t2 = tl.load(t + 2 * F, mask=here, other=0.0)
        radial = n0 * t0 + n1 * t1 + n2 * t2
        along = tl.load(s_bar + j + f, mask=here, other=0.0) * phi_s
        along *= _spline(steepness, rows, channel, 2 * F)
        filter_r, slope = _spline_and_slope(weights, steepness, rows + F, channel, 2 * F)
        along -= radial * phi_r * slope
        sent = phi_r * filter_r
        before = sums + 4 * e
        m0 = _over_channels(sent * t0, before + 1, live, ADD)
        m1 = _over_channels(sent * t1, before + 2, live, ADD)
        m2 = _over_channels(sent * t2, before + 3, live, ADD)
        inverse = tl.load(unit + 4 * e + 3, mask=live, other=0.0).to(tl.float64)
        d_bar = _over_channels(along, before, live, ADD) * per_angstrom + (n0 * m0 + n1 * m1 + n2 * m2) * inverse
        to = slopes + 3 * tl.load(wide + e, mask=live, other=0)
        tl.store(to, (m0 * inverse - d_bar * n0) * scale, mask=live)
        tl.store(to + 1, (m1 * inverse - d_bar * n1) * scale, mask=live)
        tl.store(to + 2, (m2 * inverse - d_bar * n2) * scale, mask=live)
        at += EDGES
