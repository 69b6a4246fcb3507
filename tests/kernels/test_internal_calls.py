"""Calls in Numba's calling convention, and what they hand over: exceptions, flat arrays, BLAS, threads."""

import ctypes

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba import types
from numba.extending import intrinsic

from ppl.kernels import internals
from ppl.kernels.cpu.threads.regions import on_threads
from ppl.kernels.decorators import jit

compiles = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="looks at compiled functions")

pytestmark = pytest.mark.tiny

F = types.float64


def positive(x):
    """Plain: x, which must be positive."""
    if x <= 0:
        raise ValueError("not positive", 7)
    return x


_checked, _symbol = numba.njit(positive), "ppl_test_of_internals"


@intrinsic
def _by_symbol(typing_context, x):
    def codegen(context, builder, signature, values):
        return internals.call_symbol(context, builder, signature, _symbol, values)

    return F(F), codegen


@intrinsic
def _by_address(typing_context, place, x):
    def codegen(context, builder, signature, values):
        return internals.call_address(context, builder, F(F), values[0], values[1:])

    return types.int64(types.int64, F), codegen


@intrinsic
def _linked(typing_context, function, x):
    called = internals.call_signature(typing_context, function, [x])
    both = types.Tuple((types.int64, called.return_type))

    def codegen(context, builder, signature, values):
        compiled = internals.compiled(function.dispatcher, called)
        found = internals.call_compiled(context, builder, compiled, called, values[1:])
        return context.make_tuple(builder, both, found)

    return both(function, x), codegen


@intrinsic
def _raise(typing_context, raised):
    def codegen(context, builder, signature, values):
        internals.emit_raise_again(context, builder, values[0])
        return context.get_dummy_value()

    return types.void(raised), codegen


@numba.njit
def _ends_and_raises(place, x):
    """How a call ended, and then its exception."""
    raised = _by_address(place, x)
    if raised == 0:
        return 1.0
    _raise(raised)
    return 2.0


@compiles
def test_calls_by_symbol():
    llvm.add_symbol(_symbol, internals.address(_checked, F(F)))
    caller = numba.njit(lambda x: _by_symbol(x))
    assert caller(2.5) == 2.5
    with pytest.raises(ValueError) as caught:
        caller(-1.0)
    assert caught.value.args == ("not positive", 7)


@compiles
def test_calls_by_address():
    place = internals.address(_checked, F(F))
    assert _ends_and_raises(place, 2.5) == 1.0
    with pytest.raises(ValueError) as caught:
        _ends_and_raises(place, -1.0)
    assert caught.value.args == ("not positive", 7)


@compiles
def test_exceptions_raised_in_python_stay_there():
    @numba.njit
    def fails(x):
        with numba.objmode(y="float64"):
            y = {}[x]
        return y

    with pytest.raises(KeyError):
        _ends_and_raises(internals.address(fails, F(F)), 1.0)


@compiles
def test_calls_of_linked_machine_code():
    @numba.njit
    def caller(fn, x):
        raised, result = _linked(fn, x)
        _raise(raised)
        return result

    assert caller(_checked, 2.5) == 2.5
    with pytest.raises(ValueError, match="not positive"):
        caller(_checked, -1.0)


# Arrays, BLAS and threads.


@intrinsic
def _cut(typing_context, array, start, size):
    def codegen(context, builder, signature, values):
        data = context.make_array(array)(context, builder, values[0]).data
        return internals.flat_array(context, builder, array, builder.gep(data, [values[1]]), values[2])

    return array(array, types.int64, types.int64), codegen


@compiles
def test_flat_arrays():
    def doubled(x, start, size):
        part = _cut(x, start, size)
        part *= 2
        return part.shape[0], part.strides[0], part.itemsize, part.sum()

    x = np.arange(6, dtype=np.float32)
    assert numba.njit(doubled)(x, 1, 3) == (3, 4, 4, 12.0)
    assert list(x) == [0, 2, 4, 6, 4, 5]


def test_the_product_of_blas():
    """Column-major c = 2 a b + 3 c, a 2 x 3 and b given transposed, 2 x 3."""
    internals.ensure_blas()
    place = llvm.address_of_symbol(internals.BLAS_PRODUCT)
    assert place
    word, pointer, letter = ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_char
    operands = [pointer, pointer, word, pointer, word, pointer, pointer, word]
    product = ctypes.CFUNCTYPE(ctypes.c_int, letter, letter, letter, word, word, word, *operands)(place)
    a, b = np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3) - 2)
    c, alpha, beta = np.asfortranarray(np.ones((2, 2))), np.array([2.0]), np.array([3.0])
    at = [x.ctypes.data for x in (alpha, a, b, beta, c)]
    assert product(b"d", b"n", b"t", 2, 2, 3, at[0], at[1], 2, at[2], 2, at[3], at[4], 2) == 0
    np.testing.assert_array_equal(c, 2 * a @ b.T + 3)


@jit
def _place(part, parts, lane, out, flag, number, count):
    out[part] = number * count if flag else lane


@jit
def _places(out, flag, number, count):
    on_threads(_place, (out, flag, number, count), out.shape[0], 1)


def test_a_region_calls_a_function_with_what_stands_behind_a_word():
    out = np.ones(3)
    _places(out, True, np.float32(0.5), np.int32(6))
    assert out.tolist() == [3.0] * 3
    _places(out, False, np.float32(0.5), np.int32(6))
    assert out.tolist() == [0.0] * 3
