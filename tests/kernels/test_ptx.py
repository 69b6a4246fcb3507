"""Every scalar function compiles for a GPU, on a machine that may have none."""

import inspect

import numba
import pytest
from numba import boolean, float32, float64, int64, uint32, uint64

from ppl.kernels.cuda import ptx
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module
from ppl.kernels.scalar import noise, philox

pytestmark = [
    pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"'),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT"),
]


NAMES = [pytest.param(name, marks=pytest.mark.slow if i % 3 else ()) for i, name in enumerate(scalar.__all__)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("module", "kind"), [(scalar, float32), (scalar_module, float64)])
def test_elementary(module, kind, name):
    function = getattr(module, name)
    count = len(inspect.signature(function.py_func).parameters)
    first = {"select": boolean, "polygamma": int64}.get(name, kind)
    signature = (first,) + (kind,) * (count - 1)
    if name.endswith("_draw"):
        signature = (*(kind,) * (count - 3), uint64, int64, int64)
    source, result = ptx.compile_ptx(function, signature)
    assert ".visible" in source and result == (int64 if name in ("poisson_draw", "binomial_draw") else kind)
    if kind == float32 and not name.startswith("log_binomial"):  # whose gap to the mean is taken in double precision
        assert ".f64" not in source


@pytest.mark.parametrize(
    ("function", "signature", "result"),
    [
        (philox.philox4x32, (uint32,) * 6, numba.types.UniTuple(uint32, 4)),
        (noise.mix, (uint64, uint64), uint64),
        (noise.uniform_f32, (int64, uint64, int64, int64, int64), float32),
        (noise.uniform_f64, (int64, uint64, int64, int64, int64), float64),
    ],
)
def test_noise(function, signature, result):
    source, kind = ptx.compile_ptx(function, signature)
    assert ".visible" in source and str(kind) == str(result)


def test_callers_are_given_the_capability():
    source, _ = ptx.compile_ptx(scalar.ndtri, (float32,), cc=(8, 0))
    assert ".target sm_80" in source
