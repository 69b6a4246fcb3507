"""Quotients and remainders of integers are exact, whatever the floats of the program."""

import numpy as np
import pytest

import ppl

LARGEST = 2**62
EDGES = [240247978, 2**31, -(2**31), 2**53 + 1, LARGEST, -LARGEST, 2 * LARGEST - 1, 7, -7, 0, 5, -5]
BY = [1000, 7, 7, 1, 7, -7, 3, 3, -3, 5, 0, 0]


@ppl.model
def divided(i, k):
    with ppl.plate("data", i, k) as (i, k):
        ppl.deterministic("rest", i % k)
        ppl.deterministic("times", i // k)
        ppl.cost("c", ppl.param("p", 1.0) * 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_division_of_integers_is_exact(dtype):
    rng = np.random.default_rng(0)
    i = np.concatenate([EDGES, rng.integers(-LARGEST, LARGEST, 3000), rng.integers(-300, 300, 1000)])
    k = np.concatenate([BY, rng.integers(-2000, 2000, 2000), rng.integers(-(2**40), 2**40, 1000),
                        rng.integers(-20, 20, 1000)])  # fmt: skip
    program = ppl.compile(divided, dtype=dtype, data=(i, k))
    found = program.sample(program.init(seed=0), i, k)
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(np.ravel(found["rest"]), i % k)
        np.testing.assert_array_equal(np.ravel(found["times"]), i // k)
