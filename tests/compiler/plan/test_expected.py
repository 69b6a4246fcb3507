"""Variances to expect, against exact ones of a small layer: all outcomes of all particles, in plain NumPy."""

import itertools

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.compiler.plan.closed_form_variance import AVERAGE_LAG
from ppl.compiler.plan.decision_table import expected_variance
from ppl.estimators import BonnetPrice, DisARM, Pathwise, ScoreFunction

P = np.array([0.5, 0.25, 0.5, 0.25])
"""Own noise of a unit: none at even odds, as much as another's at one to three; a half on average."""

WEIGHTS = np.ones(4)

PATH, PRICE, SCORE = Pathwise(), BonnetPrice(), ScoreFunction("optimal")


@ppl.model
def layer():
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.log(P / (1 - P)))))
    ppl.cost("loss", b @ WEIGHTS)


def outcomes(count):
    """(outcomes, units) bits."""
    bits = np.array(list(itertools.product((0.0, 1.0), repeat=count)))
    return bits


def of_score(particles, baseline):
    """Trace of the variance of the mean of so many scores, by all outcomes; None: the mean cost as baseline."""
    bits = outcomes(len(P))
    probs = np.where(bits == 1, P, 1 - P).prod(1)
    costs, scores = bits @ WEIGHTS, bits - P
    total, mean = 0.0, np.zeros(len(P))
    for draws in itertools.product(range(len(bits)), repeat=particles):
        weight, c, s = probs[list(draws)].prod(), costs[list(draws)], scores[list(draws)]
        base = P @ WEIGHTS if baseline is None else (c.sum() - c) / (particles - 1)
        estimate = ((c - base)[:, None] * s).mean(0)
        total, mean = total + weight * (estimate**2).sum(), mean + weight * estimate
    return total - (mean**2).sum()


def of_pairs():
    """The same of DisARM, by all joint outcomes of its pairs."""
    each = [[(1.0, 1.0, max(2 * p - 1, 0)), (0.0, 0.0, max(1 - 2 * p, 0)), (1.0, 0.0, min(p, 1 - p)),
             (0.0, 1.0, min(p, 1 - p))] for p in P]  # fmt: skip
    total, mean = 0.0, np.zeros(len(P))
    for joint in itertools.product(*each):
        b, c, w = (np.array(x) for x in zip(*joint, strict=True))
        estimate = 0.5 * (b @ WEIGHTS - c @ WEIGHTS) * (b - c) * np.maximum(P, 1 - P)
        total, mean = total + w.prod() * (estimate**2).sum(), mean + w.prod() * estimate
    return total - (mean**2).sum()


@pytest.mark.parametrize(
    ("estimator", "particles", "exact"),
    [
        (DisARM(), 1, of_pairs),
        (ScoreFunction("moving_average"), 1, lambda: AVERAGE_LAG * of_score(1, None)),
        (ScoreFunction("leave_one_out"), 3, lambda: of_score(3, "others")),
    ],
)
def test_ratios_are_those_of_an_additive_cost(estimator, particles, exact):
    graph = ppl.compile(layer).prepare().graph
    found = expected_variance(graph, {"b": estimator}, particles)
    reference = expected_variance(graph, {"b": ScoreFunction("leave_one_out")}, 2)
    assert found / reference == pytest.approx(exact() / of_score(2, "others"), rel=0.1)


def test_pairs_share_the_noise_of_other_layers():
    """Closed forms of 6 and 2 units: pairs (5.5 · 6 + 1.5 · 2), two particles 8 · (6 + 2)."""

    @ppl.model
    def two():
        a = ppl.sample("a", Bernoulli(logits=ppl.param("a.logits", np.zeros(6))))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("b.logits", np.zeros(2)) + a.sum()))
        ppl.cost("loss", a.sum() * b.sum())

    graph = ppl.compile(two, max_copies=10**9).prepare().graph
    pairs = expected_variance(graph, {"a": DisARM(), "b": DisARM()}, 1)
    leave = expected_variance(graph, {n: ScoreFunction("leave_one_out") for n in "ab"}, 2)
    assert pairs / leave == pytest.approx((5.5 * 6 + 1.5 * 2) / 64)


@pytest.mark.parametrize(
    ("cost", "order"),
    [
        (lambda z: np.cos(0.5 * z), [PRICE, PATH, SCORE]),
        (lambda z: np.exp(-0.1 * z**2), [PRICE, PATH, SCORE]),
        (lambda z: np.cos(5.0 * z), [SCORE, PATH, PRICE]),
        (lambda z: np.exp(-10.0 * z**2), [SCORE, PATH, PRICE]),
    ],
)
def test_curvature_decides_between_paths_and_scores(cost, order):
    """cos w z leaves a path w² in location and log-scale, a score 3 / 2: the first of `order` is chosen."""

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(ppl.param("loc", 1.0), np.exp(ppl.param("log_scale", 0.0))))
        ppl.cost("loss", cost(z))

    chosen = ppl.compile(model, particles="auto").explain()["z"].estimator  # scores differ by their baselines
    assert isinstance(chosen, type(order[0]))
    programs = [ppl.compile(model, e, particles=4) for e in order]
    traces = [p.diagnose(p.init(0), repeats=2000, seed=1, timing=False).total.trace for p in programs]
    assert traces == sorted(traces)
