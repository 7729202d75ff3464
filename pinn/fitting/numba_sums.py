"""The sums over the data of every fit in one pass over memory, on the CPU.

The same numbers as `training.optimizers.batched_sums.normal_equations`, which says what they are. A fit's predictions
and derivatives are read from the cache they were just written to; nothing of their size is allocated.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from torch import Tensor

from pinn.jets.kernels import threads_for
from pinn.jets.numba_cpu import BLOCKS, LOOP
from training.optimizers.batched_sums import LinearTerms, NormalEquations

NONE, MULTIPLIED, ADDED = range(3)


def normal_equations(jet: Tensor, data: Tensor, weights: Tensor, terms: LinearTerms | None) -> NormalEquations:
    """See `training.optimizers.batched_sums.normal_equations`; tensors on the CPU."""
    n, parts, _ = jet.shape
    k = terms.count if terms else 0
    found = NormalEquations.empty(n, parts - 1, k, jet.device)
    basis = terms.basis.T.contiguous() if terms else data.new_zeros(0, 0)
    effect = NONE if terms is None else MULTIPLIED if terms.effect == "multiplied" else ADDED
    arrays = [given.contiguous().numpy() for given in (jet.double(), data, weights, basis)]
    outputs = [part.numpy() for part in found.parts()]
    threads = threads_for(jet.numel())
    if threads > 1:
        _shared(threads, effect, *arrays, *outputs)
    else:
        _alone(effect, *arrays, *outputs)
    return found


_FUSED = {**LOOP, "fastmath": {"contract", "nsz", "arcp", "reassoc"}}
"""Sums may be added up in any order, so that they are vectorised."""


@numba.njit(**_FUSED)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@numba.njit(**LOOP)
def _factorise(matrix):  # type: ignore[no-untyped-def]
    """The lower Cholesky factor in place; whether there is one."""
    k = len(matrix)
    for i in range(k):
        for j in range(i + 1):
            total = matrix[i, j]
            for l in range(j):  # noqa: E741
                total -= matrix[i, l] * matrix[j, l]
            if i > j:
                matrix[i, j] = total / matrix[j, j]
            elif total > 0 and math.isfinite(total):
                matrix[i, i] = math.sqrt(total)
            else:
                return False
    return True


@numba.njit(**LOOP)
def _forward(factor, right):  # type: ignore[no-untyped-def]
    """``C⁻¹ b`` in place."""
    for i in range(len(right)):
        for j in range(i):
            right[i] -= factor[i, j] * right[j]
        right[i] /= factor[i, i]


@numba.njit(**LOOP)
def _backward(factor, right):  # type: ignore[no-untyped-def]
    """``C⁻ᵀ b`` in place."""
    for i in range(len(right) - 1, -1, -1):
        for j in range(i + 1, len(right)):
            right[i] -= factor[j, i] * right[j]
        right[i] /= factor[i, i]


@numba.njit(**_FUSED)
def _linear(effect, f, y, w, basis, column, linear, right):  # type: ignore[no-untyped-def]
    """S and the right-hand side of the coefficients."""
    k, m = basis.shape
    for a in range(k):
        for i in range(m):
            column[i] = w[i] * basis[a, i]
        total = 0.0
        if effect == MULTIPLIED:
            for i in range(m):
                total += column[i] * f[i] * y[i]
                column[i] *= f[i] * f[i]
        else:
            for i in range(m):
                total += column[i] * (y[i] - f[i])
        right[a] = total
        for b in range(a + 1):
            linear[a, b] = linear[b, a] = _dot(column, basis[b])


@numba.njit(**_FUSED)
def _lift(effect, f, y, w, basis, coefficients, lifted, rest, mixing):  # type: ignore[no-untyped-def]
    """What multiplies the derivatives, what is left of the data, and the weights of the mixed sums."""
    k, m = basis.shape
    for i in range(m):
        lifted[i] = 0.0
    for a in range(k):
        for i in range(m):
            lifted[i] += coefficients[a] * basis[a, i]
    if effect == MULTIPLIED:
        for i in range(m):
            rest[i] = f[i] * lifted[i] - y[i]
            mixing[i] = w[i] * f[i] * lifted[i]
    else:
        for i in range(m):
            rest[i] = f[i] + lifted[i] - y[i]
            mixing[i] = w[i]
            lifted[i] = 1.0


@numba.njit(**_FUSED)
def _fit(i, effect, jet, data, weights, basis, room, chi2, gradient, matrix, coefficients, linear, mixed):  # type: ignore[no-untyped-def]
    f, y, w = jet[i, 0], data[i], weights[i]
    p, k, m = jet.shape[1] - 1, len(basis), len(y)
    lifted, rest, mixing, column = room[0], room[1], room[2], room[3]
    factor = linear[i].copy()
    solved = True
    if k:
        _linear(effect, f, y, w, basis, column, linear[i], coefficients[i])
        factor[:] = linear[i]
        solved = _factorise(factor)
        if solved:
            _forward(factor, coefficients[i])
            _backward(factor, coefficients[i])
        _lift(effect, f, y, w, basis, coefficients[i], lifted, rest, mixing)
    else:
        for j in range(m):
            lifted[j] = 1.0
            rest[j] = f[j] - y[j]
    total = 0.0
    for j in range(m):
        total += w[j] * rest[j] * rest[j]
    chi2[i] = total if solved else math.nan
    for j in range(m):
        rest[j] *= w[j] * lifted[j]
        lifted[j] *= w[j] * lifted[j]
    for a in range(p):
        slope = jet[i, 1 + a]
        gradient[i, a] = _dot(slope, rest)
        for j in range(m):
            column[j] = slope[j] * lifted[j]
        for b in range(a + 1):
            matrix[i, a, b] = matrix[i, b, a] = _dot(column, jet[i, 1 + b])
        for j in range(m if k else 0):
            column[j] = slope[j] * mixing[j]
        for b in range(k):
            mixed[i, a, b] = _dot(column, basis[b])
    if k and solved:
        half = mixed[i].copy()
        for a in range(p):
            _forward(factor, half[a])
            for b in range(a + 1):
                overlap = 0.0
                for c in range(k):
                    overlap += half[a, c] * half[b, c]
                matrix[i, a, b] -= overlap
                matrix[i, b, a] = matrix[i, a, b]


@numba.njit(**BLOCKS)
def _alone(effect, jet, data, weights, basis, chi2, gradient, matrix, coefficients, linear, mixed):  # type: ignore[no-untyped-def]
    room = np.empty((4, data.shape[1]))
    for i in range(len(data)):
        _fit(i, effect, jet, data, weights, basis, room, chi2, gradient, matrix, coefficients, linear, mixed)


@numba.njit(parallel=True, **BLOCKS)
def _shared(threads, effect, jet, data, weights, basis, chi2, gradient, matrix, coefficients, linear, mixed):  # type: ignore[no-untyped-def]
    for thread in numba.prange(threads):
        room = np.empty((4, data.shape[1]))
        for i in range(thread, len(data), threads):
            _fit(i, effect, jet, data, weights, basis, room, chi2, gradient, matrix, coefficients, linear, mixed)
