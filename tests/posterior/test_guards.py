"""Posteriors check what the loss checks: an index, a parameter or a guide's probability out of range is an error."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal
from ppl.errors import ParameterError

CHAIN = [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]]


@ppl.model
def index_below(y):
    k = ppl.sample("k", Categorical(probs=[0.2, 0.3, 0.5]))
    ppl.sample("y", Normal(ppl.constant([0.0, 5.0, 1.0])[k - 1], 1.0), obs=y)


@ppl.model
def scale_of_zero(y, z):
    with ppl.plate("data", y, z) as (y, z):
        k = ppl.sample("k", Categorical(probs=[0.2, 0.3, 0.5]))
        ppl.sample("y", Normal(k, z - k), obs=y)


@ppl.model
def index_above_in_a_loop(y):
    def step(before, v):
        now = ppl.sample("k", Categorical(probs=ppl.constant(CHAIN)[before]))
        ppl.sample("y", Normal(ppl.constant([0.0, 5.0, 1.0])[now + 1], 1.0), obs=v)
        return now, None

    ppl.scan(step, 0, y)


CASES = {
    "index": (index_below, (np.array(0.5),)),
    "scale": (scale_of_zero, (np.zeros(2), np.array([3.0, 2.0]))),
    "loop": (index_above_in_a_loop, (np.array([0.5, 1.0, 4.0]),)),
}


@pytest.mark.parametrize("call", ["posterior_probs", "posterior", "predict"])
@pytest.mark.parametrize("case", CASES)
def test_a_state_that_is_out_of_range_is_an_error(case, call):
    model, data = CASES[case]
    program = ppl.compile(ppl.likelihood(model, marginalize=["k"]), dtype="float64", data=data)
    with pytest.raises(ParameterError, match=r"must be"):
        getattr(program, call)(program.init(0), *data)


def test_keep_goes_on():
    program = ppl.compile(ppl.likelihood(index_below, marginalize=["k"]), dtype="float64", data=np.array(0.5))
    found = program.posterior_probs(program.init(0), np.array(0.5), nonfinite="keep")["k"]
    assert found.shape == (3,)


def test_probabilities_of_a_guide_are_checked():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", Normal(ppl.sample("k", Bernoulli(probs=0.3)), 1.0), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("k", Bernoulli(probs=ppl.param("q", 0.4) + x))

    program = ppl.compile(ppl.elbo(model, guide), dtype="float64")
    state = program.init(0, np.zeros(2))
    assert program.posterior_probs(state, np.array([0.1, 0.2]))["k"][:, 1] == pytest.approx([0.5, 0.6])
    with pytest.raises(ParameterError, match="row 1"):
        program.posterior_probs(state, np.array([0.1, 0.7]))
