"""Scalar functions: accuracy within the stated bounds, values at the edges, types, vectorisation."""

import mpmath as mp
import numba
import numpy as np
import pytest
from incomplete_cases import GRIDS, INVERSES
from scalar_cases import CASES, EDGES, MODULES, apply, loop

from ppl.kernels.decorators import LOOP_FASTMATH
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module

COMPILED = not numba.config.DISABLE_JIT

needs_jit = pytest.mark.skipif(not COMPILED, reason="inspects compiled code")

UNARY = sorted({case.name for case in CASES})

IDS = [f"{c.name}-{i}" for i, c in enumerate(CASES)]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_accuracy_f32(case):
    x = case.points(np.float32, 20000 if COMPILED else 500)
    truth = np.asarray(case.reference(x.astype(np.float64)), np.longdouble)
    assert case.error(apply("f32", case.name, x), truth) <= case.f32


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_accuracy_f64(case):
    x = case.points(np.float64, 200)
    with mp.workdps(40):
        truth = np.array([np.longdouble(mp.nstr(case.exact(mp.mpf(float(v))), 25)) for v in x])
    assert case.error(apply("f64", case.name, x), truth) <= case.f64


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", EDGES)
def test_edges(module, name):
    dtype = MODULES[module][1]
    x = np.array(list(EDGES[name]), dtype)
    want = np.array(list(EDGES[name].values()), dtype)
    np.testing.assert_allclose(apply(module, name, x), want, rtol=1e-6, atol=1e-6 if name == "lgamma" else 0)


@pytest.mark.parametrize("module", MODULES)
def test_subnormal_logarithm(module):
    dtype = MODULES[module][1]
    x = np.array([np.finfo(dtype).smallest_subnormal, np.finfo(dtype).tiny / 3], dtype)
    np.testing.assert_allclose(apply(module, "log", x), np.log(x.astype(np.longdouble)).astype(dtype), rtol=1e-6)


@pytest.mark.parametrize("module", MODULES)
def test_power(module):
    functions, dtype = MODULES[module]
    rng = np.random.default_rng(0)
    for x, y in zip(rng.uniform(0.01, 20, 200).astype(dtype), rng.uniform(-5, 5, 200).astype(dtype), strict=True):
        want = np.float64(x) ** np.float64(y)
        bound = (3 + abs(y * np.log(x))) * np.finfo(dtype).eps
        assert abs(functions.power(x, y) / want - 1) <= bound
    for x, y in [(-2, 3), (-2, 2), (-2, 0.5), (0, 2), (0, 0), (1, 1e9), (2, -3), (-1.5, -3)]:
        with np.errstate(all="ignore"):
            want = np.float64(x) ** np.float64(y)
        np.testing.assert_allclose(functions.power(dtype(x), dtype(y)), want, rtol=1e-6)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("order", [0, 1, 2, 3, 5, 10])
def test_polygamma(module, order):
    functions, dtype = MODULES[module]
    points = np.array([0.05, 0.7, 1.0, 3.3, 9.0, 200.0], dtype)
    want = [float(mp.psi(order, mp.mpf(float(x)))) for x in points]
    got = [functions.polygamma(order, x) for x in points]
    np.testing.assert_allclose(got, want, rtol=50 * np.finfo(dtype).eps)
    if order > 1:
        assert functions.polygamma(order, dtype(np.inf)) == 0
        assert np.isinf(functions.polygamma(order, dtype(0)))
        assert np.isnan(functions.polygamma(order, dtype(-1)))


@pytest.mark.parametrize("module", MODULES)
def test_binary_and_select(module):
    functions, dtype = MODULES[module]
    a, b, nan = dtype(1), dtype(2), dtype(np.nan)
    assert functions.minimum(a, b) == 1 and functions.maximum(a, b) == 2 and functions.plus(a, b) == 3
    for x, y in [(a, nan), (nan, a)]:
        assert np.isnan(functions.minimum(x, y)) and np.isnan(functions.maximum(x, y))
    assert functions.select(True, a, b) == 1 and functions.select(False, a, b) == 2


def test_both_modules_have_the_same_names():
    assert scalar.__all__ == scalar_module.__all__
    tested = {*UNARY, "polygamma", "power", "minimum", "maximum", "plus", "select"}
    tested |= {"loggamma_draw", "loggamma_slope"}  # tests/distributions/test_implicit.py
    tested |= {
        "poisson_draw",
        "binomial_draw",
        "log_poisson",
        "log_poisson_log_rate",
        "log_binomial",
        "log_binomial_logits",
    }  # …/test_counts.py
    tested |= {"log_mass_between", "quantile_between"}  # tests/kernels/test_between.py
    tested |= {*(grid.name for grid in GRIDS), *INVERSES, "loggamma_bend"}  # tests/kernels/test_incomplete.py
    tested |= {"vonmises_draw", "vonmises_slope"}  # tests/distributions/test_von_mises.py
    assert tested == set(scalar.__all__)


@needs_jit
@pytest.mark.parametrize("name", UNARY)
def test_f32_has_no_double_and_vectorises(name):
    apply("f32", name, np.ones(4, np.float32))
    (llvm,) = loop("f32", name).inspect_llvm().values()
    assert "double" not in llvm
    (assembly,) = loop("f32", name).inspect_asm().values()
    if numba.config.ENABLE_AVX and ("ymm" in assembly or "zmm" in assembly or "xmm" in assembly):
        assert "x float>" in llvm, "the loop was not vectorised"


@needs_jit
def test_draws_stay_in_single_precision():
    def run(out, slopes, counts, x, key):
        for i in range(x.shape[0]):
            out[i] = scalar.loggamma_draw(x[i], key, i, 0)
            slopes[i] = scalar.loggamma_slope(out[i], x[i])
            counts[i] = scalar.poisson_draw(x[i], key, i, 1)
            counts[i] += scalar.binomial_draw(x[i], slopes[i], out[i], key, i, 3)
            slopes[i] += scalar.log_poisson(x[i], out[i])
            out[i] = scalar.vonmises_draw(x[i], key, i, 2)
            slopes[i] += scalar.vonmises_slope(out[i], x[i])

    compiled = numba.njit(error_model="numpy", fastmath=set(LOOP_FASTMATH))(run)
    a, b, x = np.empty(4, np.float32), np.empty(4, np.float32), np.full(4, 3, np.float32)
    compiled(a, b, np.empty(4, np.int64), x, np.uint64(1))
    (llvm,) = compiled.inspect_llvm().values()
    assert "double" not in llvm


@needs_jit
@pytest.mark.parametrize("name", ["exp", "log", "log1p", "expm1", "sigmoid", "tanh", "softplus", "ndtri"])
def test_f64_vectorises(name):
    apply("f64", name, np.ones(4))
    (llvm,) = loop("f64", name).inspect_llvm().values()
    assert "x double>" in llvm
