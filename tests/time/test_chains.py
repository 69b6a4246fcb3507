"""Nodes of loops that are summed out: the forward algorithm against all joint states, NumPy's, and what it refuses."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import ppl
from ppl import Bernoulli, Categorical
from ppl.estimators import Enumerate
from tests.time.chains import CHAINS
from tests.time.test_written_out import written_out


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if i % 2 else ()) for i, name in enumerate(CHAINS)]
)
def test_a_chain_is_the_sum_over_all_joint_states(name, monkeypatch):
    objective, data, options = CHAINS[name]
    looped = ppl.compile(objective, dtype="float64", data=data or None, **options)
    compiled = looped.prepare(*data)
    assert compiled.working is compiled.graph
    flat = written_out(monkeypatch, objective, data, options)
    (loss, grad), (other, wanted) = (p.value_and_grad(p.init(0, *data), *data, seed=3) for p in (looped, flat))
    assert loss == pytest.approx(other, rel=1e-9)
    for key in grad:
        np.testing.assert_allclose(grad[key], wanted[key], rtol=1e-8, atol=1e-9)
    assert looped.value(looped.init(0, *data), *data, seed=3) == pytest.approx(loss, rel=1e-9)


def forward(y, table, mean):
    """-log p(y) of the hidden Markov model whose first state follows 0, in logarithms."""
    steps = table - logsumexp(table, axis=1, keepdims=True)
    total = 0.0
    for row in y:
        message = steps[0] + norm.logpdf(row[0], mean, 0.7)
        for x in row[1:]:
            message = logsumexp(message[:, None] + steps, axis=0) + norm.logpdf(x, mean, 0.7)
        total -= logsumexp(message)
    return total


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_long_chains_are_those_of_the_forward_algorithm(dtype):
    objective, _, _ = CHAINS["dense"]
    y = np.random.default_rng(4).normal(size=(5, 300)) * 4
    program = ppl.compile(objective, dtype=dtype, data=y)
    state = program.init(0, y)
    p = {k: np.asarray(v, np.float64) for k, v in program.params(state).items()}
    close = 1e-10 if dtype == "float64" else 3e-6
    assert program.value(state, y) == pytest.approx(forward(y, p["table"], p["mean"]), rel=close)
    _, grad = program.value_and_grad(state, y)
    for i in range(3):
        moved = [p["mean"] + h * np.eye(3)[i] for h in (1e-5, -1e-5)]
        slope = (forward(y, p["table"], moved[0]) - forward(y, p["table"], moved[1])) / 2e-5
        assert grad["mean"][i] == pytest.approx(slope, rel=max(1e-6, 30 * close))


def test_a_chain_must_not_remember_two_steps():
    @ppl.model
    def model():
        a = ppl.param("a", 0.4)

        def step(c, t):
            z, before = c
            new = ppl.sample("z", Bernoulli(logits=a * z * before))
            ppl.cost("c", new * before)
            return (new, z), None

        ppl.scan(step, (1.0, 1.0), length=65)

    match = r"carry number 1 depends on its values in more than one step.*65 steps, more than 64, are not written out"
    with pytest.raises(ppl.errors.EstimatorError, match=match):
        ppl.compile(model, estimators=Enumerate())


def test_what_depends_on_a_chain_outside_of_its_loop_is_refused():
    @ppl.model
    def model():
        a = ppl.param("a", 0.4)

        def step(z, t):
            z = ppl.sample("z", Categorical(logits=np.ones(3) * a * z))
            ppl.cost("c", z * 1.0)
            return z, None

        z, _ = ppl.scan(step, 1, length=65)
        ppl.cost("end", z * a)

    with pytest.raises(ppl.errors.EstimatorError, match="'end' outside of the loop depends on it"):
        ppl.compile(model, estimators={"z": Enumerate()})
