"""Probabilities learned without a simplex constraint: values and slopes are those of the rows over their sum."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.estimators
from ppl.distributions import Categorical, Mixture, Multinomial, Normal, OneHotCategorical, PlackettLuce
from ppl.distributions import RelaxedOneHotCategorical as Relaxed
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

P = np.array([0.2, 0.5, 0.9])

MEANS = np.array([0.0, 1.0, 2.0])


def normal(x):
    return np.exp(-((x - MEANS) ** 2) / 2) / np.sqrt(2 * np.pi)


CASES = {
    "Categorical": (lambda p: Categorical(p), 1, lambda q: np.log(q[1])),
    "OneHotCategorical": (lambda p: OneHotCategorical(p), [0.0, 0.0, 1.0], lambda q: np.log(q[2])),
    "Multinomial": (lambda p: Multinomial(2, p), [0, 1, 1], lambda q: np.log(2 * q[1] * q[2])),
    "PlackettLuce": (lambda p: PlackettLuce(p), [2, 1, 0], lambda q: np.log(q[2] * q[1] / (q[0] + q[1]))),
    "Mixture": (lambda p: Mixture(p, Normal(MEANS, 1.0)), 0.3, lambda q: np.log(q @ normal(0.3))),
    "Relaxed": (
        lambda p: Relaxed(0.5, p), [0.2, 0.3, 0.5],
        lambda q: np.log(2 * 0.5**2 * np.prod(q * np.array([0.2, 0.3, 0.5]) ** -1.5)
                         / (q @ np.array([0.2, 0.3, 0.5]) ** -0.5) ** 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_learned_rows_are_normalised(name):
    make_dist, value, wanted = CASES[name]
    node = make("param", name="p", shape=(3,))
    density = make_dist(node).node_log_prob(ops.const(value))
    found, slope = evaluate([density, *gradient(density, [node])], Env(params={"p": P}, dtype=np.float64))
    assert found == pytest.approx(wanted(P / P.sum()), rel=1e-12)
    for i, step in enumerate(1e-6 * np.eye(3)):
        moved = [wanted((P + s) / (P + s).sum()) for s in (step, -step)]
        assert slope[i] == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-6, abs=1e-8)
    assert slope @ P == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_constant_rows_have_to_sum_to_1(name):
    with pytest.raises(ModelError, match="rows that sum to 1"):
        CASES[name][0](P)


def test_compiled():
    """E f(k) at learned rows that sum to 1.6, and its exact gradient."""

    @ppl.model
    def model():
        k = ppl.sample("k", Categorical(ppl.param("p", P)), estimator=ppl.estimators.Enumerate())
        ppl.cost("c", k.astype(float) ** 2)

    program = ppl.compile(model, dtype="float64")
    loss, grads = program.value_and_grad(program.init(seed=0))[:2]
    squares, q = np.array([0.0, 1.0, 4.0]), P / P.sum()
    assert loss == pytest.approx(q @ squares)
    np.testing.assert_allclose(grads["p"], (squares - q @ squares) / P.sum(), rtol=1e-10)
