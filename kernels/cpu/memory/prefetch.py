"""Asking for memory before it is needed: rows of tables lie anywhere, so the processor cannot guess the next one."""

import llvmlite.ir as ir
import numba
from numba import types
from numba.extending import intrinsic

from ppl.kernels.internals import array_data, cgutils
from ppl.tuning import ROWS_AHEAD

AHEAD = ROWS_AHEAD
"""How many rows of a loop earlier a row is asked for, as emitted code calls it."""


def fetch(builder, pointer, write):
    """Build one prefetch instruction; `write` is 1 to take the line from other cores, else 0."""
    word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    callee = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(callee, [builder.bitcast(pointer, byte), word(write), word(3), word(1)])


def _prefetch(array, write):
    """The signature and the code of one prefetch instruction."""

    def ask(context, builder, signature, arguments):
        data = array_data(builder, arguments[0])
        fetch(builder, builder.gep(data, [arguments[1]]), write)
        return context.get_dummy_value()

    return types.void(array, types.int64), ask


@intrinsic
def _to_read(typing_context, array, place):
    """Fetch the line of entry `place`."""
    return _prefetch(array, 0)


@intrinsic
def _to_write(typing_context, array, place):
    """Fetch the line of entry `place`, and take it from other cores."""
    return _prefetch(array, 1)


def _do_nothing(array, place):
    """What they are without the compiler."""


to_read = _do_nothing if numba.config.DISABLE_JIT else _to_read
to_write = _do_nothing if numba.config.DISABLE_JIT else _to_write
