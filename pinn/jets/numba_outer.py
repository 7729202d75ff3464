"""Sums of outer products per point as loops; see `pinn.jets.outer_products`."""

from __future__ import annotations

import numba

from pinn.jets.numba_cpu import BLOCKS, LOOP

_row = numba.njit(forceinline=True, **LOOP)
_points = numba.njit(**BLOCKS)
_shared = numba.njit(parallel=True, **BLOCKS)


@_row
def _write_one(c, h, out):
    for i in range(h.shape[0]):
        out[i] = c * h[i]


@_row
def _add_one(c, h, out):
    for i in range(h.shape[0]):
        out[i] += c * h[i]


@_row
def _write_four(c0, c1, c2, c3, h0, h1, h2, h3, out):
    for i in range(out.shape[0]):
        out[i] = c0 * h0[i] + c1 * h1[i] + c2 * h2[i] + c3 * h3[i]


@_row
def _add_four(c0, c1, c2, c3, h0, h1, h2, h3, out):
    for i in range(out.shape[0]):
        out[i] += c0 * h0[i] + c1 * h1[i] + c2 * h2[i] + c3 * h3[i]


@_points
def _add_row(cotangent, inputs, k, add, row, column):
    """The products of one row of the network's points, in steps of four parts."""
    n_parts, _, n_in = inputs.shape
    for p in range(0, n_parts - n_parts % 4, 4):
        c0, c1, c2, c3 = cotangent[p, k], cotangent[p + 1, k], cotangent[p + 2, k], cotangent[p + 3, k]
        h0, h1, h2, h3 = inputs[p, k], inputs[p + 1, k], inputs[p + 2, k], inputs[p + 3, k]
        first = column
        for o in range(cotangent.shape[2]):
            out = row[first : first + n_in]
            if add or p:
                _add_four(c0[o], c1[o], c2[o], c3[o], h0, h1, h2, h3, out)
            else:
                _write_four(c0[o], c1[o], c2[o], c3[o], h0, h1, h2, h3, out)
            first += n_in
    for p in range(n_parts - n_parts % 4, n_parts):
        c0, h0 = cotangent[p, k], inputs[p, k]
        first = column
        for o in range(cotangent.shape[2]):
            out = row[first : first + n_in]
            if add or p:
                _add_one(c0[o], h0, out)
            else:
                _write_one(c0[o], h0, out)
            first += n_in


@_points
def _outer(cotangent, inputs, rows, add, start, stop, jacobian, column):
    for n in range(start, stop):
        for k in range(n * rows, (n + 1) * rows):
            _add_row(cotangent, inputs, k, add or k > n * rows, jacobian[n], column)


@_shared
def _outer_shared(cotangent, inputs, rows, add, share, jacobian, column):
    for place in numba.prange((jacobian.shape[0] + share - 1) // share):
        stop = min((place + 1) * share, jacobian.shape[0])
        _outer(cotangent, inputs, rows, add, place * share, stop, jacobian, column)


def outer(threads, cotangent, inputs, rows, add, jacobian, column):
    """Write or add the block of ``jacobian`` (n_points, n_parameters) that begins at a column."""
    n = jacobian.shape[0]
    if threads == 1:
        _outer(cotangent, inputs, rows, add, 0, n, jacobian, column)
    else:
        _outer_shared(cotangent, inputs, rows, add, -(-n // threads), jacobian, column)
