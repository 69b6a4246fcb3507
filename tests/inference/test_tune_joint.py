"""`ppl.tune` finds what exact variances and given times say is best: variances by enumeration, in plain NumPy."""

import itertools

import numpy as np
import pytest

import ppl
import ppl.estimators
from ppl import Bernoulli
from ppl.choosing import tune
from ppl.errors import EstimatorError, OptionError
from ppl.estimators import DisARM, Enumerate, MeasureValued, Relaxed, ScoreFunction, StraightThrough
from tests.inference.clocks import timed_by

SCORE, LEAVE, PAIR, MEASURE = ScoreFunction(), ScoreFunction("leave_one_out"), DisARM(), MeasureValued()

P = np.array([0.6, 0.3])


def outcomes(p):
    """(bits, probability) of independent bits."""
    for b in itertools.product((0, 1), repeat=len(p)):
        yield np.array(b), np.prod(np.where(b, p, 1 - p))


def variance(samples):
    """Trace of the variance of (estimate, probability)."""
    g, w = (np.array(x, float) for x in zip(*samples, strict=True))
    mean = w @ g
    return float(w @ ((g - mean) ** 2).sum(1))


def score(f, p):
    return [(f(b) * (b - p), w) for b, w in outcomes(p)]


def leave_one_out(f, p, particles):
    found = []
    for draws in itertools.product(list(outcomes(p)), repeat=particles):
        bits, weights = zip(*draws, strict=True)
        cost = np.array([f(b) for b in bits])
        others = (cost.sum() - cost) / (particles - 1)
        estimate = sum((c - o) * (b - p) for c, o, b in zip(cost, others, bits, strict=True)) / particles
        found.append((estimate, np.prod(weights)))
    return found


def pairs(p):
    """(b, b', probability) of antithetic bits: b = [u > 1 - p], b' = [1 - u > 1 - p]."""
    same, differ = abs(2 * p - 1), np.minimum(p, 1 - p)
    each = [[(int(q > 0.5), int(q > 0.5), s), (1, 0, d), (0, 1, d)] for q, s, d in zip(p, same, differ, strict=True)]
    for joint in itertools.product(*each):
        yield *(np.array([j[k] for j in joint]) for k in (0, 1)), np.prod([j[2] for j in joint])


def disarm(f, p):
    """Dong, Mnih and Tucker 2020, equation 6."""
    size = np.maximum(p, 1 - p)
    return [((f(b) - f(c)) / 2 * (b - c) * size, w) for b, c, w in pairs(p)]


def measure_valued(f, p):
    found = []
    for b, w in outcomes(p):
        ends = [[np.where(np.arange(len(p)) == i, v, b) for v in (1, 0)] for i in range(len(p))]
        found.append((np.array([q * (1 - q) * (f(hi) - f(lo)) for q, (hi, lo) in zip(p, ends, strict=True)]), w))
    return found


def exact(f, p, estimator, particles):
    """Variance of the mean over particles."""
    if estimator == LEAVE:
        return variance(leave_one_out(f, p, particles))
    single = {SCORE: score, PAIR: disarm, MEASURE: measure_valued}[estimator]
    return variance(single(f, p)) / particles


COSTS = {"a high level": np.array([[5.0, 5.2], [4.9, 5.6]]), "one state": np.array([[0.0, 0.0], [0.0, 1.0]])}

SECONDS = {SCORE: (1.0, 0.5), LEAVE: (1.0, 0.4), PAIR: (1.0, 0.8), MEASURE: (4.0, 1.5)}


def seconds_of(config):
    """A step has a fixed part, and one for every particle."""
    ((_, estimator),) = config.estimators
    fixed, each = SECONDS[estimator]
    return fixed + each * config.particles


def table_model(table):
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.log(P / (1 - P)))))
        ppl.cost("c", table[0, 0] * (1 - b[0]) * (1 - b[1]) + table[0, 1] * (1 - b[0]) * b[1]
                 + table[1, 0] * b[0] * (1 - b[1]) + table[1, 1] * b[0] * b[1])  # fmt: skip

    return model


@pytest.mark.parametrize("case", COSTS)
def test_the_best_estimator_and_number_of_particles_are_found(case, monkeypatch):
    """Every variance is within 5 standard errors of the exact one, and the choice has the least exact cost."""
    monkeypatch.setattr(tune, "Clock", timed_by(seconds_of))
    program = ppl.compile(table_model(COSTS[case]), SCORE, dtype="float64")
    candidates, counts = (SCORE, LEAVE, PAIR, MEASURE), (1, 2, 4)
    plan = ppl.tune(program, program.init(0), candidates=candidates, particles=counts, seed=1).explain()

    def f(b):
        return COSTS[case][tuple(b)]

    costs = {
        (e, n): exact(f, P, e, n) * (SECONDS[e][0] + n * SECONDS[e][1])
        for e in candidates for n in counts if e.validate(n) is None
    }  # fmt: skip
    first, second = sorted(costs.values())[:2]
    assert second > 1.12 * first
    assert costs[plan["b"].estimator, plan.particles] == first
    for row in plan.measured["b"]:
        assert abs(row.variance - exact(f, P, row.estimator, row.particles)) <= 5 * row.variance_error
    for row in plan.tuning.joint:
        ((_, estimator),) = row.estimators
        assert abs(row.variance - exact(f, P, estimator, row.particles)) <= 5 * row.variance_error
    again = ppl.compile(
        table_model(COSTS[case]), dtype="float64", **eval(repr(plan.as_options()), vars(ppl.estimators))
    )
    assert again.explain()["b"].estimator == plan["b"].estimator and again.explain().particles == plan.particles


TOGETHER = {(SCORE, SCORE): 1.0, (SCORE, PAIR): 9.0, (PAIR, SCORE): 9.0, (PAIR, PAIR): 1.1}


def test_nodes_that_share_a_cost_are_tried_together(monkeypatch):
    """One by one every change is for the worse, since a step takes nine times as long; both changes are for the better.

    The exact variances: those of one node of two units under scores and under pairs, which evaluate f at one pair.
    """

    @ppl.model
    def model():
        logits = {n: ppl.param(f"logit {n}", np.log(p / (1 - p))) for n, p in zip("ab", P, strict=True)}
        a, b = (ppl.sample(n, Bernoulli(logits=logit)) for n, logit in logits.items())
        ppl.cost("c", 2 + 0.5 * a + b)

    def f(bits):
        return 2 + 0.5 * bits[0] + bits[1]

    monkeypatch.setattr(tune, "Clock", timed_by(lambda c: TOGETHER[tuple(e for _, e in c.estimators)]))
    program = ppl.compile(model, SCORE, dtype="float64")
    plan = ppl.tune(program, program.init(0), candidates=(SCORE, PAIR), particles=1).explain()
    assert [plan[n].estimator for n in "ab"] == [PAIR, PAIR]
    both = {row.estimators: row for row in plan.tuning.joint}[("a", PAIR), ("b", PAIR)]
    one = next(m for m in plan.measured["a"] if m.estimator == SCORE)
    assert abs(one.variance - exact(f, P, SCORE, 1)) <= 5 * one.variance_error
    assert abs(both.variance - variance(two_pairs())) <= 5 * both.variance_error


def two_pairs():
    """Both nodes under DisARM: each compares its own pair at the sample of the other, and the cost is a sum."""
    for b, c, w in pairs(P):
        slopes = np.array([0.5, 1.0]) * (b - c)
        yield slopes / 2 * (b - c) * np.maximum(P, 1 - P), w


def test_seeds_make_it_reproducible(monkeypatch):
    monkeypatch.setattr(tune, "Clock", timed_by(seconds_of))
    program = ppl.compile(table_model(COSTS["one state"]), SCORE)
    state = program.init(0)
    first, again, other = (
        ppl.tune(program, state, candidates=(SCORE, PAIR), particles=(1, 2), seed=s).explain() for s in (3, 3, 4)
    )
    assert first.measured == again.measured and first.tuning.joint == again.tuning.joint
    assert first.measured != other.measured


def test_equal_choices_leave_the_program_as_it_is(monkeypatch):
    """Score functions with baselines that differ by nothing: of equal costs, the program's own."""
    monkeypatch.setattr(tune, "Clock", timed_by(lambda config: float(config.particles)))
    program = ppl.compile(table_model(COSTS["one state"]), ScoreFunction(), particles=2)
    plan = ppl.tune(program, program.init(0), candidates=(ScoreFunction(rate=0.3), ScoreFunction())).explain()
    assert plan["b"].estimator == ScoreFunction() and plan.particles == 2


def straight_through(p, w):
    """(estimate, probability): the slope of (b - w)² at the sample, times that of the mean."""
    return [(np.array([2 * (b[0] - w) * p * (1 - p)]), q) for b, q in outcomes(np.array([p]))]


@pytest.mark.parametrize("slow, expected", [(1.5, SCORE), (0.05, StraightThrough())])
def test_biased_candidates_compete_by_their_mean_squared_error(slow, expected, monkeypatch):
    """Bias and variances are exact ones; times are such that either wins by more than a factor of 1.5."""
    p, w = 0.4, 0.45

    @ppl.model
    def model():
        ppl.cost("c", (ppl.sample("b", Bernoulli(logits=ppl.param("logit", np.log(p / (1 - p))))) - w) ** 2)

    times = {SCORE: 1.0, StraightThrough(): slow}
    monkeypatch.setattr(tune, "Clock", timed_by(lambda c: times[c["b"]]))
    program = ppl.compile(model, SCORE, dtype="float64")
    plan = ppl.tune(program, program.init(0), candidates=tuple(times), particles=1, allow_bias=True).explain()
    rows = {m.estimator: m for m in plan.measured["b"]}
    biased, right = rows[StraightThrough()], p * (1 - p) * ((1 - w) ** 2 - w**2)
    mean = sum(g * q for g, q in straight_through(p, w))[0]
    spread = variance(straight_through(p, w))
    assert abs(biased.variance - spread) <= 5 * biased.variance_error
    error = 2 * abs(mean - right) * np.sqrt(spread / biased.repeats) + spread / biased.repeats
    assert abs(biased.squared_bias - (mean - right) ** 2) <= 5 * error
    costs = {
        SCORE: variance(score(lambda b: (b[0] - w) ** 2, np.array([p]))),
        StraightThrough(): (spread + (mean - right) ** 2) * slow,
    }
    assert max(costs.values()) > 1.5 * min(costs.values()) and min(costs, key=costs.get) == expected
    assert plan["b"].estimator == expected


def test_without_leave_nothing_biased_is_taken(monkeypatch):
    """However fast it is; where there is nothing else, there is an error."""
    monkeypatch.setattr(tune, "Clock", timed_by(lambda c: 1e-6 if c.biased else 1.0))
    biased = (Relaxed(), Relaxed(hard=True), StraightThrough())
    for start in (SCORE, Relaxed()):
        program = ppl.compile(table_model(COSTS["one state"]), start)
        plan = ppl.tune(program, program.init(0), candidates=(*biased, SCORE, PAIR), particles=(1, 2)).explain()
        assert not plan["b"].biased
        assert [m.rejected for m in plan.measured["b"] if m.estimator.biased] == ["biased"] * 3
        assert all(not e.biased for j in plan.tuning.joint for _, e in j.estimators)
        with pytest.raises(EstimatorError, match="no candidate for node 'b'"):
            ppl.tune(program, program.init(0), candidates=biased)


def test_numbers_of_particles_are_checked():
    program = ppl.compile(table_model(COSTS["one state"]), Enumerate())
    for wrong in (0, (1, 0), (), "many"):
        with pytest.raises(OptionError, match="particles"):
            ppl.tune(program, program.init(0), particles=wrong)
    with pytest.raises(OptionError, match="clock"):
        ppl.tune(program, program.init(0), clock="sundial")


def test_biased_candidates_beside_a_node_that_keeps_a_baseline():
    """What they are compared with is computed from their own state."""

    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Normal(ppl.param("m", 0.3), 1.0))
        b = ppl.sample("b", Bernoulli(logits=ppl.param("l", np.array([0.1, -0.3]))))
        ppl.cost("c", np.where(z > 0.5, 1.0, 0.0) + 0.3 * (z + 0.4) ** 2)
        ppl.cost("d", (b[0] + 2 * b[1] - 1.3) ** 2)

    program = ppl.compile(model, allow_bias=True, estimators={"z": ScoreFunction("moving_average")})
    candidates = {"z": [MeasureValued()], "b": [Enumerate(), StraightThrough()]}
    found = ppl.tune(
        program, program.init(0), candidates=candidates, particles=1, clock="interpreter", budget_seconds=0.1
    )
    assert found.explain()["b"].estimator == Enumerate()
