"""What a call hands to compiled code: the place of its rows in the data set, whatever plates are called."""

import numpy as np
import pytest

import ppl

X = np.arange(3.0)


@pytest.mark.parametrize("name", ["rows", "my rows", "my-rows"])
def test_a_plate_scales_and_keys_its_rows_under_any_name(name):
    @ppl.model
    def sums(x):
        loc = ppl.param("loc", 0.5)
        with ppl.plate(name, x) as x:
            z = ppl.sample("z", ppl.Normal(0.0, 1.0))
            ppl.cost("c", (x - loc) ** 2 + 0.0 * z)

    program = ppl.compile(sums, data=X, dtype="float64")
    state, whole = program.init(0), np.sum((X - 0.5) ** 2)
    assert program.value(state, X, total_rows=30) == pytest.approx(10 * whole)
    loss, grads = program.value_and_grad(state, X, total_rows=30)
    assert loss == pytest.approx(10 * whole) and grads["loc"] == pytest.approx(10 * np.sum(2 * (0.5 - X)))
    draws = program.sample(state, X)["z"]
    np.testing.assert_array_equal(program.sample(state, X[1:], rows=[1, 2])["z"], draws[1:])
    np.testing.assert_array_equal(program.sample(state, X[1:], rows=1)["z"], draws[1:])
