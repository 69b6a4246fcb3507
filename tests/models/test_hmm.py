"""The hidden Markov model: recursions against enumeration, the program against the recursions, what it reaches."""

import itertools
import json

import numpy as np
import pytest

import ppl
from ppl.models import hmm
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")
LAW = hmm.TABLE, hmm.MEAN, hmm.SCALE


def test_the_recursions_are_those_of_all_paths():
    y, _ = hmm.sequences(2, 5)
    probs, counts = np.zeros((2, 5, 3)), np.zeros((3, 3))
    density = np.exp(-0.5 * ((y[..., None] - hmm.MEAN) / hmm.SCALE) ** 2) / (np.sqrt(2 * np.pi) * hmm.SCALE)
    paths = list(itertools.product(range(3), repeat=5))
    weights = np.zeros((2, len(paths)))
    for i, path in enumerate(paths):
        moves = hmm.TABLE[(0, *path[:-1]), path].prod()
        weights[:, i] = moves * density[:, range(5), path].prod(1)
    total = weights.sum(1)
    for path, weight in zip(paths, (weights / total[:, None]).T, strict=True):
        for t, (before, now) in enumerate(zip((0, *path[:-1]), path, strict=True)):
            probs[:, t, now] += weight
            counts[before, now] += weight.sum()
    log_prob, found, moves = hmm.forward_backward(y, LAW)
    assert log_prob == pytest.approx(np.log(total).sum(), rel=1e-12)
    np.testing.assert_allclose(found, probs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(moves, counts, rtol=1e-10, atol=1e-12)


def test_likelihood_and_gradient_are_those_of_the_recursions():
    """The slope in the logits is expected transitions less their expected total times the probabilities."""
    y, _ = hmm.sequences(4, 30)
    program = ppl.compile(ppl.likelihood(hmm.hidden, marginalize=["z"]), data=y, dtype="float64")
    given = {"table": np.log(hmm.TABLE), "mean": hmm.MEAN + 0.1, "scale": hmm.SCALE}
    loss, grads = program.value_and_grad(program.init(0, y, params=given), y)
    log_prob, probs, counts = hmm.forward_backward(y, (hmm.TABLE, hmm.MEAN + 0.1, hmm.SCALE))
    assert loss == pytest.approx(-log_prob, rel=1e-12)
    np.testing.assert_allclose(grads["table"], counts.sum(1, keepdims=True) * hmm.TABLE - counts, rtol=1e-7, atol=1e-9)
    away = (y[..., None] - hmm.MEAN - 0.1) / hmm.SCALE
    np.testing.assert_allclose(grads["mean"], -(probs * away).sum((0, 1)) / hmm.SCALE, rtol=1e-7)
    np.testing.assert_allclose(grads["scale"], (probs * (1 - away**2)).sum((0, 1)), rtol=1e-7)


def test_main_ends_where_expectation_maximisation_does(tmp_path):
    assert hmm.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "hmm.metrics.json").read_text())["metrics"]
    best = found["negative log-likelihood, expectation-maximisation"]
    assert found["negative log-likelihood"] == pytest.approx(best, abs=1e-5)
    assert found["largest distance of transitions from expectation-maximisation"] < 1e-3
    assert found["share of states that the likeliest ones are"] > 0.95
    assert (tmp_path / "hmm.png").stat().st_size > 10_000
