"""Leaves seen through views."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal


def test_one_entry_of_a_whole_argument_is_observed():
    @ppl.model
    def model(y):
        for t in range(3):
            ppl.sample(f"y{t}", Normal(ppl.param(f"m{t}", 0.0), 1.0), obs=y[t])

    y = np.array([1.0, -2.0, 0.5])
    program = ppl.compile(ppl.likelihood(model), dtype="float64", data=y)
    expected = 0.5 * (y**2).sum() + 1.5 * np.log(2 * np.pi)
    assert program.value(program.init(0, y), y) == pytest.approx(expected)


def test_a_constant_table_read_at_a_sample_is_no_constant():
    """The condition on such a row varies with the sample, though its law is constant."""

    @ppl.model
    def model():
        k = ppl.sample("k", Categorical(probs=[0.5, 0.5]))
        j = ppl.sample("j", Categorical(probs=ppl.constant([[[0.5], [0.5]], [[0.2], [0.8]]])[k, :, 0]))
        ppl.sample("b", Bernoulli(probs=ppl.constant([0.25, 0.75])[j]), obs=1.0)

    program = ppl.compile(ppl.likelihood(model, marginalize=["k", "j"]), dtype="float64")
    assert np.exp(-program.value(program.init(0))) == pytest.approx(0.35 * 0.25 + 0.65 * 0.75)
