"""Draws of one row of many classes: bisection of the cumulative sums gives the class that comparing with all gives."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import noise_of, value_of
from scipy import stats

import ppl
from ppl.distributions import Categorical, categorical
from ppl.ir import ops
from ppl.ir.node import topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

RNG = np.random.default_rng(0)


def weights(count):
    """Class probabilities over many orders of magnitude, runs of them zero, the ends too."""
    p = np.exp(RNG.normal(size=count) * 4)
    p[RNG.random(count) < 0.3] = 0.0
    p[[0, -1]] = 0.0
    p[count // 2] = 1.0
    return p / p.sum()


def draws(dist, n, dtype=np.float64):
    rows = ops.expand(dist.draw(*noise_of(dist, n)), ())
    return evaluate([rows], Env(dtype=dtype, seed=4))[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [16, 17, 31, 32, 33, 1000])
def test_the_class_is_that_of_the_comparison(count, dtype, monkeypatch):
    dist = Categorical(weights(count))
    found = draws(dist, 4000, dtype)
    monkeypatch.setattr(categorical, "SEARCHED_CLASSES", count + 1)
    np.testing.assert_array_equal(found, draws(dist, 4000, dtype))


def test_a_large_vocabulary_has_its_law_and_no_array_of_draws_times_classes():
    p = weights(3000)
    dist = Categorical(p)
    node = dist.draw(*noise_of(dist, 50_000))
    assert {n.type.event_size for n in topological([node]) if n.type.axes and n.op not in ("expand", "concat")} == {1}
    found = value_of(node)
    counts, wanted = np.bincount(found, minlength=3000), 50_000 * p
    assert counts[p == 0].sum() == 0
    often = wanted > 5
    rest = [wanted[~often].sum()], [counts[~often].sum()]
    assert stats.chisquare(np.r_[counts[often], rest[1]], np.r_[wanted[often], rest[0]]).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_draws_are_those_of_the_interpreter(dtype):
    @ppl.model
    def model(x):
        row = ppl.param("row", np.log(weights(1000) + 1e-12))
        with ppl.plate("data", x) as x:
            k = ppl.sample("k", Categorical(logits=row))
            ppl.cost("cost", x * k)

    x = np.ones(500)
    program = ppl.compile(model, dtype=dtype, data=x)
    state = program.init(0)
    variant = program.prepare().variant("sample", ("k",))
    rows, kind = {"data": np.arange(500)}, np.dtype(dtype).type
    env = Env(params=state.params, inputs={"x": x}, sizes={"particles": 1}, rows=rows, dtype=kind)
    wanted = evaluate([variant.arrays["k"]], env)[0]
    np.testing.assert_array_equal(program.sample(state, x)["k"], wanted.reshape(-1))
