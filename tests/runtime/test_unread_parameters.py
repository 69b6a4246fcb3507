"""Parameters that no cost reads: their gradient is 0, whatever was in memory before, and training leaves them alone."""

import numpy as np
import pytest

import ppl


@ppl.model
def plain():
    p, _ = ppl.param("p", 0.5), ppl.param("unread", np.ones(3))
    ppl.cost("c", ppl.sample("z", ppl.Normal(p, 0.8)) ** 2)


@ppl.model
def rows(x):
    p, _ = ppl.param("p", 0.5), ppl.param("unread", np.ones(3))
    with ppl.plate("data", x) as x:
        ppl.cost("c", (ppl.sample("z", ppl.Normal(p, 0.8)) - x) ** 2)


CASES = [(plain, ()), (rows, (np.linspace(-1, 1, 7),))]


@pytest.mark.parametrize(("model", "data"), CASES, ids=["no rows", "rows"])
def test_the_gradient_of_an_unread_parameter_is_zero(model, data):
    program = ppl.compile(model)
    state = program.init(0, *data)
    for seed in range(20):
        junk = [np.full(size, 1e30, np.float32) for size in range(1, 12)]
        del junk
        grads = program.value_and_grad(state, *data, seed=seed, particles=9)[1]
        np.testing.assert_array_equal(grads["unread"], np.zeros(3))
        assert grads["p"] != 0


@pytest.mark.parametrize(("model", "data"), CASES, ids=["no rows", "rows"])
def test_training_does_not_move_an_unread_parameter(model, data):
    fit = ppl.fit(ppl.compile(model), *data, steps=40, optimizer=ppl.optim.Adam(0.1), seed=0, progress=False)
    np.testing.assert_array_equal(fit.params["unread"], np.ones(3))
    assert fit.params["p"] != 0.5


def test_every_variant_has_the_gradient_of_every_parameter():
    program = ppl.compile(plain, dtype="float64")
    state = program.init(0)
    product = program.hvp(state, {"p": np.array(1.0), "unread": np.ones(3)})
    product = product[1] if isinstance(product, tuple) else product
    np.testing.assert_array_equal(product["unread"], np.zeros(3))
    found = program.check_unbiased(state, repeats=50, backend="interpreter")
    np.testing.assert_array_equal(found.mean["unread"], np.zeros(3))
    np.testing.assert_array_equal(found.reference["unread"], np.zeros(3))
