"""Relaxations: same noise as the sample, and the right law given the sample."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import build, leaf, noise_of, value_of, values_of
from scipy import stats

from ppl.distributions import REGISTRY, Bernoulli, Categorical, OneHotCategorical
from ppl.distributions.bounds import mark_inside
from ppl.distributions.intervals import UNIT
from ppl.errors import ModelError
from ppl.graph.ranges import Ranges
from ppl.graph.smoothness import PathOrders
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import topological
from ppl.ir.op_facts import JUMP
from ppl.ir.traversal import Readers

N = 20_000

LEVEL = 1e-3

CASES = [
    ("Bernoulli", {"probs": 0.3}),
    ("Bernoulli", {"logits": 1.2}),
    ("OneHotCategorical", {"logits": np.array([1.0, -2.0, 0.5])}),
    ("OneHotCategorical", {"probs": np.array([0.2, 0.7, 0.1])}),
]

each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=[n + str(list(c)) for n, c in CASES])


def harden(relaxed):
    """The hard sample that a relaxed one rounds to."""
    if relaxed.ndim == 1:
        return (relaxed > 0.5).astype(float)
    return np.eye(relaxed.shape[-1])[relaxed.argmax(-1)]


def test_every_relaxable_distribution_is_here():
    assert {name for name, d in REGISTRY.items() if d.relaxable} == {name for name, _ in CASES}


@each_case
@pytest.mark.parametrize("temperature", [0.2, 1.5])
def test_rounds_to_the_sample_of_the_same_noise(name, case, temperature):
    dist = build(name, case)
    u = noise_of(dist, N)
    hard, soft = values_of([dist.draw(*u), dist.relax(ops.const(temperature), *u)], seed=1)
    np.testing.assert_array_equal(harden(soft), hard)
    np.testing.assert_allclose(hard.mean(0), dist.mean, atol=5 * 0.5 / np.sqrt(N))


@each_case
def test_given_the_sample_it_has_the_conditional_law(name, case):
    dist = build(name, case)
    u, v, w = (noise_of(dist, N, name=label) for label in "uvw")
    t = ops.const(0.8)
    hard, soft = values_of([dist.draw(*u), dist.relax(t, *u)], seed=2)
    given = value_of(dist.relax_given(t, dist.draw(*w), *v), seed=2)
    hard_w = value_of(dist.draw(*w), seed=2)
    np.testing.assert_array_equal(harden(given), hard_w)
    if name == "Bernoulli":
        hard, soft, hard_w, given = (x[:, None] for x in (hard, soft, hard_w, given))
    for b in np.unique(hard, axis=0):
        left, right = soft[(hard == b).all(-1)], given[(hard_w == b).all(-1)]
        for entry in range(left.shape[-1]):
            assert stats.ks_2samp(left[:, entry], right[:, entry]).pvalue > LEVEL


@each_case
def test_conditional_form_of_the_notes(name, case):
    """In logits, stably, the same numbers as the textbook formulas in probabilities."""
    dist, v = build(name, case), np.random.default_rng(0).uniform(0.05, 0.95, (6, 3))
    if name == "Bernoulli":
        v, p = v[:, 0], np.asarray(dist.mean)
        for b in (0.0, 1.0):
            u = v * (1 - p) if b == 0 else (1 - p) + v * p
            z = np.log(p / (1 - p)) + np.log(u / (1 - u))
            got = value_of(dist.relax_given(ops.const(0.5), ops.const(b), ops.const(v)))
            np.testing.assert_allclose(got, 1 / (1 + np.exp(-z / 0.5)), rtol=1e-12)
        return
    for b in range(3):
        z = -np.log(-np.log(v) / np.asarray(dist.mean) - np.log(v[:, b : b + 1]))
        z[:, b] = -np.log(-np.log(v[:, b]))
        e = np.exp(z / 0.5)
        node = dist.relax_given(ops.const(0.5), ops.const(np.eye(3)[b]), ops.const(v[0]))
        np.testing.assert_allclose(value_of(node), e[0] / e[0].sum(), rtol=1e-12)


def test_conditional_path_agrees_with_differences():
    logits = leaf("logits", (3,))
    dist = OneHotCategorical(logits=logits)
    v = ops.const([0.2, 0.9, 0.4])
    out = ops.reduce_sum(ops.mul(dist.relax_given(ops.const(0.7), ops.const([0.0, 1.0, 0.0]), v), [1.0, 2.0, 5.0]))
    at = np.array([0.3, -0.4, 1.1])
    (grad,) = values_of(gradient(out, [logits]), logits=at)
    for i in range(3):
        shift = 1e-6 * np.eye(3)[i]
        slope = (value_of(out, logits=at + shift) - value_of(out, logits=at - shift)) / 2e-6
        assert grad[i] == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("logits", [[1e4, -1e4, 0.0], [0.0, -np.inf, 1.0], [-1e4, 5.0, 5.0]])
def test_extreme_class_logits_give_finite_values_and_gradients(logits):
    node, tau = leaf("logits", (3,)), leaf("tau")
    dist, hard = OneHotCategorical(logits=node), OneHotCategorical(logits=np.array(logits))
    u = ops.const([0.3, 0.6, 0.9])
    b = value_of(hard.draw(u))
    for d in (dist, hard):
        for z in (d.relax(tau, u), d.relax_given(tau, ops.const(b), u)):
            out = ops.reduce_sum(ops.mul(z, [1.0, 2.0, 4.0]))
            soft, *grads = values_of([z, *gradient(out, [node, tau])], logits=np.array(logits), tau=0.1)
            if d is hard or np.isfinite(logits).all():
                assert soft.sum() == pytest.approx(1.0)
                assert all(np.isfinite(g).all() for g in grads)
    assert np.isfinite(hard.log_prob(b))


@pytest.mark.parametrize("logit", [1e4, -1e4, 40.0])
def test_extreme_binary_logits(logit):
    node, tau = leaf("a"), leaf("tau")
    dist, u = Bernoulli(logits=node), ops.const(0.37)
    for b in (0.0, 1.0):
        z = [dist.relax(tau, u), dist.relax_given(tau, ops.const(b), u), dist.node_log_prob(ops.const(b))]
        for out in z:
            values = values_of([out, *gradient(out, [node, tau])], a=logit, tau=0.1)
            assert np.isfinite(values).all()
    assert dist.with_params((ops.const(logit),)).log_prob(float(logit > 0)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_sure_outcomes(p):
    dist, tau = Bernoulli(probs=p), leaf("tau")
    assert (value_of(dist.draw(*noise_of(dist, 100))) == p).all()
    assert (dist.log_prob(p), dist.log_prob(1 - p), dist.entropy(), dist.mean) == (0.0, -np.inf, 0.0, p)
    for z in (dist.relax(tau, ops.const(0.4)), dist.relax_given(tau, ops.const(p), ops.const(0.4))):
        value, slope = values_of([z, *gradient(z, [tau])], tau=0.5)
        assert value == p and slope == 0.0


def test_multilinear_extension_and_its_slope_at_hard_values():
    """x log p + (1-x) log(1-p) between the corners; its slope there is the log-odds, also at the corners."""
    x = leaf("x")
    for dist in (Bernoulli(probs=0.3), Bernoulli(logits=np.log(0.3 / 0.7))):
        node = dist.node_log_prob(x)
        for at in (0.0, 0.25, 1.0):
            value, slope = values_of([node, *gradient(node, [x])], x=at)
            assert value == pytest.approx(at * np.log(0.3) + (1 - at) * np.log(0.7))
            assert slope == pytest.approx(np.log(0.3 / 0.7))
    row, p = leaf("row", (3,)), np.array([0.2, 0.5, 0.3])
    for dist in (OneHotCategorical(probs=p), OneHotCategorical(logits=np.log(p))):
        node = dist.node_log_prob(row)
        value, slope = values_of([node, *gradient(node, [row])], row=np.array([1.0, 0.0, 0.0]))
        assert value == pytest.approx(np.log(0.2))
        np.testing.assert_allclose(slope, np.log(p))


def order_of(out, source):
    """Smoothness of `out` in `source`, as the choice of estimators sees it."""
    return PathOrders(source, Readers(topological([out])), lambda node: None, Ranges())[out]


def test_the_extension_has_no_jump():
    """The analysis of paths finds no jump from a relaxed value to the log-density, nor from probabilities."""
    x, p = leaf("x", (3,)), mark_inside(leaf("p", (3,)), UNIT)
    for dist in (Bernoulli(p), Bernoulli(logits=p), OneHotCategorical(p), OneHotCategorical(logits=p)):
        assert order_of(dist.node_log_prob(x), x) > JUMP
    for dist in (Bernoulli(p), Bernoulli(logits=p), OneHotCategorical(p)):
        assert order_of(dist.node_log_prob(x), p) > JUMP


def test_class_logits_have_no_jump():
    logits = leaf("logits", (3,))
    assert order_of(OneHotCategorical(logits=logits).node_log_prob(leaf("x", (3,))), logits) > JUMP
    assert order_of(Categorical(logits=logits).node_log_prob(ops.const(1)), logits) > JUMP


def test_categorical_says_why_it_does_not_relax():
    dist = Categorical(np.ones(3) / 3)
    with pytest.raises(ModelError, match=r"integers.*OneHotCategorical"):
        dist.relax(ops.const(1.0), *noise_of(dist, 1))
    with pytest.raises(ModelError, match="integers"):
        dist.relax_given(ops.const(1.0), ops.const(0), *noise_of(dist, 1))
