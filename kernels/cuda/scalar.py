"""Scalar functions as kernels call them: device code; in the simulator, CPU code whose results have Numba's dtypes."""

from ppl.kernels import scalar
from ppl.kernels.cuda.compat import SIMULATED
from ppl.kernels.scalar import noise
from ppl.kernels.scalar.noise import uniform_f32, uniform_f64

if SIMULATED:
    from ppl.kernels.cuda.simulated import Typed

    f32, f64, _noise = Typed(scalar.f32), Typed(scalar.f64), Typed(noise)
    mix, uniform_f32, uniform_f64 = _noise.mix, _noise.uniform_f32, _noise.uniform_f64
else:
    f32, f64, mix = scalar.f32, scalar.f64, noise.mix

__all__ = ["f32", "f64", "mix", "uniform_f32", "uniform_f64"]
