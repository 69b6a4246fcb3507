"""The one module that imports `numba.cuda`: decorators, a thread's place, scalar functions, the simulator's gaps.

A program's blocks have `THREADS` threads, which share the work of one slab. The simulator
(``NUMBA_ENABLE_CUDASIM=1``) runs every thread as one of Python's, a few to a block; there scalar functions are CPU
code whose results have Numba's dtypes."""

import numba
import numpy as np
from llvmlite import ir

from ppl.kernels.cuda.ptx import with_memory
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module
from ppl.kernels.scalar import noise
from ppl.kernels.scalar.noise import uniform_f32, uniform_f64
from ppl.tuning import CUDA_REGISTERS, CUDA_THREADS, CUDA_TILE, SIMULATED_THREADS, SIMULATED_TILE

__all__ = ["f32", "f64", "mix", "uniform_f32", "uniform_f64"]

SIMULATED = bool(numba.config.ENABLE_CUDASIM)

if SIMULATED:
    from ppl.kernels.cuda.simulated import cuda
else:
    from numba import cuda

THREADS = SIMULATED_THREADS if SIMULATED else CUDA_THREADS
"""Threads of a block, a power of two."""

TILE = SIMULATED_TILE if SIMULATED else CUDA_TILE
"""Rows and columns of a product that a block computes, a power of two."""

WARP = THREADS // 4
"""Threads that run together: 32, but in the simulator."""


def kernel(fn):
    """A function that the host launches."""
    return cuda.jit(fn) if SIMULATED else cuda.jit(max_registers=CUDA_REGISTERS)(fn)


def device(fn):
    """A function that kernels call, by all threads of a block or by one, as it says."""
    return fn if SIMULATED else with_memory(cuda.jit(device=True)(fn), False)


def inline_device(fn):
    """The same, put in place of its calls: so it may return a view of an array."""
    return fn if SIMULATED else with_memory(cuda.jit(device=True, inline="always")(fn), False)


@device
def thread():
    """The number of the calling thread in its block."""
    return numba.int64(cuda.threadIdx.x)


@device
def block():
    """The number of the calling thread's block."""
    return numba.int64(cuda.blockIdx.x)


@device
def together():
    """Wait for all threads of the block, and see what they have written."""
    cuda.syncthreads()


@device
def strides(width):
    """`width`, a power of two, which the compiler must not know: it would unroll loops, and have too few registers."""
    return numba.int64(cuda.blockDim.x) // (THREADS // width)


if SIMULATED:

    def here(x):
        """The same whole number, of which the compiler knows nothing: it computes nothing from it further outside."""
        return x

else:
    from numba.cuda.extending import intrinsic

    @intrinsic
    def here(typing_context, x):
        """The same whole number, of which the compiler knows nothing: it computes nothing from it further outside."""

        def moved(context, builder, signature, arguments):
            kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])
            return builder.call(ir.InlineAsm(kind, "mov.b64 $0, $1;", "=l,l", side_effect=True), arguments)

        return numba.int64(numba.int64), moved


@device
def narrow(distance):
    """A distance of 0 to below 2**32 entries, computed as a 32-bit number."""
    return numba.int64(numba.uint32(distance))


@device
def quotient(a, b):
    """a // b of whole numbers from 0 to below 2**32."""
    return numba.int64(numba.uint32(a) // numba.uint32(b))


@device
def signed(word):
    """The bits of a 64-bit word as a whole number with a sign."""
    return np.uint64(word).view(np.int64)


if SIMULATED:
    from ppl.kernels.cuda.simulated import NumbaTyped

    f32, f64, _typed_noise = NumbaTyped(scalar), NumbaTyped(scalar_module), NumbaTyped(noise)
    mix, uniform_f32, uniform_f64 = _typed_noise.mix, _typed_noise.uniform_f32, _typed_noise.uniform_f64
else:
    f32, f64, mix = scalar, scalar_module, noise.mix
