"""Arrays, BLAS and threads, as compiled code has them."""

from __future__ import annotations

from typing import Any

from llvmlite.binding import address_of_symbol as known
from numba import _helperlib, types
from numba.core.registry import cpu_target

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
    """Make `BLAS_PRODUCT` known; ImportError where SciPy has no BLAS.

    Numba's own function does so too, and is asked to say what is wrong. Its module knows all of NumPy's linear algebra,
    whose import takes a tenth of a first step that reads its machine code.
    """
    import scipy.linalg.cython_blas  # noqa: F401  imported with the first product

    cpu_target.target_context  # noqa: B018  with which Numba makes its symbols known
    if not known(BLAS_PRODUCT) or _helperlib_wide() != _scipy_wide():
        from numba.np.linalg import ensure_blas as numbas  # imported where it has something to say

        numbas()


def _helperlib_wide() -> bool:
    """Whether Numba's wrappers of BLAS take whole numbers of 64 bits."""
    return bool(getattr(_helperlib, "LAPACK_BUILD_ILP64", False))


def _scipy_wide() -> bool:
    """Whether SciPy's BLAS does; that of builds that do not say so never does."""
    try:
        from scipy.__config__ import CONFIG

        return bool(CONFIG["Build Dependencies"]["blas"]["cython blas ilp64"])
    except (ImportError, KeyError, TypeError):
        return False
