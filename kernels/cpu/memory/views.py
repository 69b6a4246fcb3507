"""Parts of flat arrays for emitted code, not counted as references, and checked in the checked build only.

A slice tests and clamps its bounds and counts a reference, which takes longer to compile than the loop that walks
through it. The caller keeps the array alive and the bounds right.
"""

import numba
from numba import types
from numba.extending import intrinsic

from ppl.checked import CHECKED
from ppl.errors import MemoryCheckError
from ppl.kernels.config import jit
from ppl.kernels.internals import WORD, array_data, array_shape, cgutils, entry_bytes, flat_array


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
    return _cut(array, start, max(size, 0))


@jit
def _checked_tail(array, start):
    return _checked_part(array, start, array.shape[0] - start)


@jit
def _checked_clear(array, start, size):
    _wipe(_checked_part(array, start, size), 0, size)


def _plain_part(array, start, size):
    return array[start : start + size]


def _plain_tail(array, start):
    return array[start:]


def _plain_clear(array, start, size):
    array[start : start + size] = 0


if numba.config.DISABLE_JIT:
    _cut, _wipe = _plain_part, _plain_clear
    part, tail, clear = _plain_part, _plain_tail, _plain_clear
else:
    _cut, _wipe = _part, _clear
    part, tail, clear = _part, _tail, _clear
if CHECKED:
    part, tail, clear = _checked_part, _checked_tail, _checked_clear
