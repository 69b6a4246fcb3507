"""Scalar functions, each written once: compiled by Numba for the CPU, and reached from CUDA kernels as device code.

`f32` and `f64` hold functions of the same names, made from `ppl.kernels.source.scalar`; `philox` and `noise` the random
bits.
"""

from ppl.kernels.generated.f32 import scalar as f32
from ppl.kernels.generated.f64 import scalar as f64
from ppl.kernels.scalar import noise, philox

__all__ = ["f32", "f64", "noise", "philox"]
