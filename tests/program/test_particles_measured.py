"""The variances that `particles="auto"` measures, against sums over all outcomes, and choices that hang on them."""

import itertools
from contextlib import nullcontext

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.choosing.auto_particles import Trial
from ppl.choosing.candidates import uniform_plans
from ppl.choosing.interpreted_variance import InterpretedVariances, VarianceCurve
from ppl.estimators import Analytic, DisARM, DoublyReparameterized, Enumerate, Pathwise, ScoreFunction, Vimco

LOGIT, COST = 0.4, (1.0, 3.5)


@ppl.model
def coin():
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", LOGIT)))
    ppl.cost("loss", COST[0] + (COST[1] - COST[0]) * b)


def _leave_one_out(particles):
    """The variance on one coin, by all outcomes of the particles."""
    p = 1 / (1 + np.exp(-LOGIT))
    draws = np.array(list(itertools.product([0.0, 1.0], repeat=particles)))
    weight = np.prod(np.where(draws == 1, p, 1 - p), axis=1)
    cost = COST[0] + (COST[1] - COST[0]) * draws
    others = (cost.sum(1, keepdims=True) - cost) / (particles - 1)
    found = ((cost - others) * (draws - p)).mean(1)
    return weight @ found**2 - (weight @ found) ** 2


def test_variances_by_particles_are_those_of_all_outcomes():
    program = ppl.compile(coin, ScoreFunction("leave_one_out"), particles=2)
    curve = InterpretedVariances(program, (), None).curve(program, 20_000)
    for k in (2, 4, 8, 12):
        assert curve.at(k) == pytest.approx(_leave_one_out(k), rel=0.04), k  # four standard errors at a kurtosis of 3


def test_a_moving_average_is_measured_at_its_mean():
    program = ppl.compile(coin, ScoreFunction("moving_average"))
    p = 1 / (1 + np.exp(-LOGIT))
    mean = COST[0] + (COST[1] - COST[0]) * p
    exact = p * ((COST[1] - mean) * (1 - p)) ** 2 + (1 - p) * ((COST[0] - mean) * p) ** 2
    exact -= (p * (1 - p) * (COST[1] - COST[0])) ** 2
    variances = InterpretedVariances(program, (), None)
    settled = variances._settled(program).aux["b/baseline"]
    assert float(settled) == pytest.approx(mean, abs=4 * np.sqrt(p * (1 - p) / 64) * (COST[1] - COST[0]))
    found = variances._draw(program, 1, 20_000)
    off = ((settled - mean) ** 2 + 2 * abs(settled - mean) * 2.5) * p * (1 - p)  # the mean of 64 is off a little
    assert found.trace == pytest.approx(exact, abs=4 * found.error + float(off))


def _fair(cost):
    @ppl.model
    def model():
        ppl.cost("loss", cost(ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros(8))))))

    return model


def test_pairs_where_turning_all_units_leaves_the_cost():
    """An even cost of fair coins: both samples of a pair have the same, and the gradient is exactly 0."""
    program = ppl.compile(_fair(lambda b: 5.0 + np.cos(4.0 * (b.mean() - 0.5))), particles="auto")
    assert program.explain().as_dict() == {"b": DisARM()}
    assert "interpreted gradients" in str(program.explain())


def test_sure_units_are_not_counted():
    logits = np.concatenate([[0.2, -0.3], np.full(14, 12.0)])
    weights = np.random.default_rng(0).normal(size=(16, 8))

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", logits)))
        ppl.cost("loss", np.tanh(b @ weights).sum())

    found = ppl.compile(model, particles="auto").explain().as_dict()["b"]
    assert type(found) is Enumerate
    assert found.units == 2


def test_nodes_are_exact_together():
    """Weights and group means: within max_copies=4 either can be exact, with the copies of 16 particles both."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 8))
    y = x @ np.linspace(-1.0, 1.0, 8) + rng.normal(size=60)

    @ppl.model
    def model(x, y):
        w = ppl.sample("w", Normal(np.zeros(8), 1.0))
        with ppl.plate("groups", x, y) as (x, y):
            a = ppl.sample("a", Normal(x @ w, 1.0))
            ppl.sample("y", Normal(a, 0.5), obs=y)

    @ppl.model
    def guide(x, y):
        ppl.sample("w", Normal(ppl.param("loc", np.zeros(8)), np.exp(ppl.param("log_scale", np.full(8, -2.0)))))
        with ppl.plate("groups", x, y) as (x, y):
            ppl.sample("a", Normal(ppl.param("slope", 0.1) * y, np.exp(ppl.param("spread", 0.0))))

    def variance(estimators):
        program = ppl.compile(ppl.elbo(model, guide), estimators, data=(x, y))
        found = program.diagnose(program.init(0), x, y, repeats=1000, seed=1, timing=False)
        return sum(found[n].variance.sum() for n in ("loc", "log_scale", "slope", "spread"))

    chosen = ppl.compile(ppl.elbo(model, guide), particles="auto", data=(x, y))
    assert chosen.explain().as_options() == {"estimators": {"w": Analytic(), "a": Analytic()}, "particles": 1}
    assert variance(chosen.explain().as_dict()) < 1e-9 * variance({"w": Analytic(), "a": Pathwise()})


def test_scores_are_tried_beside_paths():
    """For the coins alone, as well as for all nodes: a path stays where the table has one."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros(3))))
        z = ppl.sample("z", Normal(b.sum() + ppl.param("m", np.zeros(2)), 1.0))
        ppl.cost("loss", (z**2).sum() + 3.0 * b[0])

    compiled = ppl.compile(model).prepare()
    assert compiled.plan["z"].estimator == Pathwise() and not compiled.plan["b"].estimator.follows_path
    tried = uniform_plans(compiled.graph, compiled.plan, True)
    others = ScoreFunction("leave_one_out")
    assert {"b": others} in tried and {"b": others, "z": others} in tried


def test_what_was_weighed_is_compiled(monkeypatch):
    """The decision table would take another baseline for the number of particles that is chosen."""
    average = ScoreFunction("moving_average")

    def product(trial):
        return float(trial.weighed.plan["b"].estimator != average or trial.particles != 8)

    monkeypatch.setattr(Trial, "product", property(product))
    plan = ppl.compile(_fair(lambda b: np.exp(b.sum())), particles="auto").explain()
    assert plan.as_options() == {"estimators": {"b": average}, "particles": 8}


@pytest.mark.parametrize(
    ("latent", "chosen"),
    [(Bernoulli(logits=np.zeros(6)), Vimco()), (Normal(np.zeros(6), 1.0), DoublyReparameterized())],
)
def test_estimators_of_a_bound_of_several_samples_are_tried(latent, chosen):
    @ppl.model
    def model():
        h = ppl.sample("h", latent)
        ppl.sample("x", Normal(h.sum(), 0.5), obs=2.0)

    @ppl.model
    def guide():
        at = ppl.param("at", np.zeros(6))
        ppl.sample("h", Bernoulli(logits=at) if latent.discrete else Normal(at, 0.8))

    assert ppl.compile(ppl.iwae(model, guide, particles=5), particles="auto").explain()["h"].estimator == chosen


def test_the_choice_is_the_same_again():
    first, second = (ppl.compile(coin, particles="auto") for _ in range(2))
    assert str(first.explain()) == str(second.explain())


def test_without_numbers_closed_forms_decide():
    @ppl.model
    def rows(x):
        with ppl.plate("rows", x) as x:
            b = ppl.sample("b", Bernoulli(logits=x * ppl.param("w", np.zeros(4))))
            ppl.cost("loss", (b.sum() - 2.0) ** 2)

    told = str(ppl.compile(rows, particles="auto", data=ppl.spec((None, 4))).explain())
    assert "variances in closed form" in told
    x = np.random.default_rng(0).normal(size=(40, 4))
    assert "interpreted gradients" in str(ppl.compile(rows, particles="auto", data=x).explain())


@ppl.model
def flat():
    z = ppl.sample("z", Normal(ppl.param("m", 1.0), 1.0))
    ppl.cost("cost", 0.0 * z + ppl.param("q", 1.0) ** 2)


@ppl.model
def dead():
    z = ppl.sample("z", Normal(ppl.param("m", -20.0), 1.0))
    ppl.cost("cost", np.maximum(z, 0.0) ** 2)


@ppl.model
def far():
    z = ppl.sample("z", Normal(ppl.param("m", 1e20), 1.0))
    ppl.cost("cost", z**4)


@pytest.mark.parametrize(("model", "chosen"), [(flat, Analytic), (dead, Pathwise), (far, Pathwise)])
def test_gradients_without_noise_or_too_large_to_measure_leave_a_choice(model, chosen):
    plan = ppl.compile(model, particles="auto").explain()
    assert isinstance(plan["z"].estimator, chosen) and plan.particles == 1


@pytest.mark.parametrize(("two", "most"), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.005), (1.0, 0.125), (1.0, 0.05)])
def test_noisy_variances_extrapolate_to_no_negative_ones(two, most):
    curve = VarianceCurve(two, most, 0.0)
    found = [curve.at(k) for k in (2, 4, 8, 16)]
    assert min(found) > 0 and found == sorted(found, reverse=True) and curve.at(16) >= 0.999 * most


def test_a_terminal_is_told_that_plans_are_weighed(monkeypatch):
    said = []
    monkeypatch.setattr("ppl.choosing.auto_particles.line.during", lambda say: said.append(say()) or nullcontext())
    ppl.compile(dead, particles="auto").explain()
    assert "weighing estimators and particles, 0 plans" in said
