"""What profiles measure with: the processor's cycle counter, and a triad of vectors for the speed of memory.

Reading the counter costs some ten nanoseconds and calls nothing."""

import time

import llvmlite.ir
import numba
from numba import types
from numba.extending import intrinsic

from ppl.kernels.cpu.memory import prefer_full_width
from ppl.kernels.decorators import jit


@intrinsic
def _read_counter(typingctx):
    def codegen(context, builder, signature, args):
        fn = builder.module.declare_intrinsic("llvm.readcyclecounter", fnty=llvmlite.ir.FunctionType(
            llvmlite.ir.IntType(64), []))  # fmt: skip
        return builder.call(fn, [])

    return types.int64(), codegen


def _cycles():
    """Cycles since some fixed moment, as int64."""
    return _read_counter()


cycles = time.perf_counter_ns if numba.config.DISABLE_JIT else jit(_cycles)


@jit
def triad(a, b, c, factor, repeats):
    """a = b + factor c, `repeats` times, for vectors of one length and type."""
    prefer_full_width()
    for _ in range(repeats):
        for i in range(a.shape[0]):
            a[i] = b[i] + factor * c[i]
