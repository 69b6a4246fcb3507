"""The recurrent network: the forward algorithm against enumeration, bounds below it, the mean gradient, the main."""

import itertools
import json

import numpy as np
import pytest

import ppl
from ppl.estimators import ScoreFunction
from ppl.models import rnn
from tests.helpers.needs import needs

pytestmark = needs("sklearn", "matplotlib")


def _compiled(objective, x, **options):
    program = ppl.compile(objective, data=x, dtype="float64", **options)
    rng = np.random.default_rng(0)
    shapes = {name: value.shape for name, value in program.init(0, x).params.items()}
    params = {name: 0.8 * rng.normal(size=shape) for name, shape in sorted(shapes.items())}
    return program, program.init(0, x, params=params), params


def _pictures(count, rows=3, pixels=2):
    return np.random.default_rng(1).integers(0, 2, size=(count, rows, pixels)).astype(float)


def _mass(logits, bits):
    return np.prod(np.where(bits > 0, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))), -1)


def _affine(params, name, x):
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]


def _enumerated(params, x):
    """log p(x) over all states of two units at three rows."""
    total = np.zeros(len(x))
    for path in itertools.product(itertools.product((0.0, 1.0), repeat=2), repeat=3):
        weight, h, above = np.ones(len(x)), np.zeros(2), np.zeros_like(x[:, 0])
        for t, new in enumerate(np.array(path)):
            weight *= _mass(_affine(params, "recur", h) + _affine(params, "read", above), new)
            weight *= _mass(_affine(params, "write", new), x[:, t])
            h, above = new, x[:, t]
        total += weight
    return np.log(total)


def test_the_forward_algorithm_is_the_sum_over_paths_and_many_samples_reach_it():
    x = _pictures(4)
    model, guide = rnn.network(2)
    program, state, params = _compiled(ppl.iwae(model, guide, 20_000), x, estimators=ScoreFunction())
    exact = _enumerated(params, x)
    np.testing.assert_allclose(rnn.log_prob(params, x, chunk=3), exact, rtol=1e-10)
    found = np.array([program.value(state, x, seed=seed) for seed in range(10)])
    assert found.mean() == pytest.approx(-exact.sum(), abs=5 * found.std() / np.sqrt(10) + 1e-3)
    assert found.std() < 0.1


def test_the_mean_gradient_is_that_of_the_enumerated_bound():
    """Over all paths of the guide, by differences in one weight of every layer."""
    x = _pictures(3)
    program, state, params = _compiled(ppl.elbo(*rnn.network(2)), x, estimators=ScoreFunction("leave_one_out"),
                                       particles=4)  # fmt: skip
    found = program.diagnose(state, x, repeats=4000, timing=False)
    for name in ("recur.weight", "write.bias", "guide/recur.weight", "guide/read.weight"):
        at, h = (0,) * params[name].ndim, 1e-5
        values = []
        for sign in (1, -1):
            moved = {k: v.copy() for k, v in params.items()}
            moved[name][at] += sign * h
            values.append(_bound(moved, x))
        slope = (values[0] - values[1]) / (2 * h)
        assert found[name].mean[at] == pytest.approx(slope, abs=5 * found[name].standard_error[at])
        assert found[name].standard_error[at] < 0.1


def _bound(params, x):
    """E_q[log q - log p], summed over pictures."""
    total = 0.0
    for path in itertools.product(itertools.product((0.0, 1.0), repeat=2), repeat=3):
        q, p, h, above = np.ones(len(x)), np.ones(len(x)), np.zeros(2), np.zeros_like(x[:, 0])
        for t, new in enumerate(np.array(path)):
            q = q * _mass(_affine(params, "guide/recur", h) + _affine(params, "guide/read", x[:, t]), new)
            p = p * _mass(_affine(params, "recur", h) + _affine(params, "read", above), new)
            p = p * _mass(_affine(params, "write", new), x[:, t])
            h, above = new, x[:, t]
        total += np.sum(q * (np.log(q) - np.log(p)))
    return total


def test_main_bounds_the_exact_likelihood(tmp_path):
    assert rnn.main(["--epochs", "5", "--units", "5", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "rnn.metrics.json").read_text())["metrics"]
    exact = found["exact negative log-likelihood of held-out rows"]
    many = found["negative 50-sample bound on held-out rows"]
    assert exact < many + 0.1 and many < found["negative bound on held-out rows"]
    assert exact < 40.0 and (tmp_path / "rnn.png").stat().st_size > 10_000
