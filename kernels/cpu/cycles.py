"""The processor's cycle counter, for profiles: reading it costs some ten nanoseconds and calls nothing."""

import time

import llvmlite.ir
import numba
from numba import types
from numba.extending import intrinsic

from ppl.kernels.config import jit


@intrinsic
def _read(typingctx):
    def codegen(context, builder, signature, args):
        fn = builder.module.declare_intrinsic("llvm.readcyclecounter", fnty=llvmlite.ir.FunctionType(
            llvmlite.ir.IntType(64), []))  # fmt: skip
        return builder.call(fn, [])

    return types.int64(), codegen


def _cycles():
    """Cycles since some fixed moment, as int64."""
    return _read()


cycles = time.perf_counter_ns if numba.config.DISABLE_JIT else jit(_cycles)
