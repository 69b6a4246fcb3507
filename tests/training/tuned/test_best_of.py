"""When a run with `tune=` goes over to another choice: simulated costs whose means are known."""

import numpy as np

from ppl.choosing.tuner import best_configuration

PAIRS = 16

BOTH = [True, True]


def switched(current, other, seconds=(1.0, 1.0)):
    return best_configuration(np.array([current, other]), np.array(seconds), 0, BOTH) == 1


def test_a_cost_with_heavy_tails_that_is_far_above_is_left():
    """Its standard error is as large as its mean."""
    bad, good = np.full(PAIRS, 1e-7), np.linspace(1e-7, 3e-7, PAIRS)
    bad[3] = 2e-4
    assert bad.std(ddof=1) / np.sqrt(PAIRS) > 0.9 * bad.mean()
    assert switched(bad, good)
    assert not switched(good, bad)


def test_choices_of_one_law_are_seldom_left():
    rng, spreads = np.random.default_rng(0), (0.3, 1.0, 2.0)
    for spread in spreads:
        draws = rng.lognormal(0.0, spread, (2000, 2, PAIRS))
        assert np.mean([switched(a, b) for a, b in draws]) < 0.06, spread


def test_small_gains_and_longer_steps_do_not_count():
    costs = np.linspace(1.0, 1.1, PAIRS)
    assert not switched(costs, costs / 1.05)
    assert switched(costs, costs / 1.5)
    assert not switched(costs, costs / 1.5, (1.0, 1.6))


def test_a_choice_that_is_not_finite_is_left():
    costs = np.ones(PAIRS)
    assert switched(np.where(np.arange(PAIRS) == 2, np.nan, costs), 10 * costs)
    assert not switched(costs, np.full(PAIRS, np.inf))
