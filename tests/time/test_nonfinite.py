"""Errors about values of steps: which node, row and step, and values that leave their loop."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError, ModelError, NonFiniteError, ParameterError
from ppl.estimators import Enumerate, Rebar, ScoreFunction
from tests.time.models import lg_model


@ppl.model
def guide(y):
    w = ppl.param("w", 0.4)
    with ppl.plate("data", y):
        ppl.scan(lambda x, t: (ppl.sample("z", Normal(w * x, 0.6)), None), 0.2, length=3)


@pytest.mark.parametrize("estimator", ["auto", ScoreFunction()])
@pytest.mark.parametrize("kl", ["auto", "sampled"])
def test_an_observation_that_is_nan_is_named(estimator, kl):
    y = np.random.default_rng(0).normal(size=(6, 3))
    program = ppl.compile(ppl.elbo(lg_model, guide, kl=kl), data=y, estimators=estimator)
    y[2, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"data argument 'y' is nan in row 2 of 'data', entry 1"):
        program.step(program.init(0, y), y, seed=0)


def test_a_parameter_out_of_range_is_named():
    @ppl.model
    def model(y):
        p = ppl.param("p", 0.5)
        with ppl.plate("data", y) as y:
            ppl.scan(lambda x, yt: (ppl.sample("z", Normal(p * x, np.log(yt))), None), 0.3, y)
            ppl.cost("c", p)

    y = np.full((6, 3), 3.0)
    program = ppl.compile(model, data=y)
    y[4, 1] = 0.5
    with pytest.raises(ParameterError, match=r"scale of Normal must be positive .* in row 4 of 'data', step 1"):
        program.sample(program.init(0, y), y)


@pytest.mark.parametrize("place", ["carry", "cost"])
def test_a_value_of_one_loop_does_not_enter_a_step_of_another(place):
    @ppl.model
    def model():
        kept = []

        def one(x, t):
            kept.append(ppl.sample("z", Normal(ppl.param("p", 0.5) * x, 1.0)))
            return kept[0], None

        def two(y, t):
            if place == "cost":
                ppl.cost("inside", y * kept[0])
            return y + kept[0] if place == "carry" else y, None

        ppl.scan(one, 0.3, length=3, name="one")
        y, _ = ppl.scan(two, 0.1, length=2, name="two")
        ppl.cost("c", y)

    with pytest.raises(ModelError, match="a value of a step of the loop 'one' meets one of a step of 'two'"):
        ppl.compile(model)


def stepwise(kind, nested=False):
    """A loop over each row's numbers, one of which has no logarithm, or, for "gradient", no slope of its root."""

    @ppl.model
    def model(y):
        p = ppl.param("p", 0.3)
        with ppl.plate("data", y) as y:

            def step(c, yt):
                b = ppl.sample("b", Bernoulli(logits=p + 0.5 * c))
                if kind == "deterministic":
                    ppl.cost("in", b * ppl.deterministic("d", np.log(yt) * p))
                elif nested:
                    ppl.scan(lambda d, s: (d, ppl.cost("in", np.log(yt) * s * b)), c, length=2, name="inner")
                elif kind == "gradient":
                    ppl.cost("in", np.sqrt(p * (yt - 2.0)) * p + b)
                else:
                    ppl.cost("in", np.log(yt) * (b + 1.0) if kind == "cost" else b)
                return 1.0 * b, np.log(yt) * p

            _, ys = ppl.scan(step, 0.0, y)
            ppl.cost("end", p * np.sum(ys) if kind == "results" else p)

    return model


MESSAGES = {
    "cost": ("in", r"cost 'in' is nan in row 4 of 'data', step 2, first in a `log`"),
    "deterministic": ("d", r"deterministic 'd' is nan in row 4 of 'data', step 2, first in a `log`"),
    "results": ("end", r"cost 'end' is nan in row 4 of 'data', first in a `log` in step 2"),
    "gradient": ("p", r"the gradient with respect to 'p' is nan, first in a `div` in step 2"),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_nan_is_traced_to_the_step_and_operation_of_a_loop(kind):
    name, message = MESSAGES[kind]
    y = np.full((6, 4), 3.0)
    program = ppl.compile(stepwise(kind), data=y, estimators=ScoreFunction(), dtype="float64")
    y[4, 2] = 2.0 if kind == "gradient" else -1.0
    with pytest.raises(NonFiniteError, match=message) as found:
        program.step(program.init(0, y), y)
    assert found.value.node == name


def test_nan_is_traced_through_nested_loops():
    y = np.full((6, 4), 3.0)
    program = ppl.compile(stepwise("cost", nested=True), data=y, estimators=ScoreFunction(), dtype="float64")
    y[4, 2] = -1.0
    with pytest.raises(NonFiniteError, match=r"cost 'in' is nan in row 4 of 'data', steps \(2, 0\), first in a `log`"):
        program.step(program.init(0, y), y)


@pytest.mark.parametrize(("kind", "name"), [("cost", "in"), ("deterministic", "d")])
def test_steps_of_a_loop_that_is_written_out_are_named_in_words(kind, name):
    y = np.full((6, 4), 3.0)
    program = ppl.compile(stepwise(kind), data=y, estimators=Rebar(), dtype="float64", max_copies=20)
    y[4, 2] = -1.0
    with pytest.raises(NonFiniteError, match=rf"'{name}' in step 2 is nan in row 4 of 'data'") as found:
        program.step(program.init(0, y), y)
    assert found.value.node == name


def test_a_refusal_of_a_loop_that_is_written_out_names_no_steps():
    @ppl.model
    def model():
        def step(c, t):
            a, b = (ppl.sample(k, Bernoulli(logits=ppl.param("p", 0.3) + c[k])) for k in "ab")
            ppl.cost("in", a * ppl.stop_gradient(c["b"]) + b)
            return {"a": 1.0 * a + c["a"], "b": 1.0 * b + c["b"]}, None

        ppl.scan(step, {"a": 0.0, "b": 0.0}, length=14)

    with pytest.raises(EstimatorError, match=r"enumerating a, b together takes .* for cost 'in', over the budget"):
        ppl.compile(model, estimators=Enumerate())
