"""Arrays, BLAS and threads, as compiled code has them."""

from __future__ import annotations

from typing import Any

from numba import types

BLAS_PRODUCT = "numba_xxgemm"
"""The symbol of the matrix product that ``np.dot`` calls: kind, letters of transposition, sizes, and pointers."""


def flat_array(context: Any, builder: Any, kind: Any, data: Any, size: Any) -> Any:
    """Emit: a flat array of `size` entries at the pointer `data`, of which no references are counted."""
    from numba.np.arrayobj import populate_array  # imported with the first function that is compiled

    array = context.make_array(kind)(context, builder)
    itemsize = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    populate_array(array, data=data, shape=(size,), strides=(itemsize,), itemsize=itemsize, meminfo=None)
    return array._getvalue()


def ensure_blas() -> None:
    """Make `BLAS_PRODUCT` known; ImportError where SciPy has no BLAS."""
    from numba.np.linalg import ensure_blas  # imported with the first product

    ensure_blas()
