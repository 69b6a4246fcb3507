"""Matrix products on flat row-major arrays.

The products call the symbol that Numba registers for ``np.dot`` and that calls SciPy's BLAS
(`ppl.kernels.internals.BLAS_PRODUCT`): they accumulate (beta), take leading dimensions and copy nothing. Everything
here is reached by symbol, not by pointer, so that callers can be cached on disk. Float32 products of shapes for which
they are faster are our own (`ppl.kernels.cpu.products.dense`).

The thread count of the BLAS and its guard are re-exported from `ppl.kernels.cpu.products.blas_threads`.
"""

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ppl.checked import CHECKED
from ppl.kernels.cpu.memory.guards import check_product
from ppl.kernels.cpu.products.blas_threads import (
    enter_single,
    get_threads,
    has_thread_control,
    leave_single,
    set_threads,
)
from ppl.kernels.cpu.products.dense import multiply
from ppl.kernels.internals import BLAS_PRODUCT, array_data, cgutils, ensure_blas
from ppl.kernels.symbols import shared

__all__ = [
    "enter_single",
    "gemm_f32",
    "gemm_f64",
    "get_threads",
    "has_thread_control",
    "leave_single",
    "set_threads",
]

ensure_blas()

GEMM = "void(boolean,boolean,int64,int64,int64,{0},{0}[::1],int64,{0}[::1],int64,{0},{0}[::1],int64)"
"""The signature of a product."""

_KIND = {types.float32: "s", types.float64: "d"}


@intrinsic
def _xxgemm(typing_context, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Call the BLAS product with column-major operands; arrays are contiguous and of one floating type."""
    if not all(isinstance(t, types.Array) and t.layout == "C" and t.dtype == c.dtype for t in (a, b, c)):
        raise TypingError("gemm needs contiguous arrays of one type")
    kind = _KIND[c.dtype]
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


@shared(GEMM.format("float32"))
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
    if m > 0 and n > 0 and not multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        _xxgemm(tb, ta, n, m, k, alpha, b, max(ldb, 1), a, max(lda, 1), beta, c, max(ldc, 1))


@shared(GEMM.format("float64"))
def gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha op(A) op(B) + beta C for row-major float64 matrices; arguments as for `gemm_f32`."""
    if CHECKED:
        check_product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    if m > 0 and n > 0:
        _xxgemm(tb, ta, n, m, k, alpha, b, max(ldb, 1), a, max(lda, 1), beta, c, max(ldc, 1))
