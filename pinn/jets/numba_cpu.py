"""Activations and products of jets as loops over blocks that stay in the first-level cache.

A jet's parts (n_parts, n_points, width) are seen as n_parts long rows. A block of columns is read once, all terms of
Faà di Bruno's formula (or Leibniz' rule) are added up in it, and it is written once; blocks are shared among threads.
The terms come as a table: columns target, number of factors, factors; the first-order term ``f'(h) h[target]`` of every
part stands in no table, since it is always there. ``family`` tells how ``f', f'', …`` follow from what torch computed.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core.cpu import CPUTargetOptions
from numba.core.options import TargetOptions

# a vectorised loop needs the promise that results do not overlap inputs; numba has the flag but no option for it
CPUTargetOptions.noalias = TargetOptions.Mapping("noalias")
setattr(numba.config, "THREADING_LAYER_PRIORITY", ["omp", "tbb", "workqueue"])  # noqa: B010 (numba's types lack it)

_FAST = {"contract", "nsz", "arcp"}
LOOP: dict[str, Any] = {"error_model": "numpy", "noalias": True, "cache": True, "fastmath": _FAST}
"""Inner loops: they take whole arrays with the columns ``s`` to ``e``, since a slice costs more than a short loop, and
unsigned indices, since signed ones might count from the end."""
BLOCKS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}
"""Loops over blocks, which hold no reference to Python."""

_loop = numba.njit(**LOOP)
_blocks = numba.njit(**BLOCKS)
_shared = numba.njit(parallel=True, **BLOCKS)

TANH, SINE, SILU, GELU = range(4)
BLOCK = 512
"""Columns of a block: a row of doubles fills 4 KB."""


@_loop
def _tanh(y, order, s, e, f):
    one, two, six = y.dtype.type(1), y.dtype.type(2), y.dtype.type(6)
    for i in range(s, e):
        slope = one - y[i] * y[i]
        f[1, i - s] = slope
        f[2, i - s] = -two * y[i] * slope
    if order >= 3:
        for i in range(s, e):
            f[3, i - s] = f[1, i - s] * (six * y[i] * y[i] - two)
    if order >= 4:
        a, b, c = y.dtype.type(16), y.dtype.type(24), y.dtype.type(120)
        for i in range(s, e):
            square = y[i] * y[i]
            f[4, i - s] = f[1, i - s] * y[i] * (a - b * square)
            f[5, i - s] = f[1, i - s] * (a + c * square * (square - one))


@_loop
def _sine(sine, cosine, s, e, f):
    for i in range(s, e):
        f[1, i - s] = cosine[i]
        f[2, i - s] = -sine[i]
        f[3, i - s] = -cosine[i]
        f[4, i - s] = sine[i]
        f[5, i - s] = cosine[i]


@_loop
def _silu(x, logistic, order, s, e, f):
    one, two, three, six = x.dtype.type(1), x.dtype.type(2), x.dtype.type(3), x.dtype.type(6)
    for i in range(s, e):
        t = logistic[i]
        s1 = t * (one - t)
        s2 = s1 * (one - two * t)
        s3 = s1 * (one - six * s1)
        f[1, i - s] = x[i] * s1 + t
        f[2, i - s] = x[i] * s2 + two * s1
        f[3, i - s] = x[i] * s3 + three * s2
    if order >= 4:
        four, five, twelve = x.dtype.type(4), x.dtype.type(5), x.dtype.type(12)
        c1, c2, c3, c4 = x.dtype.type(30), x.dtype.type(150), x.dtype.type(240), x.dtype.type(120)
        for i in range(s, e):
            t = logistic[i]
            s1 = t * (one - t)
            s3 = s1 * (one - six * s1)
            s4 = s1 * (one - two * t) * (one - twelve * s1)
            s5 = s1 * (one + t * (-c1 + t * (c2 + t * (-c3 + t * c4))))
            f[4, i - s] = x[i] * s4 + four * s3
            f[5, i - s] = x[i] * s5 + five * s4


@_loop
def _gelu(x, distribution, bell, order, s, e, f):
    two, four, seven = x.dtype.type(2), x.dtype.type(4), x.dtype.type(7)
    for i in range(s, e):
        square = x[i] * x[i]
        f[1, i - s] = distribution[i] + x[i] * bell[i]
        f[2, i - s] = bell[i] * (two - square)
        f[3, i - s] = bell[i] * x[i] * (square - four)
    if order >= 4:
        eleven, eighteen = x.dtype.type(11), x.dtype.type(18)
        for i in range(s, e):
            square = x[i] * x[i]
            f[4, i - s] = bell[i] * (square * (seven - square) - four)
            f[5, i - s] = bell[i] * x[i] * (square * (square - eleven) + eighteen)


@_loop
def _slopes(family, x, value, first, second, order, s, e, f):
    """``f'`` up to the given order, and up to two more."""
    if family == TANH:
        _tanh(value, order, s, e, f)
    elif family == SINE:
        _sine(value, first, s, e, f)
    elif family == SILU:
        _silu(x, first, order, s, e, f)
    else:
        _gelu(x, first, second, order, s, e, f)


@_loop
def _first_term(f, h, part, s, e, out):
    for i in range(s, e):
        out[part, i] = f[1, i - s] * h[part, i]


@_loop
def _second_term(c, f, h, a, b, target, s, e, out):
    for i in range(s, e):
        out[target, i] += c * f[2, i - s] * h[a, i] * h[b, i]


@_loop
def _third_term(coefficient, f, h, table, n, s, e, out):
    target, a, b, c = table[n, 0], table[n, 2], table[n, 3], table[n, 4]
    for i in range(s, e):
        out[target, i] += coefficient * f[3, i - s] * h[a, i] * h[b, i] * h[c, i]


@_loop
def _fourth_term(coefficient, f, h, table, n, s, e, out):
    target, a, b, c, d = table[n, 0], table[n, 2], table[n, 3], table[n, 4], table[n, 5]
    for i in range(s, e):
        out[target, i] += coefficient * f[4, i - s] * (h[a, i] * h[b, i]) * (h[c, i] * h[d, i])


@_blocks
def _activate(family, h, first, second, table, coefficients, order, start, stop, out):
    """Parts of ``f(h)`` from the second on, in the columns from ``start`` to ``stop``."""
    f = np.empty((6, BLOCK), h.dtype)
    x, value = h[0], out[0]
    for begin in range(start, stop, BLOCK):
        s, e = numba.uintp(begin), numba.uintp(min(begin + BLOCK, stop))
        _slopes(family, x, value, first, second, order, s, e, f)
        for part in range(numba.uintp(1), numba.uintp(h.shape[0])):
            _first_term(f, h, part, s, e, out)
        for n in range(numba.uintp(table.shape[0])):
            if table[n, 1] == 2:
                _second_term(coefficients[n], f, h, table[n, 2], table[n, 3], table[n, 0], s, e, out)
            elif table[n, 1] == 3:
                _third_term(coefficients[n], f, h, table, n, s, e, out)
            else:
                _fourth_term(coefficients[n], f, h, table, n, s, e, out)


@_loop
def _first_backward(f, h, g, part, s, e, bar, sums):
    for i in range(s, e):
        bar[part, i - s] = f[1, i - s] * g[part, i]
        sums[1, i - s] += g[part, i] * h[part, i]


@_loop
def _square_backward(c, f, h, g, a, target, s, e, bar, sums):
    """The term ``c f'' h²``."""
    for i in range(s, e):
        weight = c * g[target, i] * h[a, i]
        sums[2, i - s] += weight * h[a, i]
        weight *= f[2, i - s]
        bar[a, i - s] += weight + weight


@_loop
def _pair_backward(c, f, h, g, a, b, target, s, e, bar, sums):
    """The term ``c f'' a b``."""
    for i in range(s, e):
        weight = c * g[target, i]
        sums[2, i - s] += weight * h[a, i] * h[b, i]
        weight *= f[2, i - s]
        bar[a, i - s] += weight * h[b, i]
        bar[b, i - s] += weight * h[a, i]


@_loop
def _high_backward(c, f, h, g, table, n, s, e, product, bar, sums):
    """A term with three or four factors."""
    k, target = table[n, 1], table[n, 0]
    for left in range(numba.uintp(2), k + numba.uintp(2)):
        a = table[n, left]
        for i in range(s, e):
            product[i - s] = c * g[target, i]
        for other in range(numba.uintp(2), k + numba.uintp(2)):
            if other != left:
                b = table[n, other]
                for i in range(s, e):
                    product[i - s] *= h[b, i]
        if left == 2:
            for i in range(s, e):
                sums[k, i - s] += product[i - s] * h[a, i]
        for i in range(s, e):
            bar[a, i - s] += product[i - s] * f[k, i - s]


@_loop
def _begin(f, g, order, s, e, bar, sums):
    for k in range(numba.uintp(1), order + numba.uintp(1)):
        for i in range(e - s):
            sums[k, i] = 0
    for i in range(s, e):
        bar[0, i - s] = f[1, i - s] * g[0, i]


@_loop
def _end(f, order, s, e, sums, bar, d_h):
    for k in range(numba.uintp(1), order + numba.uintp(1)):
        for i in range(e - s):
            bar[0, i] += sums[k, i] * f[k + numba.uintp(1), i]
    for part in range(numba.uintp(d_h.shape[0])):
        for i in range(s, e):
            d_h[part, i] = bar[part, i - s]


@_blocks
def _activate_backward(family, h, value, first, second, table, coefficients, order, start, stop, g, d_h):
    """Derivatives by ``h`` in the columns from ``start`` to ``stop``, from ``g`` by the parts of ``f(h)``.

    They are collected in ``bar`` and written at the end of a block, so that ``d_h`` may be ``g`` itself. ``sums[k]``
    collects the derivative by ``f^(k)``, which the value of ``h`` moves by ``f^(k+1)``.
    """
    f = np.empty((6, BLOCK), h.dtype)
    sums = np.empty((5, BLOCK), h.dtype)
    bar = np.empty((h.shape[0], BLOCK), h.dtype)
    product = np.empty(BLOCK, h.dtype)
    x, highest = h[0], numba.uintp(order)
    for begin in range(start, stop, BLOCK):
        s, e = numba.uintp(begin), numba.uintp(min(begin + BLOCK, stop))
        _slopes(family, x, value, first, second, order + 1, s, e, f)
        _begin(f, g, highest, s, e, bar, sums)
        for part in range(numba.uintp(1), numba.uintp(h.shape[0])):
            _first_backward(f, h, g, part, s, e, bar, sums)
        for n in range(numba.uintp(table.shape[0])):
            c, target, a, b = coefficients[n], table[n, 0], table[n, 2], table[n, 3]
            if table[n, 1] > 2:
                _high_backward(c, f, h, g, table, n, s, e, product, bar, sums)
            elif a == b:
                _square_backward(c, f, h, g, a, target, s, e, bar, sums)
            else:
                _pair_backward(c, f, h, g, a, b, target, s, e, bar, sums)
        _end(f, highest, s, e, sums, bar, d_h)


@_shared
def _activate_shared(family, h, first, second, table, coefficients, order, share, out):
    for place in numba.prange((h.shape[1] + share - 1) // share):
        start = place * share
        stop = min(start + share, h.shape[1])
        _activate(family, h, first, second, table, coefficients, order, start, stop, out)


@_shared
def _activate_backward_shared(family, h, value, first, second, table, coefficients, order, share, g, d_h):
    for place in numba.prange((h.shape[1] + share - 1) // share):
        start = place * share
        stop = min(start + share, h.shape[1])
        _activate_backward(family, h, value, first, second, table, coefficients, order, start, stop, g, d_h)


def activate(threads, family, h, first, second, table, coefficients, order, out):
    """All parts of ``f(h)`` but the value, which is in ``out[0]`` already; arrays (n_parts, n)."""
    if threads == 1:
        _activate(family, h, first, second, table, coefficients, order, 0, h.shape[1], out)
    else:
        share = -(-h.shape[1] // threads)
        _activate_shared(family, h, first, second, table, coefficients, order, share, out)


def activate_backward(threads, family, h, value, first, second, table, coefficients, order, g, d_h):
    """Derivatives by ``h`` from those by the parts of ``f(h)``; ``d_h`` may be ``g`` itself."""
    if threads == 1:
        _activate_backward(family, h, value, first, second, table, coefficients, order, 0, h.shape[1], g, d_h)
    else:
        share = -(-h.shape[1] // threads)
        _activate_backward_shared(family, h, value, first, second, table, coefficients, order, share, g, d_h)
