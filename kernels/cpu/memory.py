"""How compiled loops reach memory: views, stack scratch, prefetches, vector width, and checks of addresses.

A slice tests and clamps its bounds and counts a reference, which takes longer to compile than the loop that walks
through it. The views here do neither: the caller keeps the array alive and the bounds right. Views are checked in
the checked build only, and so are addresses (`inside`, `part_of`, `rest_of`; `tag` is a number for the buffer and
the function that reads or writes it, which the compiler knows by name).

On processors with AVX-512 LLVM prefers vectors of 256 bits, because the first of them ran slower with wider ones.
The fused loops take about a third less time at 512 bits on those of today; elsewhere `prefer_full_width` has no
effect."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from ppl.checked import CHECKED
from ppl.errors import MemoryCheckError
from ppl.kernels import internals
from ppl.kernels.decorators import jit
from ppl.kernels.internals import WORD, array_data, array_shape, cgutils, entry_bytes, flat_array
from ppl.tuning import ROWS_AHEAD

WIDTH_ATTRIBUTE = '"prefer-vector-width"="512"'


@intrinsic
def _prefer_full_width(typing_context):
    """Mark the function that this is called from."""

    def mark(context, builder, signature, arguments):
        set.add(builder.function.attributes, WIDTH_ATTRIBUTE)  # llvmlite's own `add` knows only enumerated attributes
        return context.get_dummy_value()

    return types.void(), mark


def _no_attribute():
    """What `prefer_full_width` is without the compiler."""


prefer_full_width = _no_attribute if numba.config.DISABLE_JIT else _prefer_full_width

AHEAD = ROWS_AHEAD
"""How many rows of a loop earlier a row is asked for, as emitted code calls it."""


def emit_prefetch(builder, pointer, write):
    """Build one prefetch instruction; `write` is 1 to take the line from other cores, else 0."""
    word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    callee = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(callee, [builder.bitcast(pointer, byte), word(write), word(3), word(1)])


def _prefetch_intrinsic(array, write):
    """The signature and the code of one prefetch instruction."""

    def ask(context, builder, signature, arguments):
        data = array_data(builder, arguments[0])
        emit_prefetch(builder, builder.gep(data, [arguments[1]]), write)
        return context.get_dummy_value()

    return types.void(array, types.int64), ask


@intrinsic
def _to_read(typing_context, array, place):
    """Fetch the line of entry `place`."""
    return _prefetch_intrinsic(array, 0)


@intrinsic
def _to_write(typing_context, array, place):
    """Fetch the line of entry `place`, and take it from other cores."""
    return _prefetch_intrinsic(array, 1)


def _no_prefetch(array, place):
    """What they are without the compiler."""


to_read = _no_prefetch if numba.config.DISABLE_JIT else _to_read

to_write = _no_prefetch if numba.config.DISABLE_JIT else _to_write


@intrinsic(prefer_literal=True)
def _stack_array(typing_context, count, dtype):
    """An array of a constant number of entries, of any content, that lives as long as the function runs."""
    if not isinstance(count, types.IntegerLiteral):
        raise RequireLiteralValue("a scratch array on the stack has a constant length")
    kind = dtype.dtype if isinstance(dtype, types.DType) else dtype.instance_type
    array, size = types.Array(kind, 1, "C"), count.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(context.get_data_type(kind), size))
        place.align = 64
        data = builder.bitcast(place, context.get_data_type(kind).as_pointer())
        return internals.flat_array(context, builder, array, data, WORD(size))

    return array(count, dtype), codegen


def _heap_array(count: int, dtype: Any) -> np.ndarray:
    return np.empty(count, dtype)


stack_array = _heap_array if numba.config.DISABLE_JIT else _stack_array


def _is_flat(array):
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"


def _view(context, builder, kind, array, start, size=None):
    """`size` entries, or all, from `start` on."""
    if size is None:
        size = builder.sub(array_shape(builder, kind, array)[0], start)
    return flat_array(context, builder, kind, builder.gep(array_data(builder, array), [start]), size)


@intrinsic
def _part(typing_context, array, start, size):
    """The `size` entries of a flat array from `start` on."""

    def codegen(context, builder, signature, arguments):
        return _view(context, builder, signature.args[0], *arguments)

    return (array(array, types.int64, types.int64), codegen) if _is_flat(array) else None


@intrinsic
def _tail(typing_context, array, start):
    """All entries of a flat array from `start` on."""

    def codegen(context, builder, signature, arguments):
        return _view(context, builder, signature.args[0], *arguments)

    return (array(array, types.int64), codegen) if _is_flat(array) else None


@intrinsic
def _clear(typing_context, array, start, size):
    """Zeros for the `size` entries of a flat array from `start` on."""

    def codegen(context, builder, signature, arguments):
        kind, data = signature.args[0], array_data(builder, arguments[0])
        count = builder.mul(arguments[2], WORD(entry_bytes(context, kind.dtype)))
        cgutils.memset(builder, builder.gep(data, [arguments[1]]), count, 0)
        return context.get_dummy_value()

    return (types.void(array, types.int64, types.int64), codegen) if _is_flat(array) else None


@jit
def all_set(array, start, size):
    """Whether none of `size` entries from `start` on is 0."""
    for i in range(start, start + size):
        if array[i] == 0:
            return False
    return True


@jit
def _checked_part(array, start, size):
    if size > 0 and (start < 0 or start + size > array.shape[0]):
        raise MemoryCheckError("a view beyond its array", 0)
    return _unchecked_part(array, start, max(size, 0))


@jit
def _checked_tail(array, start):
    return _checked_part(array, start, array.shape[0] - start)


@jit
def _checked_clear(array, start, size):
    _unchecked_clear(_checked_part(array, start, size), 0, size)


def _plain_part(array, start, size):
    return array[start : start + size]


def _plain_tail(array, start):
    return array[start:]


def _plain_clear(array, start, size):
    array[start : start + size] = 0


if numba.config.DISABLE_JIT:
    _unchecked_part, _unchecked_clear = _plain_part, _plain_clear
    part, tail, clear = _plain_part, _plain_tail, _plain_clear
else:
    _unchecked_part, _unchecked_clear = _part, _clear
    part, tail, clear = _part, _tail, _clear

if CHECKED:
    part, tail, clear = _checked_part, _checked_tail, _checked_clear


@jit
def inside(at, start, size, tag):
    """`at`, which must be one of the `size` entries from `start` on."""
    if at < start or at >= start + size:
        raise MemoryCheckError("an entry outside its buffer", tag)
    return at


@jit
def part_of(array, at, count, start, size, tag):
    """``part(array, at, count)``, which must lie in the `size` entries from `start` on."""
    if count > 0 and (at < start or at + count > start + size):
        raise MemoryCheckError("entries outside their buffer", tag)
    return part(array, at, max(count, 0))


@jit
def rest_of(array, at, start, size, tag):
    """The entries from `at` on, up to the end of the buffer of `size` entries from `start` on: none behind it."""
    if at < start:
        raise MemoryCheckError("entries outside their buffer", tag)
    end = start + size
    return part(array, min(at, end), end - min(at, end))


@jit
def check_matrix(rows, columns, distance, size):
    """Test that an array of `size` entries holds a matrix whose rows begin `distance` entries apart."""
    if rows > 0 and columns > 0 and ((distance < columns and rows > 1) or (rows - 1) * distance + columns > size):
        raise MemoryCheckError("a product reads or writes beyond an operand", 0)


@jit
def check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc):
    """Test the extents of a product as `blas.gemm_f32` takes it."""
    if m > 0 and n > 0:
        check_matrix(k if ta else m, m if ta else k, lda, a.shape[0])
        check_matrix(n if tb else k, k if tb else n, ldb, b.shape[0])
        check_matrix(m, n, ldc, c.shape[0])
