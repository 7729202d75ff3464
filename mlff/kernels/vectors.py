"""SIMD registers in numba: loads, stores and arithmetic on as many numbers at once as the processor holds.

Loops written with these names compile to vector instructions as they stand; nothing is left to LLVM's vectoriser, so
they compile in a fraction of the time and their results do not depend on what it decides. Arrays are one-dimensional
and C-contiguous; an index counts elements, and no bounds are checked.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic, lower_builtin, models, register_model, type_callable


def _bytes_per_register() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


REGISTER_BYTES = _bytes_per_register()
MANY_REGISTERS = REGISTER_BYTES != 32
"""AVX-512 and Arm have 32 vector registers, AVX and AVX2 sixteen."""

# products may fuse with sums; nothing is reordered, so results do not depend on how rows are shared out
_FLAGS = ("contract", "nsz", "nnan", "ninf")


def width_of(dtype: Any) -> int:
    """Numbers of a numpy dtype in one register."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


class Lanes(types.Type):
    """One register of float32 or float64."""

    def __init__(self, scalar: types.Float) -> None:
        self.scalar = scalar
        self.width = REGISTER_BYTES * 8 // scalar.bitwidth
        super().__init__(name=f"Lanes({scalar}, {self.width})")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType() if self.scalar.bitwidth == 32 else ir.DoubleType(), self.width)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.llvm)


def _arithmetic(operation: Callable, instruction: str) -> None:
    @type_callable(operation)
    def typed(context: Any) -> Callable:
        return lambda a, b: a if isinstance(a, Lanes) and a == b else None

    @lower_builtin(operation, Lanes, Lanes)
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments, flags=_FLAGS)


for _operation, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _arithmetic(_operation, _instruction)


def address(context: Any, builder: Any, array_type: types.Array, array: Any, index: Any) -> Any:
    """Pointer to an element of a one-dimensional array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def load_lanes(builder: Any, lanes: Lanes, pointer: Any) -> Any:
    """The register at a pointer to its first element, however aligned."""
    value = builder.load(builder.bitcast(pointer, lanes.llvm.as_pointer()))
    value.align = lanes.scalar.bitwidth // 8
    return value


def store_lanes(builder: Any, lanes: Lanes, value: Any, pointer: Any) -> None:
    """Write a register, however aligned."""
    builder.store(value, builder.bitcast(pointer, lanes.llvm.as_pointer())).align = lanes.scalar.bitwidth // 8


def spread_value(builder: Any, lanes: Lanes, scalar: Any) -> Any:
    """One number in all lanes."""
    first = builder.insert_element(ir.Constant(lanes.llvm, ir.Undefined), scalar, cgutils.int32_t(0))
    order = ir.Constant(ir.VectorType(cgutils.int32_t, lanes.width), [0] * lanes.width)
    return builder.shuffle_vector(first, ir.Constant(lanes.llvm, ir.Undefined), order)


@intrinsic
def load(typing_context, array, index):
    """``array[index : index + width]``."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        return load_lanes(builder, lanes, address(context, builder, array, *arguments))

    return lanes(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, value):
    """``array[index : index + width] = value``."""

    def generate(context, builder, signature, arguments):
        store_lanes(builder, value, arguments[2], address(context, builder, array, *arguments[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def spread(typing_context, array, index):
    """``array[index]`` in all lanes."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        return spread_value(builder, lanes, builder.load(address(context, builder, array, *arguments)))

    return lanes(array, types.intp), generate


@intrinsic
def constant(typing_context, array, value):
    """A number in all lanes, in the precision of ``array``."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        return spread_value(builder, lanes, context.cast(builder, arguments[1], value, lanes.scalar))

    return lanes(array, value), generate


@intrinsic
def total(typing_context, value):
    """Sum over the lanes."""

    def generate(context, builder, signature, arguments):
        return _halved(builder, value, arguments[0])

    return value.scalar(value), generate


def _halved(builder: Any, lanes: Lanes, value: Any) -> Any:
    width = lanes.width
    while width > 1:
        width //= 2
        low, high = (_shuffled(builder, value, value, [n + k for k in range(width)]) for n in (0, width))
        value = builder.fadd(low, high, flags=_FLAGS)
    return builder.extract_element(value, cgutils.int32_t(0))


def _shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(cgutils.int32_t, len(order)), order))


@intrinsic
def four_sums(typing_context, a, b, c, d):
    """Four registers folded into one, whose lanes ``4 n + k`` sum up to the total of the k-th."""
    half = range(0, a.width, 2)
    quarter = range(0, a.width, 4)

    def generate(context, builder, signature, arguments):
        def folded(x: Any, y: Any, order: list[int], other: list[int]) -> Any:
            return builder.fadd(_shuffled(builder, x, y, order), _shuffled(builder, x, y, other), flags=_FLAGS)

        even = [n for k in half for n in (k, k + a.width)]
        odd = [n + 1 for n in even]
        first, second = (folded(x, y, even, odd) for x, y in (arguments[:2], arguments[2:]))
        near = [n for k in quarter for n in (k, k + 1, k + a.width, k + 1 + a.width)]
        return folded(first, second, near, [n + 2 for n in near])

    return a(a, b, c, d), generate


def _elementwise(builder: Any, lanes: Lanes, name: str, *values: Any) -> Any:
    """One of LLVM's functions of numbers, such as ``sqrt``, in every lane."""
    signature = ir.FunctionType(lanes.llvm, [lanes.llvm] * len(values))
    suffix = f"v{lanes.width}f{lanes.scalar.bitwidth}"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, values)


@intrinsic
def square_root(typing_context, value):
    """Of every lane."""

    def generate(context, builder, signature, arguments):
        return _elementwise(builder, value, "sqrt", *arguments)

    return value(value), generate


@intrinsic
def exponential(typing_context, value):
    """``exp`` of every lane, held within the range of its precision, to one or two units in the last place."""
    single = value.scalar.bitwidth == 32
    degree, limit = (7, 87.0) if single else (13, 708.0)
    mantissa, bias = (23, 127) if single else (52, 1023)
    integer = ir.VectorType(ir.IntType(value.scalar.bitwidth), value.width)
    # ln 2 in two parts, the first with so few digits that its multiples are exact
    high = 0.693359375 if single else 0.693147180369123816490
    low = math.log(2) - high if single else 1.90821492927058770002e-10

    def generate(context, builder, signature, arguments):
        def number(x: float) -> Any:
            return ir.Constant(value.llvm, [x] * value.width)

        x = _elementwise(builder, value, "maxnum", arguments[0], number(-limit))
        x = _elementwise(builder, value, "minnum", x, number(limit))
        doublings = _elementwise(builder, value, "rint", builder.fmul(x, number(1 / math.log(2))))
        rest = x
        for part in (high, low):
            rest = builder.fsub(rest, builder.fmul(doublings, number(part), flags=("contract",)), flags=("contract",))
        series = number(1 / math.factorial(degree))
        for n in range(degree - 1, -1, -1):
            product = builder.fmul(series, rest, flags=("contract",))
            series = builder.fadd(product, number(1 / math.factorial(n)), flags=("contract",))
        exponent = builder.add(builder.fptosi(doublings, integer), ir.Constant(integer, [bias] * value.width))
        power = builder.bitcast(builder.shl(exponent, ir.Constant(integer, [mantissa] * value.width)), value.llvm)
        return builder.fmul(series, power)

    return value(value), generate


@intrinsic
def lanes_of(typing_context, array):
    """How many elements of an array fit into one register."""

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.intp, Lanes(array.dtype).width)

    return types.intp(array), generate


_WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
straight = numba.njit(error_model="numpy", nogil=True, **_WITHOUT_WRAPPERS)
"""Compiles a piece of a program, which nobody but compiled code calls. Only whole programs are kept on disk: a piece
would be looked up by the date of its own file, and holds code of other files."""


@cache
def sources() -> str:
    """Digest of the files that programs are made of: part of the key under which a compiled program is kept."""
    digest, folder = hashlib.sha256(), Path(__file__).parent
    for file in sorted({file for pattern in PIECES for file in folder.glob(pattern)}):
        digest.update(file.read_bytes())
    return digest.hexdigest()


PIECES = ("numba_*.py", "*_layout.py", "products.py", "vectors.py", "calling.py")
"""Files of this folder."""
