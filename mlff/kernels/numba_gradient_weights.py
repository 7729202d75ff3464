"""Weights on their way into the gradient's program, and derivatives by them on their way out.

A row of the list of parameters says how a weight is laid out, see `mlff.kernels.gradient_layout`.
"""

from __future__ import annotations

from mlff.kernels import gradient_layout as lay
from mlff.kernels.vectors import lanes_of, load, store, straight


@straight
def pack(parameter, source, work, width, thread, threads):
    """Lay a thread's share of a matrix out in panels, or rows."""
    p = parameter
    outs, out_padded, ins, in_parts, in_padded = (
        p[lay.OUT],
        p[lay.OUT_PADDED],
        p[lay.IN],
        p[lay.IN_PARTS],
        p[lay.IN_PADDED],
    )
    forward, back, plain = p[lay.FORWARD], p[lay.BACK], p[lay.ROWS]
    rows, depth, columns = p[lay.OUT_PARTS] * outs, p[lay.OUT_PARTS] * out_padded, in_parts * in_padded
    for row in range(thread * rows // threads, (thread + 1) * rows // threads):
        o = row // outs * out_padded + row % outs
        for part in range(in_parts):
            first, at = (row * in_parts + part) * ins, part * in_padded
            if forward >= 0:
                to = forward + o // width * width * columns + o % width + at * width
                for i in range(ins):
                    work[to + i * width] = source[first + i]
            if back >= 0:
                # a part begins with a panel
                for i in range(0, ins, width):
                    to = back + (at + i) * depth + o * width
                    for k in range(min(width, ins - i)):
                        work[to + k] = source[first + i + k]
            if plain >= 0:
                for i in range(ins):
                    work[plain + o * columns + at + i] = source[first + i]


@straight
def collect(parameter, work, gradients, size, result, thread, threads):
    """Add up what all threads have of a derivative, for a thread's share of its rows."""
    p = parameter
    outs, out_padded, ins, in_parts, in_padded = (
        p[lay.OUT],
        p[lay.OUT_PADDED],
        p[lay.IN],
        p[lay.IN_PARTS],
        p[lay.IN_PADDED],
    )
    rows, depth, columns = p[lay.OUT_PARTS] * outs, p[lay.OUT_PARTS] * out_padded, in_parts * in_padded
    for row in range(thread * rows // threads, (thread + 1) * rows // threads):
        o = row // outs * out_padded + row % outs
        for part in range(in_parts):
            to, at = p[lay.RESULT] + (row * in_parts + part) * ins, part * in_padded
            for other in range(threads):
                by, step = gradients + other * size + p[lay.BY] + o * columns + at, 1
                if p[lay.TRANSPOSED] == 1:
                    by, step = gradients + other * size + p[lay.BY] + at * depth + o, depth
                _add_strided(ins, work, by, step, result, to, other == 0)


@straight
def _add_strided(n, work, place, step, result, to, first):
    """Put, or add, n numbers that are ``step`` apart."""
    i = 0
    if step == 1:
        width = lanes_of(work)
        while i + width <= n:
            value = load(work, place + i)
            store(result, to + i, value if first else load(result, to + i) + value)
            i += width
    while i < n:
        value = work[place + i * step]
        result[to + i] = value if first else result[to + i] + value
        i += 1
