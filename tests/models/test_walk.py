"""The random walk: the law by dynamic programming against enumeration, single gradients by hand, the mean."""

import itertools
import json

import numpy as np
import pytest

import ppl
from ppl.estimators import ScoreFunction
from ppl.models import walk
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")


def test_the_known_values():
    assert walk.exact(100.0) == pytest.approx((1130.399, 7.5582), rel=1e-5)


def test_the_law_is_that_of_all_paths():
    n, p = 8, 5.0
    mass = np.zeros(n + 1)
    for path in itertools.product((1, -1), repeat=n):
        x, weight = 0, 1.0
        for move in path:
            up = np.exp(-x / p)
            weight *= up if move > 0 else 1 - up
            x += move
        if weight:
            mass[x] += weight
    found, change = walk.law(p, n)
    np.testing.assert_allclose(found, mass, rtol=1e-12)
    up, down = (walk.law(p + h, n)[0] for h in (1e-5, -1e-5))
    np.testing.assert_allclose(change, (up - down) / 2e-5, atol=1e-9)


def test_single_gradients_are_those_of_the_formula():
    """X² Σ d/dp log P(step): the slope of log P is x/p² upwards, and -up x/p² / (1 - up) downwards."""
    n, p = 20, 7.0
    program = ppl.compile(walk.walk.bind(steps=n), estimators=ScoreFunction(), dtype="float64")
    state = program.init(0, params={"p": p})
    for seed in range(10):
        after = program.sample(state, sites=["places"], seed=seed)["places"].reshape(n)
        before = np.append(0.0, after[:-1])
        up = np.exp(-before / p)
        slopes = before / p**2 * np.where(after > before, 1.0, -up / np.where(up < 1, 1 - up, 1.0))
        value, grads = program.value_and_grad(state, seed=seed)
        assert value == pytest.approx(after[-1] ** 2, rel=1e-12)
        assert grads["p"] == pytest.approx(after[-1] ** 2 * slopes.sum(), rel=1e-9)


def test_probabilities_that_may_be_certain_are_watched_in_the_same_pass():
    """The condition on all rows, that no parameter moves a probability of 1, multiplies gradients after their sums."""
    program = ppl.compile(walk.walk.bind(walks=1000), estimators=ScoreFunction())
    program.value_and_grad(program.init(0))
    assert ", 1 parallel row region" in str(program.explain())


def test_many_walks_run_once():
    """Walks are in memory some at a time, so that their number does not decide what reverse mode stores."""
    few, many = (str(ppl.compile(walk.walk.bind(walks=n), estimators=ScoreFunction()).source) for n in (1000, 10_000))
    assert few.count("fill_rows") == many.count("fill_rows")


def test_main_finds_the_exact_means_and_derivatives(tmp_path):
    assert walk.main(["--walks", "200", "--steps", "100", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "walk.metrics.json").read_text())["metrics"]
    labels = [label.removesuffix(", exact") for label in found if label.endswith(", exact")]
    assert len(labels) == 8
    for label in labels:
        assert found[label] == pytest.approx(found[f"{label}, exact"], abs=5 * found[f"{label} (standard error)"])
    assert (tmp_path / "walk.png").stat().st_size > 10_000
