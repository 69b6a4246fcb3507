"""Scratch arrays of a fixed length on the stack: programs allocate nothing while they run."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from ppl.kernels import internals
from ppl.kernels.internals import WORD, cgutils


@intrinsic(prefer_literal=True)
def _stacked(typing_context, count, dtype):
    """An array of a constant number of entries, of any content, that lives as long as the function runs."""
    if not isinstance(count, types.IntegerLiteral):
        raise RequireLiteralValue("a scratch array on the stack has a constant length")
    kind = dtype.dtype if isinstance(dtype, types.DType) else dtype.instance_type
    array, size = types.Array(kind, 1, "C"), count.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(context.get_data_type(kind), size))
        place.align = 64
        data = builder.bitcast(place, context.get_data_type(kind).as_pointer())
        return internals.flat_array(context, builder, array, data, WORD(size))

    return array(count, dtype), codegen


def _plain(count: int, dtype: Any) -> np.ndarray:
    return np.empty(count, dtype)


stacked = _plain if numba.config.DISABLE_JIT else _stacked
