"""Several results of one call of a user's function: values, dtypes, derivatives, and how often it is called."""

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import ModelError

X = np.random.default_rng(0).normal(size=(7, 3))

LARGE = 2**53 + 1
"""An integer that no float of 64 bits holds."""


@numba.njit
def summary(x, w):
    best, n = x[0], 0
    for i in range(x.size):
        if x[i] > best:
            best, n = x[i], i
    return w * x * x, best * w, np.array([n, -n]) * LARGE, x[0] > 0, -LARGE - n


OUTPUTS = {
    "squares": ppl.spec((3,)),
    "best": ppl.spec(()),
    "places": ppl.spec((2,), np.int64),
    "above": ppl.spec((), bool),
    "count": ppl.spec((), np.int32),
}


@numba.njit
def summary_gradient(x, w, squares, best):
    slopes = 2 * w * x * squares
    n = np.argmax(x)
    slopes[n] += best * w
    return slopes, np.sum(x * x * squares) + best * x[n]


@ppl.model
def several(x):
    with ppl.plate("data", x) as x:
        w = ppl.param("w", 1.5)
        found = ppl.external(summary, x * w, w, outputs=OUTPUTS, gradient=summary_gradient)
        for name, value in found.items():
            ppl.deterministic(name, value)
        ppl.cost("c", np.sum(np.sin(found["squares"])) + found["best"] ** 2 * found["above"].astype(float))


def numpy_cost(w):
    x = X * w
    return np.sum(np.sin(w * x * x)) + np.sum((x.max(1) * w) ** 2 * (x[:, 0] > 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_their_dtypes_and_integers_are_exact(dtype):
    program = ppl.compile(several, dtype=dtype, data=X)
    found = program.sample(program.init(0), X)
    x, n = 1.5 * X, X.argmax(1)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found["squares"], 1.5 * x * x, rtol=tolerance)
    np.testing.assert_allclose(found["best"], 1.5 * x.max(1), rtol=tolerance)
    np.testing.assert_array_equal(found["places"], np.stack([n, -n], 1) * LARGE)
    np.testing.assert_array_equal(found["above"], x[:, 0] > 0)
    np.testing.assert_array_equal(found["count"], -LARGE - n)
    assert found["places"].dtype == found["count"].dtype == np.int64 and found["above"].dtype == bool


def test_extreme_integers_come_through():
    ends = np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max, -1, 0, 2**22, -(2**22), 2**44 - 1, -(2**44) - 1])

    @numba.njit
    def same(i):
        return i, 0.5

    @ppl.model
    def model(i):
        with ppl.plate("data", i) as i:
            found = ppl.external(same, i, outputs={"i": ppl.spec((), np.int64), "half": ppl.spec(())})
            ppl.deterministic("i", found["i"])
            ppl.cost("c", found["half"])

    program = ppl.compile(model, data=ends)
    np.testing.assert_array_equal(program.sample(program.init(0), ends)["i"], ends)


def test_cotangents_of_several_results_meet_in_one_gradient():
    program = ppl.compile(several, dtype="float64", data=X)
    loss, grads = program.value_and_grad(program.init(0), X)
    h = 1e-6
    assert loss == pytest.approx(numpy_cost(1.5), rel=1e-12)
    assert grads["w"] == pytest.approx((numpy_cost(1.5 + h) - numpy_cost(1.5 - h)) / (2 * h), rel=1e-7)


def test_one_call_makes_all_results_and_one_all_cotangents():
    program = ppl.compile(several, dtype="float64", data=X)
    source = program.prepare().executable("gradient").source
    assert source.count("attempt(summary_f") == 1 and source.count("attempt(summary_gradient_f") == 1


def test_interpreted_and_compiled_agree_and_scopes_and_particles_do_no_harm():
    from ppl.ir.reference.interpret import evaluate
    from ppl.runtime.call import Call, bind_call

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x, ppl.scope("inner"):
            z = ppl.sample("z", Normal(ppl.param("m", 0.3), 0.5))
            found = ppl.external(summary, x, z, outputs=OUTPUTS, gradient=summary_gradient)
            ppl.cost("c", np.sum(found["squares"]) + found["best"] * found["count"].astype(float) / LARGE)

    program = ppl.compile(model, dtype="float64", data=X, particles=3)
    state = program.init(0)
    variant = program.prepare(X).variant("gradient", (), 3)
    wanted = evaluate(
        [variant.scalars["loss"], *variant.grads.values()], bind_call(program, Call(state, (X,))).environment()
    )
    loss, grads = program.value_and_grad(state, X)
    np.testing.assert_allclose([loss, *grads.values()], wanted, rtol=1e-12)


@numba.njit
def pair(x):
    return x, x


REFUSED = {
    "no spec": ({"outputs": {"a": 3}}, "output 'a' is declared as ppl.spec"),
    "open length": ({"outputs": {"a": ppl.spec((None,))}}, "fixed shape"),
    "nothing": ({"outputs": {}}, "outputs= is empty"),
    "no dict": ({"outputs": [ppl.spec(())]}, "outputs"),
    "shape too": ({"outputs": {"a": ppl.spec(())}, "shape": 2}, "leave out shape="),
    "gradient of integers": ({"dtype": int, "gradient": pair}, "needs a result that is a float"),
    "two gradients": ({"gradient": pair, "score": True}, "give one of them"),
    "score of several": ({"outputs": {"a": ppl.spec(())}, "score": True}, "one result"),
    "score of integers": ({"dtype": int, "score": True}, "a float"),
    "no such way": ({"on_error": "ignore"}, "on_error"),
    "integers as NaN": ({"dtype": int, "on_error": "nan"}, "no integer or truth value is NaN"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_contradict_are_refused(case):
    options, text = REFUSED[case]

    @ppl.model
    def model():
        ppl.external(pair, ppl.param("t", 0.5), **options)
        ppl.cost("c", 0.0)

    with pytest.raises(ModelError, match=text):
        ppl.compile(model)
