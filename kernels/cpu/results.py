"""What users' functions return, on its way into the arrays of a program: of the kind that was declared."""

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable


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
    """Write what a function has returned, in C order, to ``array[at:]``; a float is never truncated."""
    found = np.asarray(result)
    if array.dtype.kind in "iu" and found.dtype.kind not in "iub":
        raise TypeError(f"integers are declared, the function returns {found.dtype}")
    array[at : at + found.size] = found.reshape(-1)


@overload(put, target="generic")
def _put(array, at, result):
    kind = result.dtype if isinstance(result, types.Array) else result
    if _is_whole(array.dtype) and not _is_whole(kind):
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
    if not _is_whole(kind):
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
