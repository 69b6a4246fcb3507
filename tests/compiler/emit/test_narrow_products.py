"""Which products of data look for zeros, and gradients of those that do not against their closed form."""

import numpy as np
import pytest

import ppl
from ppl import Normal


def regression(x, columns):
    """Least squares of a row of numbers, and the program's gradient in W."""

    @ppl.model
    def model(x, y):
        w = ppl.param("w", ppl.init.normal(1.0), shape=(x.shape[-1], columns))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", Normal(x @ w, 1.0), obs=y)

    y = np.random.default_rng(1).normal(size=(len(x), columns)).astype(np.float32)
    program = ppl.compile(ppl.likelihood(model), data=(x, y))
    return program, y


def rows(kind, columns):
    """40 rows of data: numbers, one 1 in a row, or bits."""
    rng = np.random.default_rng(0)
    if kind == "one":
        return np.eye(columns, dtype=np.float32)[rng.integers(columns, size=40)]
    found = rng.normal(size=(40, columns)) if kind == "numbers" else rng.integers(2, size=(40, columns))
    return found.astype(np.float32)


@pytest.mark.parametrize(
    ("inner", "columns", "looks"), [(13, 50, False), (16, 64, False), (17, 50, True), (13, 65, True)]
)
def test_only_wide_products_look_for_zeros(inner, columns, looks):
    program, _ = regression(rows("numbers", inner), columns)
    assert ("data_gemm_f32" in program.source) == looks


@pytest.mark.parametrize("kind", ["numbers", "one", "bits"])
def test_narrow_products_give_the_gradient_of_least_squares(kind):
    x = rows(kind, 13)
    program, y = regression(x, 20)
    state = program.init(0, x, y)
    w = program.params(state)["w"].astype(np.float64)
    found = program.value_and_grad(state, x, y)[1]["w"]
    np.testing.assert_allclose(found, x.T.astype(np.float64) @ (x @ w - y), rtol=2e-4, atol=2e-4)
