"""Baselines of loops that stop: means over the steps in which rows run, whatever the estimate leaves out early."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli
from tests.helpers import law_loops  # noqa: F401 - adds to the laws
from tests.helpers.replay import Case, replay

X = np.array([[0.7, -0.4, 1.1], [-0.3, 0.9, 0.2]])


@ppl.model
def stopping(x):
    p = ppl.param("p", 0.7)
    with ppl.plate("data", x) as x:

        def step(k, xt):
            b = ppl.sample("b", Bernoulli(logits=p * k - xt))
            ppl.cost("inside", k + b * xt)
            return k + b + 0.2, None

        k, _ = ppl.scan(step, 0.4, x, until=lambda k: k > 1.0)
        ppl.cost("last", k)


def costs_to_go(b):
    """For every row and step the costs ahead, NaN where the row has stopped."""
    ahead = np.full(b.shape, np.nan)
    for row in range(len(b)):
        k, inside = 0.4, []
        for xt, bt in zip(X[row], b[row], strict=True):
            if k > 1.0:
                break
            inside.append(k + bt * xt)
            k = k + bt + 0.2
        for t in range(len(inside)):
            ahead[row, t] = sum(inside[t:]) + k
    return ahead


@pytest.mark.parametrize("per_step", [False, True])
def test_baselines_move_in_steps_in_which_rows_run(per_step):
    estimator = ppl.estimators.ScoreFunction("moving_average", per_step=per_step)
    program = ppl.compile(stopping, estimators=estimator, dtype="float64", data=X)
    left_early = 0
    for seed in range(8):
        state = program.init(seed, X)
        name = next(iter(state.aux))
        old = np.full(state.aux[name].shape, 0.37)
        state = state.replace(aux={name: old})
        ahead = costs_to_go(program.sample(state, X)["b"])
        runs = ~np.isnan(ahead).all(0)
        means = np.array([np.nanmean(ahead[:, t]) if runs[t] else 0.0 for t in range(3)])
        left_early += not runs.all()
        _, _, new = program.step(state, X)
        changes = np.where(runs, 0.01 * (means - 0.37), 0.0)
        expected = old + (changes if per_step else changes.sum() / runs.sum())
        np.testing.assert_allclose(new.aux[name], expected, rtol=1e-12)
    assert left_early >= 3


@pytest.mark.parametrize(
    "estimator", [ppl.estimators.ScoreFunction("moving_average"), ppl.estimators.ScoreFunction("learned")]
)
def test_the_interpreter_says_the_same(estimator):
    replay(Case("loop_until", {"b": estimator}), "float64", 1e-9)
