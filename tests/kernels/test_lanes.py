"""Kernels over blocks of lanes: what the scalar functions give, in vectors, with keys and columns of any form."""

import re

import numba
import numpy as np
import pytest

from ppl.ir.reference import numpy_samplers as oracle
from ppl.kernels.cpu.data_checks import count_in_range
from ppl.kernels.decorators import LOOP_FASTMATH
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f32.cpu import draws
from ppl.tuning import CHECKED_BY_ALL, DRAW_LANES

COMPILED = not numba.config.DISABLE_JIT

COUNT = 2000 if COMPILED else 40

KEY = np.uint64(0x9E3779B97F4A7C15)

RNG = np.random.default_rng(0)

SHAPES = np.exp(RNG.uniform(-6, 9, COUNT)).astype(np.float32)

TRIALS = np.floor(RNG.uniform(1, 900, COUNT)).astype(np.float32)

SHARES = RNG.uniform(0.001, 0.999, COUNT).astype(np.float32)

DRAWS = {
    "loggamma": (draws.loggamma_row_f32, scalar.loggamma_draw, (SHAPES,), np.float32),
    "vonmises": (draws.vonmises_row_f32, scalar.vonmises_draw, (SHAPES,), np.float32),
    "small rates": (draws.poisson_row_f32, scalar.poisson_draw, (np.minimum(SHAPES, 9),), np.int64),
    "large rates": (draws.poisson_row_f32, scalar.poisson_draw, (SHAPES + 10,), np.int64),
    "any rates": (draws.poisson_row_f32, scalar.poisson_draw, (SHAPES,), np.int64),
    "few trials": (draws.binomial_row_f32, scalar.binomial_draw, (TRIALS, 1 / TRIALS, 1 - 1 / TRIALS), np.int64),
    "many trials": (
        draws.binomial_row_f32,
        scalar.binomial_draw,
        (TRIALS + 40, *(2 * [TRIALS * 0 + 0.5])),
        np.int64,
    ),
    "any trials": (draws.binomial_row_f32, scalar.binomial_draw, (TRIALS, SHARES, 1 - SHARES), np.int64),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_lane_gets_what_the_scalar_sampler_gives(name):
    """Under one key and from a first column on, and with a key and a column of each lane's own."""
    row, draw, parameters, dtype = DRAWS[name]
    out, again = np.empty(COUNT, dtype), np.empty(COUNT, dtype)
    row(out, *parameters, KEY, 7, 3, COUNT)
    keys = np.full(COUNT, KEY).view(np.int64)
    row(again, *parameters, keys, np.arange(7, 7 + COUNT), 3, COUNT)
    wanted = [draw(*(p[i] for p in parameters), KEY, 7 + i, 3) for i in range(COUNT)]
    assert np.mean(out == wanted) > 0.999 and np.array_equal(out, again)  # a decision may round otherwise in a vector


def test_slopes_of_lanes_between_the_regimes():
    edges = np.array([1e-3, 0.5, 0.999, 1.001, 2.0, 3.999, 4.001, 6.0, 12.0, 1e3, 1e6])
    a = np.repeat(edges, 12).astype(np.float32)
    spread = np.tile(np.linspace(-2.6, 1.6, 12), len(edges)) / np.sqrt(np.maximum(a, 1))
    y = (np.log(np.maximum(a, 0.5)) + spread).astype(np.float32)
    slopes = np.empty(a.size, np.float32)
    draws.loggamma_slope_lanes_f32(slopes, y, a, a.size)
    np.testing.assert_allclose(slopes, oracle.loggamma_slope(y, a), rtol=2e-5)
    np.testing.assert_allclose(slopes, [scalar.loggamma_slope(*pair) for pair in zip(y, a, strict=True)], rtol=1e-6)


def blocks():
    """(name, block function, arguments) of everything that has to vectorise."""
    x, n = np.ones(DRAW_LANES, np.float32), 3
    counts = np.ones(DRAW_LANES, np.int64)
    yield "loggamma", draws.loggamma_row_f32, (x, x, KEY, 0, 0, n)
    yield "vonmises", draws.vonmises_row_f32, (x, x, KEY, 0, 0, n)
    yield "large rates", draws._poisson_many, (counts, x, KEY, 0, 0, 0, n)
    yield "many trials", draws._binomial_many, (counts, x, x, x, KEY, 0, 0, 0, n)
    yield "expansion", draws._expansion, (x, x, x, n)
    yield "series", draws._series, (x, x, x, x, x, n)
    yield "fraction", draws._fraction, (x, x, x, x, x, n)


@pytest.mark.skipif(not COMPILED, reason="inspects compiled code")
@pytest.mark.parametrize("case", list(blocks()), ids=lambda case: case[0])
def test_blocks_vectorise(case):
    """A branch in a lane's formula would leave no vectors of floats in the block's loop."""
    _, block, arguments = case
    own = numba.njit(error_model="numpy", fastmath=set(LOOP_FASTMATH))(block.py_func)
    own.compile(tuple(numba.typeof(a) for a in arguments))
    assert re.search(r"= fmul [^\n]*<\d+ x float>", own.inspect_llvm(own.signatures[0]))


def test_a_long_array_is_counted_on_all_threads():
    x = np.ones(CHECKED_BY_ALL + 5, np.float32)
    x[[3, CHECKED_BY_ALL + 4]] = np.nan, 2.0
    assert count_in_range(x, np.float32(0), np.float32(1)) == CHECKED_BY_ALL + 3
    assert count_in_range(np.nan_to_num(x, nan=-1).astype(np.int32), np.int32(0), np.int32(1)) == CHECKED_BY_ALL + 3
