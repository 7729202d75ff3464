"""Products of a few rows: with a matrix, in the node blocks of a student, and with other rows, in its gradients.

A matrix is laid out once in panels two registers wide, in the order in which the loop below reads it. A library's
product would arrange it anew at every call, which for a dozen rows costs as much as the product.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from mlff.kernels.calling import pointer
from mlff.kernels.vectors import (
    MANY_REGISTERS,
    Lanes,
    address,
    lanes_of,
    load_lanes,
    sources,
    spread_value,
    store_lanes,
    straight,
    width_of,
)

ROWS = 4
"""Products are taken of a multiple of this number of rows; arrays are padded to it."""

_MOST_ROWS = 12 if MANY_REGISTERS else 4
_UNROLLED = 1

_NEXT = np.int64(1)
"""Neighbours in memory. As a number of numpy, because numba compiles a function anew for a Python one."""


def panel_width(dtype: Any) -> int:
    """Columns of a panel: what widths of matrices are padded to."""
    return 2 * width_of(dtype)


def in_panels(matrix: np.ndarray) -> np.ndarray:
    """A matrix (depth, columns) as the flat array that `multiply` reads; columns are a multiple of the panel width."""
    depth, columns = matrix.shape
    width = panel_width(matrix.dtype)
    return np.ascontiguousarray(matrix.reshape(depth, columns // width, width).transpose(1, 0, 2)).reshape(-1)


def _tile(rows: int) -> Any:
    """``out = initial + a · panel`` for some rows and two registers of columns.

    Element (r, k) of ``a`` is ``first + r stride + k along``; the rows of the panel are ``height`` apart.
    """

    @intrinsic
    def tile(
        typing_context, a, first, stride, along, depth, panels, panel, height, initial, start, step, out, place, pitch
    ):
        lanes = Lanes(a.dtype)

        def generate(context, builder, signature, arguments):
            a_, first_, stride_, along_, depth_, panels_, panel_, height_ = arguments[:8]
            initial_, start_, step_, out_, place_, pitch_ = arguments[8:]
            integer = first_.type
            width = ir.Constant(integer, lanes.width)

            def at(array_type: Any, array: Any, start_of: Any, pitch_of: Any, row: int) -> Any:
                offset = builder.add(start_of, builder.mul(pitch_of, ir.Constant(integer, row)))
                return address(context, builder, array_type, array, offset)

            def both(pointer: Any) -> list[Any]:
                return [load_lanes(builder, lanes, p) for p in (pointer, builder.gep(pointer, [width]))]

            sums = [x for r in range(rows) for x in both(at(initial, initial_, start_, step_, r))]
            pointers = [at(a, a_, first_, stride_, r) for r in range(rows)]
            panel_pointer = address(context, builder, panels, panels_, panel_)

            entry = builder.block
            loop, leave = builder.append_basic_block("depth"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(integer)
            k.add_incoming(ir.Constant(integer, 0), entry)
            phis = []
            for value in sums:
                phi = builder.phi(lanes.llvm)
                phi.add_incoming(value, entry)
                phis.append(phi)
            sums = list(phis)
            for u in range(_UNROLLED):
                at_k = builder.add(k, ir.Constant(integer, u))
                columns = both(builder.gep(panel_pointer, [builder.mul(at_k, height_)]))
                at_a = builder.mul(at_k, along_)
                for r in range(rows):
                    scalar = spread_value(builder, lanes, builder.load(builder.gep(pointers[r], [at_a])))
                    for c in range(2):
                        product = builder.fmul(scalar, columns[c], flags=("contract",))
                        sums[2 * r + c] = builder.fadd(sums[2 * r + c], product, flags=("contract",))
            following = builder.add(k, ir.Constant(integer, _UNROLLED))
            k.add_incoming(following, loop)
            for phi, value in zip(phis, sums, strict=True):
                phi.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth_), loop, leave)
            builder.position_at_end(leave)
            for r in range(rows):
                pointer = at(out, out_, place_, pitch_, r)
                store_lanes(builder, lanes, sums[2 * r], pointer)
                store_lanes(builder, lanes, sums[2 * r + 1], builder.gep(pointer, [width]))
            return context.get_dummy_value()

        return types.void(
            a, *[types.intp] * 4, panels, *[types.intp] * 2, initial, *[types.intp] * 2, out, *[types.intp] * 2
        ), generate

    return tile


_tile_of_4, _tile_of_8, _tile_of_12 = (_tile(rows) for rows in (4, 8, 12))


@straight
def _strip(rows, depth, a, first, stride, along, panels, panel, height, initial, start, step, out, place, pitch):
    """All rows of two registers of columns."""
    r = 0
    while r < rows:
        x, i, o = first + r * stride, start + r * step, place + r * pitch
        if _MOST_ROWS >= 12 and rows - r > 8:
            _tile_of_12(a, x, stride, along, depth, panels, panel, height, initial, i, step, out, o, pitch)
            r += 12
        elif _MOST_ROWS >= 8 and rows - r > 4:
            _tile_of_8(a, x, stride, along, depth, panels, panel, height, initial, i, step, out, o, pitch)
            r += 8
        else:
            _tile_of_4(a, x, stride, along, depth, panels, panel, height, initial, i, step, out, o, pitch)
            r += 4


@straight
def multiply(rows, depth, columns, a, first, stride, panels, panel, initial, start, step, out, place, pitch):
    """``out = initial + a · b`` for ``rows`` rows (padded up to `ROWS`) of ``a`` and a matrix ``b`` in panels.

    Every array is flat: ``a`` from ``first`` with ``stride`` between rows, ``b`` (depth, columns) from ``panel``,
    ``initial`` from ``start`` with ``step`` between rows (zero repeats one row, such as a bias), ``out`` from ``place``
    with ``pitch``.
    """
    width = 2 * lanes_of(a)
    for c in range(0, columns, width):
        _strip(
            rows, depth, a, first, stride, _NEXT, panels, panel, width, initial, start + c, step, out, place + c, pitch
        )
        panel += depth * width


class Products(NamedTuple):
    """Both products as C functions of addresses (of the first elements), numbers of elements and strides (in elements).

    Attributes:
        multiply: rows, depth, columns, ``a``, its stride, panels, initial rows, their step, out, its pitch; see
            `multiply`.
        add_transposed: rows, depth, columns, ``a``, its stride, ``b``, its stride, out, its pitch: ``out += aᵀ · b``,
            the sum over ``depth`` rows of their outer products. Rows and columns of ``out`` are multiples of `ROWS` and
            of the panel width.
    """

    multiply: Any
    add_transposed: Any


@cache
def compiled(real: types.Float) -> Products:
    """The products for a precision."""
    written = sources()

    @numba.cfunc(types.void(*[types.int64] * 10), error_model="numpy", cache=True)
    def multiply_at(rows, depth, columns, a, stride, panels, initial, step, out, pitch):
        written  # noqa: B018
        given, matrix = numba.carray(pointer(a), (_ANY,), real), numba.carray(pointer(panels), (_ANY,), real)
        before, after = numba.carray(pointer(initial), (_ANY,), real), numba.carray(pointer(out), (_ANY,), real)
        multiply(rows, depth, columns, given, 0, stride, matrix, 0, before, 0, step, after, 0, pitch)

    @numba.cfunc(types.void(*[types.int64] * 9), error_model="numpy", cache=True)
    def add_transposed(rows, depth, columns, a, stride, b, height, out, pitch):
        written  # noqa: B018
        first, second = numba.carray(pointer(a), (_ANY,), real), numba.carray(pointer(b), (_ANY,), real)
        after = numba.carray(pointer(out), (_ANY,), real)
        for c in range(0, columns, 2 * lanes_of(after)):
            _strip(rows, depth, first, 0, _NEXT, stride, second, c, height, after, c, pitch, after, c, pitch)

    return Products(multiply_at, add_transposed)


_ANY = 1 << 40
"""Length of an array of which only the beginning is known."""
