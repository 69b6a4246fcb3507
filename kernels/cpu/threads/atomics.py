"""Words of memory that several threads read and write, and the pause of a thread that looks at one again and again.

An address is an int64; a word there is an int64. All operations are in one order that all threads agree on."""

import platform

import llvmlite.ir as ir
import numba
from numba import types
from numba.extending import intrinsic

from ppl.kernels.internals import WORD, cgutils

ORDER = "seq_cst"

_X86, _ARM = ("llvm.x86.sse2.pause",), ("llvm.aarch64.hint", 1)

PAUSES = {"x86_64": _X86, "AMD64": _X86, "aarch64": _ARM, "arm64": _ARM}
"""The instruction of a waiting thread and its arguments, by the name of the processor."""


def _at(builder, address):
    return builder.inttoptr(address, WORD.as_pointer())


@intrinsic
def _load(typing_context, address):
    """The word at `address`."""

    def codegen(context, builder, signature, values):
        return builder.load_atomic(_at(builder, values[0]), ORDER, 8)

    return types.int64(types.int64), codegen


@intrinsic
def _store(typing_context, address, value):
    """Write the word at `address`."""

    def codegen(context, builder, signature, values):
        builder.store_atomic(values[1], _at(builder, values[0]), ORDER, 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def swap(typing_context, address, value):
    """Write the word at `address`; what it was."""

    def codegen(context, builder, signature, values):
        return builder.atomic_rmw("xchg", _at(builder, values[0]), values[1], ORDER)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def add(typing_context, address, value):
    """Add to the word at `address`; what it was."""

    def codegen(context, builder, signature, values):
        return builder.atomic_rmw("add", _at(builder, values[0]), values[1], ORDER)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def replace(typing_context, address, old, new):
    """Write `new` to the word at `address` if it is `old`; whether it was."""

    def codegen(context, builder, signature, values):
        pair = builder.cmpxchg(_at(builder, values[0]), values[1], values[2], ORDER, ORDER)
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic
def pause(typing_context):
    """Let a thread that shares the core go first for a moment."""

    def codegen(context, builder, signature, values):
        if platform.machine() in PAUSES:
            name, *given = PAUSES[platform.machine()]
            word = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [word] * len(given))
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [word(x) for x in given])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _own_word(typing_context):
    """The address of a word that is 0 and lasts as long as the caller."""

    def codegen(context, builder, signature, values):
        return builder.ptrtoint(cgutils.alloca_once_value(builder, WORD(0)), WORD)

    return types.int64(), codegen


def named_words(symbol, size):
    """An intrinsic without arguments: the address of `size` words that are registered as `symbol`."""

    @intrinsic
    def address(typing_context):
        def codegen(context, builder, signature, values):
            known = builder.module.globals.get(symbol)
            array = known or cgutils.add_global_variable(builder.module, ir.ArrayType(WORD, size), symbol)
            return builder.ptrtoint(array, WORD)

        return types.int64(), codegen

    return address


if numba.config.DISABLE_JIT:
    own_word = lambda: [0]  # noqa: E731
    load = lambda word: word[0]  # noqa: E731
    store = lambda word, value: word.__setitem__(0, value)  # noqa: E731
else:
    own_word, load, store = _own_word, _load, _store
