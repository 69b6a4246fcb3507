"""Scalar functions of float32 numbers; `ppl.kernels.generated.f64.scalar` has the same names."""

from ppl.kernels.scalar.names import FUNCTIONS, loader

__all__ = list(FUNCTIONS)
__getattr__ = loader(__name__)
