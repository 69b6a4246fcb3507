"""What users' functions return, on its way into the arrays of a program: of the kind that was declared."""

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload


def _is_whole(kind):
    return isinstance(kind, (types.Integer, types.Boolean))


def whole(result):
    """A number that was declared to be an integer."""
    if np.asarray(result).dtype.kind not in "iub":
        raise TypeError("an integer is declared, the function returns another number")
    return result


@overload(whole, target="generic")
def _whole(result):
    if not _is_whole(result):
        raise TypingError(f"an integer is declared, the function returns {result}")
    return lambda result: result


def put(array, at, result):
    """Write an array that a function has returned, in C order, to ``array[at:]``; a float is never truncated."""
    if array.dtype.kind in "iu" and result.dtype.kind not in "iub":
        raise TypeError(f"an array of integers is declared, the function returns one of {result.dtype}")
    array[at : at + result.size] = result.reshape(-1)


@overload(put, target="generic")
def _put(array, at, result):
    if not isinstance(result, types.Array):
        raise TypingError(f"an array is declared, the function returns {result}")
    if _is_whole(array.dtype) and not _is_whole(result.dtype):
        raise TypingError(f"an array of integers is declared, the function returns one of {result.dtype}")

    def write(array, at, result):
        i = at
        for x in result.flat:
            array[i] = x
            i += 1

    return write


def is_shaped(result, shape):
    """Whether what a function has returned has the declared shape."""
    return np.shape(result) == shape


@overload(is_shaped, target="generic")
def _is_shaped(result, shape):
    if not isinstance(result, types.Array):
        raise TypingError(f"an array is declared, the function returns {result}")
    if result.ndim != len(shape):
        return lambda result, shape: False
    return lambda result, shape: result.shape == shape


def only(result):
    """The single gradient that a user's function returned, as it is or as a tuple of one."""
    return result[0] if isinstance(result, tuple) else result


@overload(only, target="generic")
def _only(result):
    if isinstance(result, types.BaseTuple):
        return lambda result: result[0]
    return lambda result: result
