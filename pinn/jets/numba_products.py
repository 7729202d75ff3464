"""Products of jets as loops over blocks; see `pinn.jets.products`.

The parts of a jet are rows as in `pinn.jets.numba_cpu`; the table has the columns target, left, right.
"""

from __future__ import annotations

import numba

from pinn.jets.numba_cpu import BLOCK, LOOP

_loop = numba.njit(fastmath={"contract", "nsz"}, cache=True, **LOOP)
_blocks = numba.njit(error_model="numpy", nogil=True, cache=True)
_shared = numba.njit(parallel=True, error_model="numpy", nogil=True, cache=True)


@_loop
def _write(c, a, b, out):
    for i in range(out.shape[0]):
        out[i] = c * a[i] * b[i]


@_loop
def _add(c, a, b, out):
    for i in range(out.shape[0]):
        out[i] += c * a[i] * b[i]


@_blocks
def _multiply(a, b, table, coefficients, start, stop, out):
    for s in range(start, stop, BLOCK):
        e = min(s + BLOCK, stop)
        before = -1
        for term in range(table.shape[0]):
            target, left, right = table[term, 0], table[term, 1], table[term, 2]
            if target == before:
                _add(coefficients[term], a[left, s:e], b[right, s:e], out[target, s:e])
            else:
                _write(coefficients[term], a[left, s:e], b[right, s:e], out[target, s:e])
            before = target


@_blocks
def _multiply_backward(other, g, table, coefficients, side, start, stop, grad):
    """Derivatives by one factor, which stands in column ``side`` of the table; the other one in column 3 − side."""
    for s in range(start, stop, BLOCK):
        e = min(s + BLOCK, stop)
        for part in range(grad.shape[0]):
            for i in range(s, e):
                grad[part, i] = 0
        for term in range(table.shape[0]):
            target, mine, its = table[term, 0], table[term, side], table[term, 3 - side]
            _add(coefficients[term], g[target, s:e], other[its, s:e], grad[mine, s:e])


@_shared
def _multiply_shared(a, b, table, coefficients, share, out):
    for place in numba.prange((out.shape[1] + share - 1) // share):
        stop = min((place + 1) * share, out.shape[1])
        _multiply(a, b, table, coefficients, place * share, stop, out)


@_shared
def _multiply_backward_shared(other, g, table, coefficients, side, share, grad):
    for place in numba.prange((grad.shape[1] + share - 1) // share):
        stop = min((place + 1) * share, grad.shape[1])
        _multiply_backward(other, g, table, coefficients, side, place * share, stop, grad)


def multiply(threads, a, b, table, coefficients, out):
    """All parts of ``a·b``; arrays (n_parts, n)."""
    if threads == 1:
        _multiply(a, b, table, coefficients, 0, out.shape[1], out)
    else:
        _multiply_shared(a, b, table, coefficients, -(-out.shape[1] // threads), out)


def multiply_backward(threads, other, g, table, coefficients, side, grad):
    """Derivatives by one factor, from ``g`` by the parts of the product."""
    if threads == 1:
        _multiply_backward(other, g, table, coefficients, side, 0, grad.shape[1], grad)
    else:
        _multiply_backward_shared(other, g, table, coefficients, side, -(-grad.shape[1] // threads), grad)
