"""The last rounds of `ppl.tune`: laws of the number of particles, and which choices are compiled."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.choosing import racing, tune
from ppl.choosing.contender import pool_variances, variance_law_terms, variance_ratio
from ppl.choosing.racing import (
    CLOSE_FACTOR,
    NEAR_FACTOR,
    CostEstimate,
    FinalRounds,
    best_of_each_estimator,
    corrected_choices,
    neighbouring_particles,
)
from ppl.compiler.plan.plan import Configuration
from ppl.errors import NonFiniteError
from ppl.estimators import Analytic, Combine, DisARM, Enumerate, MeasureValued, Pathwise, Rebar, Relaxed, ScoreFunction
from tests.inference.clocks import timed_by

LEAVE, AVERAGE = ScoreFunction("leave_one_out"), ScoreFunction("moving_average")


def config(estimator, particles):
    return Configuration((("b", estimator),), particles)


def leave_one_out_variance(p, costs, particles):
    """The variance of the estimate with one coin's logit, by enumeration."""
    mean = square = 0.0
    for bits in itertools.product((0, 1), repeat=particles):
        b = np.array(bits)
        f, weight = np.where(b, costs[1], costs[0]), np.prod(np.where(b, p, 1 - p))
        found = ((f - (f.sum() - f) / (particles - 1)) * (b - p)).mean()
        mean, square = mean + weight * found, square + weight * found**2
    return square - mean**2


def drawn(estimator, particles, variance, error, repeats):
    return SimpleNamespace(
        config=config(estimator, particles), alone=(variance, error), repeats=repeats, pooled=None, squared_bias=0.0
    )


def test_the_law_of_leave_one_out_holds_for_every_number_of_particles():
    """Two exact variances give the others."""
    numbers = (2, 3, 5, 8)
    exact = [leave_one_out_variance(0.3, (1.0, 2.5), k) for k in numbers]
    terms = np.array([variance_law_terms(config(LEAVE, k)) for k in numbers])
    unknown = np.linalg.solve(terms[:2], exact[:2])
    np.testing.assert_allclose(terms @ unknown, exact, rtol=1e-12)


def test_what_obeys_no_law_has_none():
    free = (ScoreFunction("optimal"), Combine(Pathwise(), LEAVE), Relaxed())
    assert all(variance_law_terms(config(e, 4)) == () for e in free)
    assert variance_law_terms(config(Combine(Pathwise(), AVERAGE), 4)) == (0.25,)
    assert variance_ratio(config(AVERAGE, 4), 16) == 1 / 4 and variance_ratio(config(LEAVE, 4), 16) == 3 / 15


def test_variances_of_one_estimator_are_put_together():
    """A number of particles with few gradients gets what those with many say; errors are those of the fit."""
    numbers = (2, 4, 8, 16)
    exact = [leave_one_out_variance(0.3, (1.0, 2.5), k) for k in numbers]
    off = [v * (1.4 if k == 8 else 1.0) for k, v in zip(numbers, exact, strict=True)]
    group = [
        drawn(LEAVE, k, v, 0.3 * v if k == 8 else 0.001 * v, 4 if k == 8 else 4000)
        for k, v in zip(numbers, off, strict=True)
    ]
    lonely = drawn(DisARM(), 4, 1.0, 0.1, 100)
    pool_variances([*group, lonely])
    for c, v in zip(group, exact, strict=True):
        assert c.pooled[0] == pytest.approx(v, rel=0.01) and c.pooled[1] < 0.01 * v
    assert lonely.pooled is None
    pair = [drawn(DisARM(), 1, 1.2, 0.3, 100), drawn(DisARM(), 4, 0.25, 0.02, 900)]
    pool_variances(pair)
    together = (100 * 1.2 + 900 * 4 * 0.25) / 1000
    assert [c.pooled[0] for c in pair] == pytest.approx([together, together / 4])
    assert [c.pooled[1] for c in pair] == pytest.approx([x * np.hypot(0.1 * 0.3, 0.9 * 4 * 0.02) for x in (1, 0.25)])


def test_the_first_ones_to_be_compiled_are_one_of_each_of_the_best_estimators():
    listed = [
        CostEstimate(1.0, 1.0, config(LEAVE, 16)),
        CostEstimate(1.1, 1.0, config(LEAVE, 8)),
        CostEstimate(0.95 * NEAR_FACTOR, 1.0, config(DisARM(), 4)),
        CostEstimate(0.96 * NEAR_FACTOR, 1.0, config(AVERAGE, 4)),
        CostEstimate(0.97 * NEAR_FACTOR, 1.0, config(MeasureValued(), 4)),
        CostEstimate(1.05 * NEAR_FACTOR, 1.0, config(ScoreFunction(), 4)),
    ]
    assert best_of_each_estimator(listed) == [e.config for e in (listed[0], *listed[2:5])]
    assert best_of_each_estimator([listed[0], *listed[-1:]]) == [listed[0].config, listed[-1].config]


def test_among_exact_ones_those_of_near_the_least_time_are_compiled():
    exact = [
        CostEstimate(0.0, 1.0, config(Analytic(), 1)),
        CostEstimate(0.0, 1.1 * NEAR_FACTOR, config(Enumerate(), 1)),
    ]
    assert best_of_each_estimator([*exact, CostEstimate(1e-9, 1.0, config(LEAVE, 2))]) == [config(Analytic(), 1)]


def test_times_of_the_first_ones_correct_the_prices_of_the_others():
    """Leave-one-out takes twice its price: so the other pair is near the best, and other particles of it are not."""
    listed = [
        CostEstimate(1.0, 1.0, config(LEAVE, 16)),
        CostEstimate(2.2, 0.5, config(LEAVE, 8)),
        CostEstimate(1.2, 1.0, config(DisARM(), 16)),
        CostEstimate(2.4, 0.5 * 0.99 * CLOSE_FACTOR, config(DisARM(), 8)),
        CostEstimate(4.8, 0.25 * 1.01 * CLOSE_FACTOR, config(DisARM(), 4)),
    ]
    heads = [
        SimpleNamespace(config=config(e, 16), trace=v, squared_bias=0.0, seconds=s)
        for e, v, s in ((LEAVE, 1.0, 2.0), (DisARM(), 1.2, 1.0))
    ]
    assert corrected_choices(listed, heads) == [config(DisARM(), 8)]


def test_gradients_that_are_alike_by_chance_are_not_exact():
    """No variance was seen at the start, but compiled steps show some: particles follow from that."""
    listed = [CostEstimate(0.0, s, config(LEAVE, k)) for k, s in ((2, 1.0), (8, 1.2), (16, 9.0))]
    (first,) = best_of_each_estimator(listed)
    head = SimpleNamespace(config=first, trace=1.0, squared_bias=0.0, seconds=1.0)
    assert corrected_choices(listed, [head]) == [config(LEAVE, 8)]


def test_auxiliary_variables_of_the_programs_own_choice_settle(monkeypatch):
    """It is compiled without having been tried with its number of particles before: its baseline is no longer 0."""
    made = []

    class Given(timed_by(lambda c: float(c.particles))):
        def compile(self, contenders, budget):
            made.extend((c.config, c.adapts) for c in contenders)
            super().compile(contenders, budget)

    @ppl.model
    def model():
        ppl.cost("c", 7.0 + ppl.sample("b", ppl.Bernoulli(logits=ppl.param("l", 0.3))))

    monkeypatch.setattr(tune, "Clock", Given)
    monkeypatch.setattr(racing, "MOST_GRADIENTS", 500)
    program = ppl.compile(model, AVERAGE)
    ppl.tune(program, program.init(0), candidates=(AVERAGE, LEAVE), particles=(1, 2, 4), seed=0)
    assert (config(AVERAGE, 1), True) in made and (config(LEAVE, 4), False) in made


def test_more_particles_are_measured_where_a_baseline_is_made_of_them():
    """Of those whose baselines read the others, the one that may be the best. What is found counts for 8 and 4."""
    variances = {LEAVE: 2.0, DisARM(): 2.0, ScoreFunction("optimal"): 30.0}

    def known(estimator, particles, trace):
        return SimpleNamespace(config=config(estimator, particles), trace=trace, squared_bias=0.0, seconds=1.0)

    clock = SimpleNamespace(price=lambda c: None)
    finals = FinalRounds(clock, 1.0, lambda c: known(c["b"], c.particles, 0.0), lambda c: (2, 4, 8), None, None)
    begun = [known(e, 2, v) for e, v in variances.items()]
    (asked,) = finals.doubtful(begun)
    assert asked.config == config(LEAVE, 8)
    found = {e.config: e.error for e in finals.expected([*begun, known(LEAVE, 8, 0.1)])}
    assert [found[config(LEAVE, k)] for k in (2, 4, 8)] == [2.0, pytest.approx(0.1 * 7 / 3), 0.1]
    assert [found[config(DisARM(), k)] for k in (2, 4, 8)] == [2.0, 1.0, 0.5]


def test_the_budget_ends_what_is_tried_by_what_draws_take_and_not_by_prices(monkeypatch):
    """Steps are priced at nanoseconds, but two interpreted ones take the budget: three candidates are tried."""

    class Given(timed_by(lambda c: 1e-9)):
        def interpret(self, contender, budget, times=True):
            super().interpret(contender, budget, times)
            contender.pace = 2.5

    @ppl.model
    def model():
        b = ppl.sample("b", ppl.Bernoulli(logits=np.zeros(4) + ppl.param("l", 0.3)))
        ppl.cost("c", (b.sum() - 1.7) ** 2)

    monkeypatch.setattr(tune, "Clock", Given)
    monkeypatch.setattr(racing, "MOST_GRADIENTS", 500)
    program = ppl.compile(model, ScoreFunction())
    listed = (ScoreFunction(), AVERAGE, DisARM(), MeasureValued(), Rebar())
    found = ppl.tune(program, program.init(0), candidates=listed, particles=1, budget_seconds=5, seed=0)
    assert [m.estimator for m in found.explain().measured["b"] if not m.rejected] == list(listed[:3])


def test_prices_and_not_interpreted_steps_say_what_is_compiled(monkeypatch):
    """The choice of the least variance × seconds is 40 times as slow as interpreted, relative to the others."""
    compiled = {LEAVE: 1.0, DisARM(): 4.0, ScoreFunction(): 4.0}

    class Given(timed_by(lambda c: compiled[c["b"]] * (1 + c.particles))):
        def interpret(self, contender, budget, times=True):
            super().interpret(contender, budget, times)
            contender.seconds *= 40 if contender.config["b"] == LEAVE else 1

    @ppl.model
    def model():
        b = ppl.sample("b", ppl.Bernoulli(logits=np.zeros(8) + ppl.param("l", 0.3)))
        ppl.cost("c", (b * np.arange(8.0)).sum())

    monkeypatch.setattr(tune, "Clock", Given)
    monkeypatch.setattr(racing, "MOST_GRADIENTS", 500)
    program = ppl.compile(model, ScoreFunction())
    plan = ppl.tune(program, program.init(0), candidates=tuple(compiled), particles=(1, 2, 4, 8), seed=0).explain()
    assert plan["b"].estimator == LEAVE and plan.particles == 8


def test_an_exact_choice_takes_the_least_number_of_particles(monkeypatch):
    """Nodes are measured with four particles, since a candidate takes no fewer than two; an exact one takes one."""
    monkeypatch.setattr(tune, "Clock", timed_by(lambda c: 0.5 if c["b"] == Analytic() else 1.0))

    @ppl.model
    def model():
        ppl.cost("c", (ppl.sample("b", ppl.Bernoulli(logits=ppl.param("l", 0.3))) - 0.499) ** 2)

    program = ppl.compile(model)
    plan = ppl.tune(program, program.init(0), candidates=(LEAVE, Enumerate(), Analytic()), seed=0).explain()
    assert plan["b"].estimator == Analytic() and plan.particles == 1


def test_a_cost_that_is_not_finite_is_named():
    @ppl.model
    def model():
        ppl.cost("bad", np.log(ppl.sample("z", Normal(ppl.param("loc", -9.0), 1.0))))

    program = ppl.compile(model)
    with pytest.raises(NonFiniteError, match=r"not finite\. First: cost 'bad' is nan, first in a `log`$"):
        ppl.tune(program, program.init(0))


def test_particles_beside_those_of_the_best_are_measured():
    """Of each estimator that is near the best the next counts, unless they are measured; of the others none."""

    def known(estimator, particles, cost):
        return SimpleNamespace(config=config(estimator, particles), cost=cost, seconds=1.0)

    counts = (1, 2, 4, 8, 16)
    begun = [
        known(LEAVE, 16, 1.0),
        known(DisARM(), 4, 0.99 * CLOSE_FACTOR),
        known(DisARM(), 2, 2.0),
        known(AVERAGE, 4, 1.4),
    ]
    assert neighbouring_particles(begun, lambda c: counts) == [config(LEAVE, 8), config(DisARM(), 8)]
    assert neighbouring_particles(begun, lambda c: ()) == []
