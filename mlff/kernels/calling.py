"""Compiled programs as C functions: one table of addresses in, everything else in the arrays that it names.

Numba unpacks every array of every call, which for twenty arrays takes longer than a small molecule; a program is called
with the address of its table alone, and with the number of the thread that runs it.
"""

from __future__ import annotations

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

# torch's own threads are OpenMP's too, and two kinds of threads would fight over the cores
setattr(numba.config, "THREADING_LAYER_PRIORITY", ["omp", "tbb", "workqueue"])  # noqa: B010 (numba's types lack it)

LARGEST_NUMBER_OF_THREADS = int(vars(numba.config)["NUMBA_NUM_THREADS"])
"""What numba starts with: all cores, unless NUMBA_NUM_THREADS says otherwise."""

SIGNATURE = types.void(types.int64, types.int64)
"""Of a program: address of its table, number of the thread."""


@intrinsic
def pointer(typing_context, number):
    """An address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic
def call(typing_context, function, arguments):
    """Call the C function of integers at an address; it is compiled once, and not again in everything that calls it."""

    def generate(context, builder, signature, values):
        integers = cgutils.unpack_tuple(builder, values[1], len(arguments))
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(arguments))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), integers)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(arguments))), generate


@numba.njit(parallel=True, nogil=True, cache=True)
def run_together(threads, program, table):
    """Run the program at an address with some threads; ``table`` is the address of its table."""
    for thread in numba.prange(threads):
        call(program, (table, thread))
