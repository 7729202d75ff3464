"""Products of jets as loops over blocks; see `pinn.jets.products`.

The parts of a jet are rows as in `pinn.jets.numba_cpu`; the table has the columns target, left, right.
"""

from __future__ import annotations

import numba

from pinn.jets.numba_cpu import BLOCK, BLOCKS, LOOP

_loop = numba.njit(**LOOP)
_blocks = numba.njit(**BLOCKS)
_shared = numba.njit(parallel=True, **BLOCKS)


@_loop
def _write(c, a, left, b, right, target, s, e, out):
    for i in range(s, e):
        out[target, i] = c * a[left, i] * b[right, i]


@_loop
def _add(c, a, left, b, right, target, s, e, out):
    for i in range(s, e):
        out[target, i] += c * a[left, i] * b[right, i]


@_loop
def _zero(s, e, out):
    for part in range(numba.uintp(out.shape[0])):
        for i in range(s, e):
            out[part, i] = 0


@_blocks
def _multiply(a, b, table, coefficients, start, stop, out):
    for begin in range(start, stop, BLOCK):
        s, e = numba.uintp(begin), numba.uintp(min(begin + BLOCK, stop))
        before = numba.uintp(out.shape[0])
        for n in range(numba.uintp(table.shape[0])):
            target, left, right = table[n, 0], table[n, 1], table[n, 2]
            if target == before:
                _add(coefficients[n], a, left, b, right, target, s, e, out)
            else:
                _write(coefficients[n], a, left, b, right, target, s, e, out)
            before = target


@_blocks
def _multiply_backward(other, g, table, coefficients, side, start, stop, grad):
    """Derivatives by one factor, which stands in column ``side`` of the table; the other one in column 3 − side."""
    for begin in range(start, stop, BLOCK):
        s, e = numba.uintp(begin), numba.uintp(min(begin + BLOCK, stop))
        _zero(s, e, grad)
        for n in range(numba.uintp(table.shape[0])):
            _add(coefficients[n], g, table[n, 0], other, table[n, 3 - side], table[n, side], s, e, grad)


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
