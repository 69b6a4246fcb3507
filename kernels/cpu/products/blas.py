"""Matrix products on flat row-major arrays, by BLAS or tiles of our own; a call with the BLAS on one thread.

The products call the symbol that Numba registers for ``np.dot`` and that calls SciPy's BLAS
(`ppl.kernels.internals.BLAS_PRODUCT`): they accumulate (beta), take leading dimensions and copy nothing. Everything
here is reached by symbol, not by pointer, so that callers can be cached on disk. Float32 products of shapes for
which they are faster are our own (`ppl.kernels.cpu.products.tiled`). The thread count of the BLAS and its guard are
re-exported from `ppl.kernels.cpu.products.blas_threads`.

`single` restores the thread count also where the call raises an exception: Numba cannot raise again what an `except`
or `finally` block has caught. So the function is called as a region is: its status is looked at first, and the
exception is raised when the BLAS has its threads again."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ppl.checked import CHECKED
from ppl.kernels import internals
from ppl.kernels.cpu.memory import check_product
from ppl.kernels.cpu.products.blas_threads import (
    enter_single,
    get_threads,
    has_thread_control,
    leave_single,
    set_threads,
)
from ppl.kernels.cpu.products.tiled import try_multiply
from ppl.kernels.cpu.threads.pool import raise_reported
from ppl.kernels.decorators import shared
from ppl.kernels.internals import BLAS_PRODUCT, array_data, cgutils, ensure_blas

__all__ = ["enter_single", "gemm_f32", "gemm_f64", "get_threads", "has_thread_control", "leave_single", "set_threads"]

ensure_blas()

GEMM_SIGNATURE = "void(boolean,boolean,int64,int64,int64,{0},{0}[::1],int64,{0}[::1],int64,{0},{0}[::1],int64)"
"""The signature of a product."""

_BLAS_LETTER = {types.float32: "s", types.float64: "d"}


@intrinsic
def _blas_gemm(typing_context, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Call the BLAS product with column-major operands; arrays are contiguous and of one floating type."""
    if not all(isinstance(t, types.Array) and t.layout == "C" and t.dtype == c.dtype for t in (a, b, c)):
        raise TypingError("gemm needs contiguous arrays of one type")
    kind = _BLAS_LETTER[c.dtype]
    size = types.intp
    signature = types.void(types.boolean, types.boolean, size, size, size, c.dtype, a, size, b, size, c.dtype, c, size)

    def codegen(context, builder, signature, arguments):
        ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = arguments
        char, word, pointer = ir.IntType(8), context.get_value_type(types.intp), cgutils.voidptr_t
        operands = [pointer, pointer, word, pointer, word, pointer, pointer, word]
        function_type = ir.FunctionType(ir.IntType(32), [char] * 3 + [word] * 3 + operands)
        function = cgutils.get_or_insert_function(builder.module, function_type, BLAS_PRODUCT)

        def data(value):
            return builder.bitcast(array_data(builder, value), pointer)

        def address(value):
            return builder.bitcast(cgutils.alloca_once_value(builder, value), pointer)

        def letter(flag):
            return builder.select(cgutils.is_true(builder, flag), char(ord("t")), char(ord("n")))

        call = [char(ord(kind)), letter(ta), letter(tb), m, n, k, address(alpha), data(a), lda]
        call += [data(b), ldb, address(beta), data(c), ldc]
        builder.call(function, call)
        return context.get_dummy_value()

    return signature, codegen


@shared(GEMM_SIGNATURE.format("float32"))
def gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha op(A) op(B) + beta C for row-major float32 matrices stored in flat arrays.

    Parameters
    ----------
    ta, tb : bool
        Whether op transposes: A is stored m x k, or k x m if `ta`; B is stored k x n, or n x k if `tb`.
    m, n, k : int
        C is m x n, and k is the dimension summed over.
    alpha, beta : float
        Cast to float32. With ``beta = 0`` the old content of `c` is not read.
    a, b, c : float32 arrays, one-dimensional and contiguous
        Slices give offsets: ``a[start:]``. Sizes are not checked.
    lda, ldb, ldc : int
        Distance between the starts of two stored rows.
    """
    if CHECKED:
        check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    # Row-major C is column-major C transposed, which is op(B)' op(A)'.
    if m > 0 and n > 0 and not try_multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        _blas_gemm(tb, ta, n, m, k, alpha, b, max(ldb, 1), a, max(lda, 1), beta, c, max(ldc, 1))


@shared(GEMM_SIGNATURE.format("float64"))
def gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha op(A) op(B) + beta C for row-major float64 matrices; arguments as for `gemm_f32`."""
    if CHECKED:
        check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    if m > 0 and n > 0:
        _blas_gemm(tb, ta, n, m, k, alpha, b, max(ldb, 1), a, max(lda, 1), beta, c, max(ldc, 1))


@intrinsic
def _call_catching(typing_context, function, arguments):
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
        raised, result = _call_catching(function, arguments)
        leave_single()
        raise_reported(raised)
        return result

    return call
