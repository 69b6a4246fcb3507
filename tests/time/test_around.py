"""A node before a loop that has branches or states, and discrete nodes inside that depend on it: as written out."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal, Poisson
from ppl.estimators import Enumerate, MeasureValued, Rebar, ScoreFunction
from tests.time.test_written_out import written_out


def model(law, chain):
    """A loop that starts at a draw of `law`, and, where its node is no chain, another loop in its steps."""

    @ppl.model
    def after():
        p = ppl.param("p", 0.487)
        first = ppl.sample("first", law(p))

        def inner(d, k):
            u = ppl.sample("u", Bernoulli(logits=d))
            ppl.cost("inside", (u - 0.3 * d) ** 2)
            return d + 0.1 * u, None

        def step(c, t):
            z = ppl.sample("z", Bernoulli(logits=0.4 + p * c))
            ppl.cost("step", (c - z) ** 2)
            if not chain:
                e, _ = ppl.scan(inner, 0.3 * c, length=2, name="inner")
                ppl.cost("e", e * e)
            return 0.3 * p + z, z * 2.0

        last, ys = ppl.scan(step, 1.0 * first, length=3)
        if not chain:
            ppl.cost("end", last**2 + np.sum(ys))

    return after


@pytest.mark.parametrize(
    ("law", "estimator", "chain"),
    [
        (lambda p: Bernoulli(probs=p), MeasureValued(), True),
        (lambda p: Bernoulli(probs=p), MeasureValued(), False),
        (lambda p: Bernoulli(probs=p), Enumerate(), True),
        (lambda p: Bernoulli(logits=p), Rebar(), True),
        (lambda p: Normal(p, 1.0), MeasureValued(), True),
        (lambda p: Poisson(p), MeasureValued(), False),
    ],
)
def test_branches_and_states_of_a_node_before_a_loop(law, estimator, chain, monkeypatch):
    inside = {"z": Enumerate()} if chain else {"z": ScoreFunction(), "u": ScoreFunction()}
    options = {"estimators": {"first": estimator, **inside}}
    looped = ppl.compile(model(law, chain), dtype="float64", **options)
    assert looped.prepare().working is looped.prepare().graph
    flat = written_out(monkeypatch, model(law, chain), (), options)
    for seed in range(2):
        (loss, grad), (other, wanted) = (p.value_and_grad(p.init(0), seed=seed) for p in (looped, flat))
        assert loss == pytest.approx(other, rel=1e-9)
        assert grad["p"] == pytest.approx(wanted["p"], rel=1e-8)
