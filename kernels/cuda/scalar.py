"""Scalar functions as kernels call them: device code; in the simulator, CPU code whose results have Numba's dtypes.

Compiled functions return Python's own numbers when Python calls them, and the simulator would go on in double
precision.
"""

import functools

from numba.np.numpy_support import as_dtype

from ppl.kernels import scalar
from ppl.kernels.cuda.compat import SIMULATED
from ppl.kernels.scalar import noise


def typed(fn):
    """`fn`, whose result has the dtype that compiled callers get."""
    if not SIMULATED:
        return fn
    known = {}

    @functools.wraps(fn)
    def call(*arguments):
        result, key = fn(*arguments), tuple(map(type, arguments))
        if key not in known:
            given = tuple(map(fn.typeof_pyval, arguments))
            known[key] = as_dtype(fn.overloads[given].signature.return_type).type
        return known[key](result)

    return call


class _Typed:
    """The functions of a module, `typed` when they are first used."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        found = typed(getattr(self._module, name))
        setattr(self, name, found)
        return found


f32, f64 = map(_Typed, (scalar.f32, scalar.f64)) if SIMULATED else (scalar.f32, scalar.f64)
mix, uniform_f32, uniform_f64 = map(typed, (noise.mix, noise.uniform_f32, noise.uniform_f64))
