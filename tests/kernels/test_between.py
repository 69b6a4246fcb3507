"""The normal law between two ends: kernels and oracle against mpmath, in tails and narrow intervals."""

import mpmath as mp
import numba
import numpy as np
import pytest

from ppl.ir.reference import numpy_cdfs as oracle
from ppl.kernels.decorators import LOOP_FASTMATH
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module

INF = np.inf

COMPILED = not numba.config.DISABLE_JIT

ENDS = [
    (0, 1), (0, 2**-14), (1, 1 + 2**-10), (3, 3 + 2**-7), (3, 5), (10, INF), (30, 31), (30, 30 + 2**-10),
    (100, 101), (1000, INF), (1e4, INF), (24.5, 26), (25, 25 + 2**-11), (-1, 1), (-(2**-13), 2**-12), (-8, 9),
    (-40, -30), (-INF, -10), (-INF, 3), (-3, INF), (-INF, INF), (-5, -5 + 2**-8),
]  # fmt: skip

LEVELS = (2**-20, 0.01, 0.3, 0.5, 0.9, 1 - 2**-12, 1 - 2**-24)

KERNELS = {"float32": (scalar, np.float32, 1e-6), "float64": (scalar_module, np.float64, 2e-12)}


def upper(z):
    """Probability above z."""
    return mp.erfc(z / mp.sqrt(2)) / 2


def nearest(a, b):
    return a if a > 0 else min(b, 0.0)


def exact_mass(a, b):
    flip, e = b <= 0, mp.mpf(nearest(a, b))
    low, high = (mp.mpf(-b), mp.mpf(-a)) if flip else (mp.mpf(a), mp.mpf(b))
    return float(mp.log((upper(low) - upper(high)) * mp.sqrt(2 * mp.pi)) + e * e / 2)


def exact_quantile(p, a, b):
    """By bisection on the probability above."""
    flip, p = b <= 0, mp.mpf(p)
    low, high, p = (mp.mpf(-b), mp.mpf(-a), 1 - p) if flip else (mp.mpf(a), mp.mpf(b), p)
    wanted = upper(low) - p * (upper(low) - upper(high))
    start = max(low, mp.mpf(-45))
    ends = [start, min(high, start + 100)]
    for _ in range(150):
        middle = (ends[0] + ends[1]) / 2
        ends[0 if upper(middle) > wanted else 1] = middle
    z = -ends[0] if flip else ends[0]
    return float(z - mp.mpf(nearest(a, b)))


def run(function, columns, dtype):
    def pair(out, a, b):
        for i in range(out.shape[0]):
            out[i] = function(a[i], b[i])

    def triple(out, p, a, b):
        for i in range(out.shape[0]):
            out[i] = function(p[i], a[i], b[i])

    out = np.empty(len(columns[0]), dtype)
    compiled = numba.njit(error_model="numpy", fastmath=set(LOOP_FASTMATH))(pair if len(columns) == 2 else triple)
    compiled(out, *(np.asarray(c, dtype) for c in columns))
    if COMPILED and dtype is np.float32:
        (llvm,) = compiled.inspect_llvm().values()
        assert "double" not in llvm
    return out


@pytest.mark.parametrize("precision", KERNELS)
def test_mass(precision):
    module, dtype, tolerance = KERNELS[precision]
    a, b = np.array(ENDS, float).T
    with mp.workdps(40):
        wanted = np.array([exact_mass(*pair) for pair in zip(a, b, strict=True)])
    error = np.abs(run(module.log_mass_between, (a, b), dtype) - wanted) / np.maximum(1, np.abs(wanted))
    assert error.max() <= tolerance / 4
    with np.errstate(all="ignore"):
        assert (np.abs(oracle.log_mass_between(a, b) - wanted) <= 1e-13 * np.maximum(1, np.abs(wanted))).all()


@pytest.mark.parametrize("precision", KERNELS)
def test_quantiles(precision):
    """Errors relative to the distance from the nearest end to 0, or to half of the law's own width."""
    module, dtype, tolerance = KERNELS[precision]
    p, a, b = np.array([(p, *ends) for ends in ENDS for p in LEVELS], float).T
    with mp.workdps(40):
        wanted = np.array([exact_quantile(*row) for row in zip(p, a, b, strict=True)])
        width = {ends: exact_quantile(0.75, *ends) - exact_quantile(0.25, *ends) for ends in ENDS}
    scale = np.maximum(np.abs(wanted), [width[ends] for ends in ENDS for _ in LEVELS])
    assert (np.abs(run(module.quantile_between, (p, a, b), dtype) - wanted) / scale).max() <= tolerance
    with np.errstate(all="ignore"):
        assert (np.abs(oracle.quantile_between(p, a, b) - wanted) / scale).max() <= 1e-13


@pytest.mark.parametrize("precision", [*KERNELS, "oracle"])
def test_edges(precision):
    module, dtype, _ = KERNELS.get(precision, (oracle, np.float64, 0))
    mass = [(2.0, 2.0, -INF), (-2.0, -2.0, -INF), (3.0, 2.0, np.nan), (np.nan, 1.0, np.nan)]
    quantile = [
        (0.0, 3.0, INF, 0.0), (1.0, 3.0, INF, INF), (1.0, 3.0, 4.0, 1.0), (0.0, -4.0, -3.0, -1.0),
        (1.0, -4.0, -3.0, 0.0), (0.0, -INF, -3.0, -INF), (0.0, -1.0, 2.0, -1.0), (1.0, -1.0, 2.0, 2.0),
        (0.0, -INF, INF, -INF), (1.0, -INF, INF, INF), (np.nan, 1.0, 2.0, np.nan), (0.5, 1.0, np.nan, np.nan),
        (0.5, np.nan, 1.0, np.nan),
    ]  # fmt: skip
    for function, rows in ((module.log_mass_between, mass), (module.quantile_between, quantile)):
        *columns, wanted = np.array(rows).T
        if module is oracle:
            with np.errstate(all="ignore"):
                got = function(*columns)
        else:
            got = run(function, columns, dtype)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
