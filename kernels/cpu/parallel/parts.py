"""A compiled function for every part of its work, on the threads of the pool.

What emitted code does with regions and argument words, kernels do with functions and their arguments as they are.
"""

from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ppl.kernels import internals
from ppl.kernels.cpu.parallel.atomics import load
from ppl.kernels.cpu.parallel.enter import SIGNATURE, raise_it
from ppl.kernels.cpu.parallel.pool import share
from ppl.kernels.internals import WORD, cgutils


@intrinsic
def _packed(typing_context, function, arguments):
    """(address of a region that calls `function`, address of its words), which last as long as the caller."""
    if not isinstance(function, types.Dispatcher):
        raise TypingError("only a compiled function can be called on several threads")
    called = internals.call_signature(typing_context, function, (*SIGNATURE.args[1:], *arguments))

    def codegen(context, builder, signature, values):
        dispatcher = function.dispatcher
        compiled = internals.compiled(getattr(dispatcher, "bare", lambda: dispatcher)(), called)
        wanted = called.args[len(SIGNATURE.args) - 1 :]
        given = [
            context.cast(builder, builder.extract_value(values[1], i), argument, kind)
            for i, (argument, kind) in enumerate(zip(arguments, wanted, strict=True))
        ]
        words = cgutils.pack_struct(builder, [WORD(0), *given])
        stored = cgutils.alloca_once_value(builder, words)
        region = internals.region_of(context, builder, compiled, called, SIGNATURE)
        both = [region, builder.ptrtoint(stored, WORD)]
        return context.make_tuple(builder, signature.return_type, both)

    return types.UniTuple(types.int64, 2)(function, arguments), codegen


def on_threads(function: Any, arguments: tuple[Any, ...], parts: int, threads: int) -> None:
    """``function(part, parts, lane, *arguments)`` for every part, on up to `threads` threads; see `pool`.

    An exception is raised when all parts that have begun have ended.
    """
    for part in range(parts):
        function(part, parts, 0, *arguments)


@overload(on_threads, target="generic")
def _on_threads(function, arguments, parts, threads):
    def call(function, arguments, parts, threads):
        region, words = _packed(function, arguments)
        share(region, words, parts, threads)
        raise_it(load(words))

    return call
