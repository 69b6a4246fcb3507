"""`ppl.tune` picks by measured variance × time, says so, and leaves pins alone."""

import numpy as np
import pytest

import ppl
import ppl.estimators
from ppl import Bernoulli, Normal
from ppl.choosing import contender
from ppl.choosing.racing import pick_winner
from ppl.errors import EstimatorError, OptionError, ParameterError
from ppl.estimators import (
    ARM,
    Analytic,
    BonnetPrice,
    Enumerate,
    Implicit,
    MeasureValued,
    Pathwise,
    Rebar,
    Relaxed,
    ScoreFunction,
)
from tests.inference.clocks import same_time
from tests.program.programs import data, mixed, mixed_program, toy, units_program

BOTH = (Pathwise(), ScoreFunction())


def normal_mean(cost):
    @ppl.model
    def model():
        ppl.cost("c", cost(ppl.sample("x", Normal(ppl.param("mu", 1.0), 1.0))))

    return model


COSTS = {
    "square": (lambda x: (x - 0.5) ** 2, Pathwise),
    "far square": (lambda x: (x - 3) ** 2, Pathwise),
    "exp(-10 x²)": (lambda x: np.exp(-10 * x**2), ScoreFunction),
    "cos(5 x)": (lambda x: np.cos(5 * x), ScoreFunction),
}

SLOPES = {
    "square": lambda x: 2 * (x - 0.5),
    "far square": lambda x: 2 * (x - 3),
    "exp(-10 x²)": lambda x: -20 * x * np.exp(-10 * x**2),
    "cos(5 x)": lambda x: -5 * np.sin(5 * x),
}


def exact_variances(case):
    """Variance of one estimate of the derivative in the mean of N(1, 1), by quadrature."""
    cost, slope = COSTS[case][0], SLOPES[case]
    s, weights = np.polynomial.legendre.leggauss(2000)
    s, weights = 12 * s, 12 * weights
    normal = weights * np.exp(-(s**2) / 2) / np.sqrt(2 * np.pi)
    rayleigh = weights * np.maximum(s, 0) * np.exp(-(s**2) / 2)

    def variance(values, density):
        return np.sum(density * values**2) - np.sum(density * values) ** 2

    path, score = variance(slope(1 + s), normal), variance(cost(1 + s) * s, normal)
    pair = variance((cost(1 + s) - cost(1 - s)) / np.sqrt(2 * np.pi), rayleigh)
    return {Pathwise(): path, Implicit(): path, BonnetPrice(): path, ScoreFunction(): score, MeasureValued(): pair}


@pytest.mark.parametrize("case", COSTS)
def test_picks_the_better_of_pathwise_and_score_function(case):
    cost, better = COSTS[case]
    program = ppl.compile(normal_mean(cost))
    tuned = ppl.tune(program, program.init(0), budget_seconds=1.0, candidates=BOTH, clock="interpreter")
    assert isinstance(tuned.explain()["x"].estimator, better)
    assert isinstance(program.explain()["x"].estimator, Pathwise)  # the rule of thumb; `tune` makes a new program


@pytest.mark.parametrize("case", COSTS)
def test_the_full_list_at_equal_times_is_measured_right_and_gives_the_least_variance(case, monkeypatch):
    """Pairs on shared noise beat both classics; a quadratic cost has an exact expectation, which beats everything."""
    same_time(monkeypatch)
    program = ppl.compile(normal_mean(COSTS[case][0]))
    plan = ppl.tune(program, program.init(0), particles=1, candidates=(*exact_variances(case), Analytic())).explain()
    rows = {m.estimator: m for m in plan.measured["x"] if not m.rejected}
    for estimator, exact in exact_variances(case).items():
        assert abs(rows[estimator].variance - exact) <= 5 * rows[estimator].variance_error, estimator.label
    assert rows[plan["x"].estimator].variance_error <= 0.1 * exact_variances(case).get(plan["x"].estimator, 0)
    assert plan["x"].estimator == (Analytic() if "square" in case else MeasureValued())


def test_explain_shows_the_measurements_and_as_dict_pastes():
    program = ppl.compile(normal_mean(COSTS["cos(5 x)"][0]))
    tuned = ppl.tune(
        program, program.init(0), budget_seconds=0.5, clock="interpreter", candidates=(*BOTH, Relaxed()), particles=1
    )
    plan = tuned.explain()
    text = str(plan)
    assert "measured: least variance × time of 2" in text and "±" in text and "→" in text
    assert "Relaxed()" in dict(plan["x"].rejected)
    for row in (m for m in plan.measured["x"] if not m.rejected):
        line = next(s for s in text.splitlines() if row.estimator.label in s.split() and "±" in s)
        assert f"{row.variance:.4g} ± {row.variance_error:.1g}" in line
        assert ("→" in line) == (plan["x"].estimator == row.estimator)
    again = ppl.compile(normal_mean(COSTS["cos(5 x)"][0]), plan.as_dict())
    assert again.explain()["x"].estimator == plan["x"].estimator == ScoreFunction()
    loss, _ = tuned.value_and_grad(tuned.init(0))
    assert np.isfinite(loss)


def test_the_repr_of_as_dict_is_code():
    choice = {
        "b": Rebar(temperature=ppl.hyper("tau", 0.3), eta=0.5),
        "z": ScoreFunction("learned", width=3, rate=0.02),
        "shift": Pathwise(),
    }
    x = data()
    plan = ppl.compile(mixed, choice, data=x).prepare(x).plan
    pasted = eval(repr(plan.as_dict()), dict(vars(ppl.estimators)))
    assert pasted == plan.as_dict() == choice
    assert ppl.compile(mixed, pasted, data=x).prepare(x).plan.choices == plan.choices


@pytest.mark.parametrize("clock", ["compiled", "interpreter"])
def test_both_clocks(clock):
    program = ppl.compile(toy, Rebar(), dtype="float64")
    candidates = (Rebar(), Enumerate())
    tuned = ppl.tune(program, program.init(0), budget_seconds=0.3, candidates=candidates, particles=1, clock=clock)
    plan = tuned.prepare().plan
    assert {j.clock for j in plan.tuning.joint} == {clock} and all(j.seconds > 0 for j in plan.tuning.joint)
    assert plan.tuning.compiling > 0 and plan.tuning.measuring > 0  # tracing counts as compiling
    assert plan["b"].estimator == Enumerate() and plan.measured["b"][1].variance == 0


@pytest.mark.parametrize("rows", [6, 400])
def test_several_nodes_on_data(rows, monkeypatch):
    if rows > 100:
        monkeypatch.setattr(contender, "PILOT_ENTRIES", 1)  # variances on the first rows only
    x = data(rows)
    program = ppl.compile(mixed, mixed_program().settings.estimators, particles=2, dtype="float64", data=x)
    candidates = {"b": (Enumerate(), ScoreFunction()), "shift": (ScoreFunction(),), "z": (ScoreFunction(),)}
    tuned = ppl.tune(program, program.init(0, x), x, budget_seconds=0.6, candidates=candidates, clock="interpreter")
    plan = tuned.prepare(x).plan
    assert plan["z"].estimator == plan["shift"].estimator == Pathwise()
    assert list(plan.measured) == ["b", "shift", "z"] and len(plan.measured["b"]) == 3


def test_pins_in_the_model_stay():
    @ppl.model
    def model():
        a = ppl.sample("a", Bernoulli(logits=ppl.param("a0", 0.1)), estimator=Rebar())
        b = ppl.sample("b", Bernoulli(logits=ppl.param("b0", 0.1)))
        ppl.cost("c", (a + b - 0.3) ** 2)

    program = ppl.compile(model, max_copies=8)
    candidates = (ScoreFunction(), Enumerate())
    tuned = ppl.tune(program, program.init(0), budget_seconds=0.4, candidates=candidates, clock="interpreter")
    plan = tuned.prepare().plan
    assert plan["a"].estimator == Rebar() and "a" not in plan.measured
    assert plan["b"].estimator == Enumerate()


def test_biased_candidates_are_left_out():
    program = ppl.compile(toy, Relaxed())
    tuned = ppl.tune(program, program.init(0), budget_seconds=0.4, clock="interpreter")
    plan = tuned.prepare().plan
    assert not plan["b"].biased and plan["b"].estimator in (Enumerate(), Analytic())
    assert ("Relaxed()", "biased") in plan["b"].rejected


class Row:
    """A contender of given cost, seconds and standard error of the cost."""

    def __init__(self, cost, seconds=1.0, error=0.001):
        self.doubted, self.seconds = cost + error, seconds


def test_ties_go_to_the_first():
    a, b, c = Row(1.02), Row(1.0), Row(1.1)
    assert pick_winner([a, b, c]) is a and pick_winner([c, b]) is b and pick_winner([c, a, b]) is a
    a, b, c = Row(0.0, 2.0, 0.0), Row(0.0, error=0.0), Row(0.0, 1.02, 0.0)
    assert pick_winner([a, b, c]) is b and pick_winner([a, c, b]) is c


def test_what_few_gradients_say_does_not_count_for_a_choice():
    """A cost that may be low by luck loses to one that is known, and is not taken for equal to it either."""
    known, lucky = Row(1.0, error=0.01), Row(0.95, error=0.2)
    assert pick_winner([known, lucky]) is known and pick_winner([lucky, known]) is known


def test_budget_must_be_positive():
    program = ppl.compile(toy)
    with pytest.raises(OptionError, match="budget"):
        ppl.tune(program, program.init(0), budget_seconds=0)


def test_candidates_that_come_after_the_budget_are_named():
    @ppl.model
    def model():
        b = ppl.sample("b", ppl.Bernoulli(logits=np.zeros(6) + ppl.param("l", 0.3)))
        ppl.cost("cost", (b.sum() - 2.5) ** 2)

    program = ppl.compile(model)
    tuned = ppl.tune(program, program.init(0), budget_seconds=1e-9, seed=0)
    late = [m for m in tuned.explain().measured["b"] if m.rejected == "the budget was spent before it was tried"]
    tried = [m for m in tuned.explain().measured["b"] if not m.rejected]
    assert len(late) > 3 and len(tried) == 3


def test_candidates_by_node():
    program = units_program("score")
    state = program.init(0, data(4))

    def tried(candidates):
        plan = ppl.tune(
            program, state, data(4), candidates=candidates, clock="interpreter", budget_seconds=0.1
        ).explain()
        return {name: [m.estimator for m in rows] for name, rows in plan.measured.items()}

    (own,) = set(program.explain().as_dict().values())
    assert set(map(tuple, tried({"*": [ARM()]}).values())) == {(own, ARM())}
    with pytest.raises(EstimatorError, match=r"tune: candidates: 'typo' matches no random node; nodes: "):
        tried({"typo": [ARM()]})
    for empty in ([], {"*": []}):
        with pytest.raises(OptionError, match="candidates: a list of estimators is empty"):
            tried(empty)


def test_a_candidate_that_fails_at_this_state_is_left_out():
    """Of a unit with p = 0 that a parameter moves, pairs and scores see draws only."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(probs=ppl.param("p", np.array([0.0, 0.4]))))
        ppl.cost("c", (b.sum() - 0.5) ** 2 + 3.0 * b[0])

    program = ppl.compile(model, {"b": Enumerate()})
    state = program.init(0)
    given = {"clock": "interpreter", "budget_seconds": 0.2}
    plan = ppl.tune(program, state, candidates=[ARM(), Enumerate(), MeasureValued()], **given).explain()
    assert plan.as_dict()["b"] in (Enumerate(), MeasureValued())
    assert {m.estimator: "probs of Bernoulli is 0" in m.rejected for m in plan.measured["b"]} == {
        ARM(): True,
        Enumerate(): False,
        MeasureValued(): False,
    }
    with pytest.raises(ParameterError, match="probs of Bernoulli is 0"):
        ppl.tune(program, state, candidates=[ARM()], **given)
