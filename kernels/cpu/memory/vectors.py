"""Asking LLVM for full-width vectors in one function.

On processors with AVX-512 LLVM prefers vectors of 256 bits, because the first of them ran slower with wider ones. The
fused loops here take about a third less time at 512 bits on those of today; elsewhere the request has no effect.
"""

import numba
from numba import types
from numba.extending import intrinsic

WIDTH = '"prefer-vector-width"="512"'


@intrinsic
def _prefer_full_width(typing_context):
    """Mark the function that this is called from."""

    def mark(context, builder, signature, arguments):
        set.add(builder.function.attributes, WIDTH)  # llvmlite's own `add` knows only enumerated attributes
        return context.get_dummy_value()

    return types.void(), mark


def _do_nothing():
    """What `prefer_full_width` is without the compiler."""


prefer_full_width = _do_nothing if numba.config.DISABLE_JIT else _prefer_full_width
