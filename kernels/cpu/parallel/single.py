"""A call with the BLAS on one thread, whose thread count comes back also where the call raises an exception.

Numba cannot raise again what an `except` or `finally` block has caught. So the function is called as a region is: its
status is looked at first, and the exception is raised when the BLAS has its threads again.
"""

from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ppl.kernels import internals
from ppl.kernels.cpu.parallel.enter import raise_it
from ppl.kernels.cpu.products.blas import enter_single, leave_single


@intrinsic
def _attempt(typing_context, function, arguments):
    """(what the call of a compiled function has raised, its result); the former is 0 or what `raise_it` takes."""
    if not isinstance(function, types.Dispatcher):
        raise TypingError("only a compiled function can be called on one thread")
    called = internals.call_signature(typing_context, function, arguments)
    both = types.Tuple((types.int64, called.return_type))

    def codegen(context, builder, signature, values):
        dispatcher = function.dispatcher
        compiled = internals.compiled(getattr(dispatcher, "bare", lambda: dispatcher)(), called)
        given = [
            context.cast(builder, builder.extract_value(values[1], i), argument, wanted)
            for i, (argument, wanted) in enumerate(zip(arguments, called.args, strict=True))
        ]
        return context.make_tuple(builder, both, internals.call_compiled(context, builder, compiled, called, given))

    return both(function, arguments), codegen


def single(function: Any, arguments: tuple[Any, ...]) -> Any:
    """``function(*arguments)``, with the BLAS on one thread."""
    enter_single()
    try:
        return function(*arguments)
    finally:
        leave_single()


@overload(single, target="generic")
def _single(function, arguments):
    def call(function, arguments):
        enter_single()
        raised, result = _attempt(function, arguments)
        leave_single()
        raise_it(raised)
        return result

    return call
