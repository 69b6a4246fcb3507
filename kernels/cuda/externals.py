"""Call users' functions inside kernels, each by one thread: a failure is a status that the host looks at.

Results are judged and kept by the functions of `ppl.kernels.cpu.externals`. Kernels that call users' functions have
memory for the arrays that these make (`ppl.kernels.cuda.ptx`)."""

import inspect

from llvmlite import ir
from numba import types

from ppl.kernels.cpu import externals
from ppl.kernels.cpu.externals import listed, put, put_whole, whole
from ppl.kernels.cuda.compat import SIMULATED, kernel
from ppl.kernels.cuda.ptx import with_memory
from ppl.kernels.decorators import forward_call

__all__ = ["attempt", "calling", "judged", "listed", "put", "put_whole", "whole"]


def calling(fn):
    """A kernel that calls users' functions."""
    return kernel(fn) if SIMULATED else with_memory(kernel(fn), True)


def _for_simulator():
    from ppl.kernels.cuda.simulated import as_numpy

    def attempt(function, arguments):
        return externals.attempt(function, as_numpy(arguments))

    def judged(raised, results, shapes, arguments):
        raised = 0 if isinstance(raised, int) else 1
        return externals.judged(raised, results, shapes, as_numpy(arguments))

    return attempt, judged


def _for_device():
    from numba.cuda.extending import intrinsic, overload

    @intrinsic
    def attempted(typing_context, function, arguments):
        """What a function has raised, 0 or 1, and its result."""
        called = function.get_call_type(typing_context, tuple(arguments), {})
        both = types.Tuple((types.int64, called.return_type))

        def codegen(context, builder, signature, values):
            made = function.dispatcher.compile_device(called.args)
            given = [
                context.cast(builder, builder.extract_value(values[1], i), argument, wanted)
                for i, (argument, wanted) in enumerate(zip(arguments, called.args, strict=True))
            ]
            context.active_code_library.add_linking_library(made.library)
            status, result = made.fndesc.call_conv.call_internal_no_propagate(builder, made.fndesc, called, given)
            raised = builder.zext(status.is_error, ir.IntType(64))
            return context.make_tuple(builder, both, (raised, result))

        return both(function, arguments), codegen

    def attempt(function, arguments):
        raise NotImplementedError("compiled code only")

    @overload(attempt)
    def _attempt(function, arguments):
        inner = function.dispatcher
        parameters = inspect.signature(inner.py_func).parameters.values()
        if len(parameters) == len(arguments) and all(p.kind is not p.VAR_POSITIONAL for p in parameters):
            return lambda function, arguments: attempted(function, arguments)
        spread = forward_call(lambda arguments: inner(*arguments))  # there are defaults, or any number of arguments
        return lambda function, arguments: attempted(spread, (arguments,))

    return attempt, externals.judged


attempt, judged = _for_simulator() if SIMULATED else _for_device()
