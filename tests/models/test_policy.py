"""Policy gradients against dynamic programming: reward-to-go from downstream costs alone, the mean, the optimum."""

import numpy as np
import pytest

import ppl
from ppl.estimators import ScoreFunction
from ppl.models import policy

STEPS = 3


@pytest.fixture(scope="module")
def program():
    return ppl.compile(policy.trajectory.bind(steps=STEPS), estimators=ScoreFunction(), dtype="float64")


def _logits():
    return np.random.default_rng(0).normal(size=(STEPS, policy.STATES, policy.ACTIONS))


def test_the_exact_gradient_is_that_of_the_exact_value():
    logits, h = _logits(), 1e-5
    exact = policy.exact_gradient(logits)
    for index in np.ndindex(logits.shape):
        shift = np.zeros(logits.shape)
        shift[index] = h
        up, down = (-policy.values(policy.policy_of(logits + d))[1][0, policy.START] for d in (shift, -shift))
        assert exact[index] == pytest.approx((up - down) / (2 * h), abs=1e-8)


def test_single_gradients_are_reward_to_go(program):
    logits = _logits()
    state = program.init(0, params={"logits": logits})
    for seed in range(20):
        path = policy.episodes(program, state, 1, seed)
        _, grads = program.value_and_grad(state, seed=seed)
        np.testing.assert_allclose(grads["logits"], policy.reward_to_go(logits, *path), rtol=1e-9, atol=1e-12)


def test_the_mean_gradient_is_the_exact_one(program):
    state = program.init(0, params={"logits": _logits()})
    mean, error = policy.mean_gradient(program, state, 20_000)
    exact = policy.exact_gradient(_logits())
    seen = error > 0
    assert (np.abs(mean - exact)[seen] <= 5 * error[seen]).all()
    np.testing.assert_array_equal(exact[~seen], 0.0)
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(exact)


def test_the_optimum_is_an_upper_bound_that_its_own_policy_reaches():
    best, actions = policy.optimal(8)
    greedy = np.eye(policy.ACTIONS)[actions]
    assert policy.values(greedy)[1][0, policy.START] == pytest.approx(best, rel=1e-12)
    assert policy.values(np.full(greedy.shape, 0.5))[1][0, policy.START] < best
