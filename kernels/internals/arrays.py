"""Arrays, BLAS and threads, as compiled code has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from llvmlite.binding import address_of_symbol as known
from numba import _helperlib, types
from numba.core.registry import cpu_target

WORD = ir.IntType(64)

BLAS_PRODUCT = "numba_xxgemm"
"""The symbol of the matrix product that ``np.dot`` calls: kind, letters of transposition, sizes, and pointers."""


FIELDS = ("meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides")
"""What an array is in compiled code, in this order.

Arrays are taken apart and put together here field by field. Numba's own functions do so through memory, which takes
several times as long to write and to optimise, and stand in a module that knows all of NumPy's arrays.
"""

DATA, SHAPE = FIELDS.index("data"), FIELDS.index("shape")


def array_data(builder: Any, array: Any) -> Any:
    """Emit: the pointer to the first entry of an array."""
    return builder.extract_value(array, DATA)


def array_shape(builder: Any, kind: Any, array: Any) -> list[Any]:
    """Emit: the sizes of an array of type `kind`."""
    return [builder.extract_value(array, (SHAPE, i)) for i in range(kind.ndim)]


def array_of(context: Any, builder: Any, kind: Any, data: Any, shape: Sequence[Any]) -> Any:
    """Emit: an array in C order at the pointer `data`, of which no references are counted."""
    step: Any = ir.Constant(WORD, entry_bytes(context, kind.dtype))
    itemsize, strides = step, list[Any]()
    for size in reversed(shape):
        strides.insert(0, step)
        step = builder.mul(step, size)
    nitems = shape[0] if shape else ir.Constant(WORD, 1)
    for size in shape[1:]:
        nitems = builder.mul(nitems, size)
    array = ir.Constant(context.get_value_type(kind), None)
    for place, value in (("nitems", nitems), ("itemsize", itemsize), ("data", data)):
        array = builder.insert_value(array, value, FIELDS.index(place))
    for place, values in (("shape", shape), ("strides", strides)):
        for i, value in enumerate(values):
            array = builder.insert_value(array, value, (FIELDS.index(place), i))
    return array


def flat_array(context: Any, builder: Any, kind: Any, data: Any, size: Any) -> Any:
    """Emit: a flat array of `size` entries at the pointer `data`, of which no references are counted."""
    return array_of(context, builder, kind, data, (size,))


def entry_bytes(context: Any, dtype: Any) -> int:
    """The bytes of an entry of an array of `dtype`."""
    if isinstance(dtype, types.Boolean):
        return 1
    if isinstance(dtype, types.Number):
        return int(dtype.bitwidth) // 8
    return int(context.get_abi_sizeof(context.get_data_type(dtype)))


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
