"""Call users' functions from compiled code, judge their results and store them.

Compiled code raises `SimulatorError` with what is known there: the state of the call (`judged`), the row, the
arguments, and what describes the exception of the function, if there was one. Plain Python functions are called one
at a time."""

import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import objmode, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable

from ppl.errors import in_words
from ppl.interrupts import pass_on
from ppl.kernels import internals
from ppl.kernels.cpu.threads.pool import raise_reported
from ppl.kernels.decorators import forward_call

_python_lock = threading.RLock()

_failure_numbers = itertools.count(2)
"""Numbers of failures: 0 is none, and 1 what Python itself has raised in compiled code
(`ppl.kernels.cpu.externals`)."""

_failures: dict[int, str] = {}

MOST_KEPT = 1000
"""Failures that are kept; what compiled code has caught is never asked for."""


def python_call(run: Callable[[tuple[Any, ...]], np.ndarray], size: int) -> Any:
    """A compiled function of a tuple of arguments that returns 0 and ``run(arguments)``, a vector of `size` floats.

    Where `run` raises an exception it returns a number for `failure_of` and any vector.
    """

    def attempted(arguments: tuple[Any, ...]) -> tuple[int, np.ndarray]:
        own = tuple(np.array(x) if isinstance(x, np.ndarray) else x for x in arguments)
        with _python_lock:
            try:
                return 0, run(own)
            except Exception as error:
                pass_on(error)
                if len(_failures) >= MOST_KEPT:
                    _failures.clear()
                number = next(_failure_numbers)
                _failures[number] = str(error)
                return number, np.zeros(size)

    @forward_call
    def call(arguments):
        with objmode(raised="int64", found="float64[::1]"):
            raised, found = attempted(arguments)
        return raised, found

    return call


def python_failure(number: int) -> str | None:
    """What `run` raised, in words; None of numbers that are none of its."""
    return _failures.get(number)


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
def call_catching(typing_context, function, arguments):
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
        return lambda function, arguments: call_catching(function, arguments)
    spread = forward_call(lambda arguments: inner(*arguments))  # there are defaults, or any number of arguments
    return lambda function, arguments: call_catching(spread, (arguments,))


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
        if not has_shape(results[0], shapes[0]):
            return 0
        later = first_misshapen(results[1:], shapes[1:])
        return later + 1 if later >= 0 else -1

    return check


def has_shape(result: Any, shape: Any) -> bool:
    """Whether a result has a shape; for compiled code."""
    raise NotImplementedError("compiled code only")


@overload(has_shape, target="generic")
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
        raise TypeError(wrong_result_count(len(shapes), len(found)))
    return found


def wrong_result_count(wanted: int, found: int) -> str:
    """The message about another number of results than declared."""
    return f"the function returns {found} results, {wanted} {'is' if wanted == 1 else 'are'} declared"


@overload(listed, target="generic")
def _listed(results, shapes):
    several = isinstance(results, types.BaseTuple)
    found = len(results) if several else 1
    if found != len(shapes):
        raise TypingError(wrong_result_count(len(shapes), found))
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
            raise_reported(raised)

    return pass_on


@register_jitable
def row_at(ids, at, first):
    """The number of a row in the data set: entry `at` of `ids` where there are any, else counted from `first`."""
    return first + at if ids.shape[0] == 0 else ids[at]


def exception_in_words(raised: Any) -> str:
    """The exception of a user's function in words; "an exception" where compiled code does not know more."""
    if isinstance(raised, BaseException):
        return in_words(raised)
    failure = python_failure(raised)
    return internals.described(raised) if failure is None else failure


def _is_integer_type(kind):
    return isinstance(kind, (types.Integer, types.Boolean))


def whole(result):
    """A number that was declared to be an integer."""
    if np.asarray(result).dtype.kind not in "iub":
        raise TypeError("an integer is declared, the function returns another number")
    return result


@overload(whole, target="generic")
def _whole(result):
    if not _is_integer_type(result):
        raise TypingError(f"an integer is declared, the function returns {result}")
    return lambda result: result


def put(array, at, result):
    """Write what a function has returned, in C order, to ``array[at:]``; a float is never truncated."""
    found = np.asarray(result)
    if array.dtype.kind in "iu" and found.dtype.kind not in "iub":
        raise TypeError(f"integers are declared, the function returns {found.dtype}")
    array[at : at + found.size] = found.reshape(-1)


@overload(put, target="generic")
def _put(array, at, result):
    kind = result.dtype if isinstance(result, types.Array) else result
    if _is_integer_type(array.dtype) and not _is_integer_type(kind):
        raise TypingError(f"integers are declared, the function returns {result}")
    if not isinstance(result, types.Array):

        def write_one(array, at, result):
            array[at] = result

        return write_one

    def write(array, at, result):
        i = at
        for x in result.flat:
            array[i] = x
            i += 1

    return write


def put_whole(array, at, result):
    """Write integers to a packed vector of floats: three entries each, of 22 bits, the highest with the sign."""
    found = np.asarray(result)
    if found.dtype.kind not in "iub":
        raise TypeError(f"integers are declared, the function returns {found.dtype}")
    for i, x in enumerate(found.astype(np.int64).ravel()):
        array[at + 3 * i : at + 3 * i + 3] = x & 0x3FFFFF, (x >> 22) & 0x3FFFFF, x >> 44


@overload(put_whole, target="generic")
def _put_whole(array, at, result):
    kind = result.dtype if isinstance(result, types.Array) else result
    if not _is_integer_type(kind):
        raise TypingError(f"integers are declared, the function returns {result}")

    def put_one(array, at, x):
        whole = np.int64(x)
        array[at] = whole & 0x3FFFFF
        array[at + 1] = (whole >> 22) & 0x3FFFFF
        array[at + 2] = whole >> 44

    one = register_jitable(put_one)
    if not isinstance(result, types.Array):
        return lambda array, at, result: one(array, at, result)

    def write(array, at, result):
        i = at
        for x in result.flat:
            one(array, i, x)
            i += 3

    return write
