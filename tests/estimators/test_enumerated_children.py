"""REBAR above an integer node that the plan sums over: nothing has to be relaxed there, only its probabilities vary."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical
from ppl.errors import EstimatorError
from ppl.estimators import Enumerate, Rebar, ScoreFunction
from tests.helpers.laws import Graph, assert_unbiased


@ppl.model
def table_below_bits():
    a = ppl.param("a", np.array([0.3, -0.4]))
    w = ppl.param("w", np.array([[0.5, -0.2, 0.1], [0.4, 0.3, -0.6]]))
    b = ppl.sample("b", Bernoulli(logits=a))
    k = ppl.sample("k", Categorical(logits=b @ w))
    ppl.cost("c", ppl.constant(np.array([1.0, 0.2, -0.5]))[k] * (1 + b[0]) + b[1])


GRAPH = Graph(table_below_bits, {"a": np.array([0.3, -0.4]), "w": np.array([[0.5, -0.2, 0.1], [0.4, 0.3, -0.6]])})


def test_rebar_above_an_enumerated_categorical_is_unbiased():
    assert_unbiased(GRAPH, {"k": Enumerate(), "b": Rebar()})


def test_rebar_above_a_sampled_categorical_is_refused():
    with pytest.raises(EstimatorError, match="'k' downstream"):
        GRAPH.compile({"k": ScoreFunction(), "b": Rebar()})
