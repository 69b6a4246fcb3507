"""Calls of users' functions that may fail: what a call has raised, whether its results are as declared, where it was.

Compiled code raises `SimulatorError` with what is known there: the state of the call (`judged`), the row, the
arguments, and what describes the exception of the function, if there was one.
"""

import inspect
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable

from ppl.errors import describe_by, in_words
from ppl.interrupts import pass_on
from ppl.kernels import internals
from ppl.kernels.config import handing_on
from ppl.kernels.cpu.parallel.enter import raise_it
from ppl.kernels.cpu.python_calls import failure_of

RAISED, RESULTS = 1, 2
"""States of a call: the function has raised an exception; from `RESULTS` on, a result has another shape, or is NaN."""


def attempt(function: Any, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """(what ``function(*arguments)`` has raised, its result); the former is 0 or stands for the exception."""
    try:
        return 0, function(*arguments)
    except Exception as error:
        pass_on(error)
        return error, None


@intrinsic
def attempted(typing_context, function, arguments):
    """The same in compiled code, where what was raised is 0 or what `raise_it` takes."""
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


@overload(attempt, target="generic")
def _attempt(function, arguments):
    if not isinstance(function, types.Dispatcher):
        return lambda function, arguments: (0, function(*arguments))
    inner = function.dispatcher
    parameters = inspect.signature(inner.py_func).parameters.values()
    if len(parameters) == len(arguments) and all(p.kind is not p.VAR_POSITIONAL for p in parameters):
        return lambda function, arguments: attempted(function, arguments)
    spread = handing_on(lambda arguments: inner(*arguments))  # there are defaults, or any number of arguments
    return lambda function, arguments: attempted(spread, (arguments,))


def judged(raised: Any, results: Any, shapes: tuple[Any, ...], arguments: tuple[Any, ...]) -> int:
    """The state of a call: 0 where all is well, else `RAISED`, or which of its `results` is wrong.

    `shapes` are those declared, None for results that nobody reads. NaN is wrong unless an argument is.
    """
    if not (isinstance(raised, int) and raised == 0):
        return RAISED
    found = listed(results, shapes)
    for i, (result, shape) in enumerate(zip(found, shapes, strict=True)):
        if shape is not None and np.shape(result) != shape:
            return RESULTS + i
    for i, (result, shape) in enumerate(zip(found, shapes, strict=True)):
        if shape is not None and has_nan(result) and not any(has_nan(x) for x in arguments):
            return RESULTS + len(shapes) + i
    return 0


@overload(judged, target="generic")
def _judged(raised, results, shapes, arguments):
    count = len(shapes)

    def judge(raised, results, shapes, arguments):
        if raised != 0:
            return 1
        found = listed(results, shapes)
        misshapen = first_misshapen(found, shapes)
        if misshapen >= 0:
            return 2 + misshapen
        strange = first_nan(found, shapes)
        if strange >= 0 and first_nan(arguments, arguments) < 0:
            return 2 + count + strange
        return 0

    return judge


def first_misshapen(results: Any, shapes: Any) -> int:
    """The place of the first result of another shape, -1 where there is none; for compiled code."""
    raise NotImplementedError("compiled code only")


@overload(first_misshapen, target="generic")
def _first_misshapen(results, shapes):
    if not len(shapes):
        return lambda results, shapes: -1
    wanted, found, array = shapes[0], results[0], isinstance(results[0], types.Array)
    if not isinstance(wanted, types.NoneType):
        if len(wanted) and not array:
            raise TypingError(f"an array is declared, the function returns {found}")
        if not len(wanted) and not isinstance(found, types.Number | types.Boolean):
            raise TypingError(f"a number is declared, the function returns {found}")

    def check(results, shapes):
        if not fits(results[0], shapes[0]):
            return 0
        later = first_misshapen(results[1:], shapes[1:])
        return later + 1 if later >= 0 else -1

    return check


def fits(result: Any, shape: Any) -> bool:
    """Whether a result has a shape; for compiled code."""
    raise NotImplementedError("compiled code only")


@overload(fits, target="generic")
def _fits(result, shape):
    if isinstance(shape, types.NoneType) or not isinstance(result, types.Array):
        return lambda result, shape: True
    if result.ndim != len(shape):
        return lambda result, shape: False
    return lambda result, shape: result.shape == shape


def first_nan(values: Any, shapes: Any) -> int:
    """The place of the first value that has a NaN, -1 where none has; for compiled code."""
    raise NotImplementedError("compiled code only")


@overload(first_nan, target="generic")
def _first_nan(values, shapes):
    if not len(shapes):
        return lambda values, shapes: -1

    def check(values, shapes):
        if shapes[0] is not None and has_nan(values[0]):
            return 0
        later = first_nan(values[1:], shapes[1:])
        return later + 1 if later >= 0 else -1

    return check


def has_nan(value: Any) -> bool:
    """Whether a number or an array holds NaN."""
    return bool(np.isnan(value).any())


@overload(has_nan, target="generic")
def _has_nan(value):
    if isinstance(value, types.Float):
        return lambda value: value != value
    if not isinstance(value, types.Array) or not isinstance(value.dtype, types.Float):
        return lambda value: False

    def search(value):
        for x in value.flat:
            if x != x:
                return True
        return False

    return search


def listed(results: Any, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """The results of a function as a tuple of as many as are declared."""
    found = results if isinstance(results, tuple) else (results,)
    if len(found) != len(shapes):
        raise TypeError(arity(len(shapes), len(found)))
    return found


def arity(wanted: int, found: int) -> str:
    """The message about another number of results than declared."""
    return f"the function returns {found} results, {wanted} {'is' if wanted == 1 else 'are'} declared"


@overload(listed, target="generic")
def _listed(results, shapes):
    several = isinstance(results, types.BaseTuple)
    found = len(results) if several else 1
    if found != len(shapes):
        raise TypingError(arity(len(shapes), found))
    return (lambda results, shapes: results) if several else (lambda results, shapes: (results,))


def kept(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments for an exception, which outlives the memory of the program."""
    return tuple(x.copy() if isinstance(x, np.ndarray) else x for x in arguments)


@overload(kept, target="generic")
def _kept(arguments):
    if not len(arguments):
        return lambda arguments: ()
    if isinstance(arguments[0], types.Array):
        return lambda arguments: (arguments[0].copy(), *kept(arguments[1:]))
    return lambda arguments: (arguments[0], *kept(arguments[1:]))


def propagate(raised: Any) -> None:
    """Raise what Python itself has raised in compiled code, and what no `except Exception` takes."""


@overload(propagate, target="generic")
def _propagate(raised):
    def pass_on(raised):
        if raised == 1:
            raise_it(raised)

    return pass_on


@register_jitable
def row_at(ids, at, first):
    """The number of a row in the data set: entry `at` of `ids` where there are any, else counted from `first`."""
    return first + at if ids.shape[0] == 0 else ids[at]


def described(raised: Any) -> str:
    """The exception of a user's function in words; "an exception" where compiled code does not know more."""
    if isinstance(raised, BaseException):
        return in_words(raised)
    failure = failure_of(raised)
    return internals.described(raised) if failure is None else failure


describe_by(described)
