"""Errors about values of steps: which node, row and step, and values that leave their loop."""

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import ModelError, NonFiniteError, ParameterError
from ppl.estimators import ScoreFunction
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
    with pytest.raises(ParameterError, match=r"scale of Normal must be positive .* in row 4 of 'data', entry 1"):
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
