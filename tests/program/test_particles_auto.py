"""`particles="auto"`: which number is chosen, that it changes nothing but the number, and where it is refused."""

import pickle

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical
from ppl.choosing.cost_model import count_operations, step_nanoseconds
from ppl.compiler.lower.target import target_of
from ppl.errors import EstimatorError
from ppl.estimators import Analytic, DisARM, Enumerate, Pathwise, ScoreFunction

X = np.random.default_rng(0).normal(size=(60, 64))


@ppl.model
def units():
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.linspace(-1.0, 1.0, 7))))
    ppl.cost("loss", np.exp(-0.3 * b.sum()))


@ppl.model
def rows(x, *, before: int = 1, after: int = 1):
    """Layers of 64 units before the random units of a row, and behind them."""
    with ppl.plate("rows", x) as x:
        for i in range(before):
            x = ppl.dense(f"before{i}", x, 64, activation="tanh")
        h = ppl.sample("b", Bernoulli(logits=ppl.dense("b", x, 8)))
        for i in range(after):
            h = ppl.dense(f"after{i}", h, 64, activation="tanh")
        ppl.cost("loss", h.sum())


@ppl.model
def chain():
    x = ppl.carried("x", np.zeros(3))
    z = ppl.sample("z", Normal(x + ppl.param("w", 0.5), 1.0))
    ppl.cost("loss", (z**2).sum())
    ppl.carry("x", z)


def _closed(logits):
    p = 1 / (1 + np.exp(-logits))
    factors = 1 - p + p * np.exp(-0.3)
    return p * (1 - p) * (np.exp(-0.3) - 1) * factors.prod() / factors


def test_the_choice_named_gives_the_same_bits():
    auto = ppl.compile(units, particles="auto")
    named = ppl.compile(units, **auto.explain().as_options())
    assert auto.settings.particles > 1
    assert auto.explain().as_dict() == named.explain().as_dict()
    for seed in range(3):
        (a, grads, _), (b, others, _) = (p.step(p.init(seed), seed=seed) for p in (auto, named))
        assert a == b
        assert grads["logits"].tobytes() == others["logits"].tobytes()


def test_gradients_stay_unbiased():
    program = ppl.compile(units, particles="auto")
    found = program.diagnose(program.init(0), repeats=4000, seed=1, timing=False)["logits"]
    exact = _closed(np.linspace(-1.0, 1.0, 7))
    assert (found.standard_error < 0.05 * np.abs(exact)).all()
    assert np.abs((found.mean - exact) / found.standard_error).max() < 4.5


def test_the_reason_is_told():
    program = ppl.compile(units, particles="auto")
    number = program.settings.particles
    told = str(program.explain())
    assert f"\n{number} particles: " in told
    assert "variance × time" in told
    assert "particles:" not in str(ppl.compile(units, particles=number).explain())
    assert "the least expected variance × time" in auto_reason(program)


def auto_reason(program):
    return program.explain()["b"].reason


def test_a_pickle_keeps_number_and_reason():
    program = ppl.compile(units, particles="auto")
    again = pickle.loads(pickle.dumps(program))
    assert again.settings.particles == program.settings.particles
    assert str(again.explain()) == str(program.explain())


def test_a_large_trunk_asks_for_more():
    pair = {"b": DisARM()}
    first = ppl.compile(rows.bind(before=6, after=1), pair, particles="auto", data=X).settings.particles
    last = ppl.compile(rows.bind(before=1, after=6), pair, particles="auto", data=X).settings.particles
    assert first > last >= 1


def test_one_particle_may_have_as_many_copies_as_sixteen():
    """Five states cost less than 16 particles, and leave no noise; by the table they exceed max_copies=4."""

    @ppl.model
    def five(x):
        with ppl.plate("rows", x) as x:
            k = ppl.sample("k", OneHotCategorical(logits=ppl.param("w", np.zeros(5)) * x))
            ppl.cost("loss", (k @ np.arange(5.0) - x) ** 4)

    x = np.linspace(-1.0, 2.0, 33)
    program = ppl.compile(five, particles="auto", data=x)
    assert program.explain().as_options() == {"estimators": {"k": Enumerate()}, "particles": 1}
    many = ppl.compile(five, particles="auto", max_copies=1, data=x).explain()
    assert many.copies == 5
    named = ppl.compile(five, **program.explain().as_options(), data=x)
    state = program.init(0, x)
    assert named.value_and_grad(state, x)[0] == program.value_and_grad(state, x)[0]


def test_exact_programs_take_one():
    @ppl.model
    def exact():
        ppl.cost("loss", 1.0 * ppl.sample("k", Categorical(logits=ppl.param("w", np.zeros(3)))))

    program = ppl.compile(exact, particles="auto")
    assert program.settings.particles == 1
    assert "no estimate has noise" in str(program.explain())


def test_what_has_no_variance_comes_first():
    @ppl.model
    def quadratic():
        z = ppl.sample("z", Normal(ppl.param("loc", np.ones(3)), 1.0))
        ppl.cost("loss", ((z - 2.0) ** 2).sum())

    program = ppl.compile(quadratic, particles="auto")
    assert program.explain().as_dict() == {"z": Analytic()}
    _, grads, _ = program.step(program.init(0))
    np.testing.assert_allclose(grads["loc"], 2 * (1.0 - 2.0), rtol=1e-6)
    assert ppl.compile(quadratic).explain().as_dict() == {"z": Pathwise()}


def test_an_estimator_that_needs_two_gets_them():
    named = {"b": ScoreFunction("leave_one_out")}
    assert ppl.compile(units, named, particles="auto").settings.particles >= 2


@pytest.mark.parametrize(
    ("compiled", "words"),
    [
        (lambda: ppl.compile(rows, particles="auto"), "needs data="),
        (lambda: ppl.compile(chain, particles="auto"), "cannot vary here.*'z'"),
        (lambda: ppl.compile(units, particles="many"), 'whole number of at least 1, or "auto"'),
        (lambda: ppl.compile(units, particles="auto", target="cuda"), "not of a GPU"),
    ],
)
def test_refusals(compiled, words):
    with pytest.raises(EstimatorError, match=words):
        compiled()


def test_prices_count_the_products_of_a_schedule():
    program = ppl.compile(rows, particles=2, data=X)
    counts = count_operations(program.prepare(X).request("gradient"), "float32", target_of("cpu"))
    at = {"n_rows": 60, "n_particles": 5}
    # DisARM: trunk and pair below the units; gradients of weights and of inputs, but for x and for the sample.
    above = 2 * 60 * 64 * (64 + 8) * 2 + 2 * 60 * 64 * 8
    below = 2 * 60 * 5 * 8 * 64
    assert above < counts["products"].evaluate(at) <= above + 4 * below
    once, twice = (counts["products"].evaluate({"n_rows": 60, "n_particles": k}) for k in (1, 2))
    assert twice < 2 * once
    assert step_nanoseconds(counts, {**at, "n_particles": 6}) > step_nanoseconds(counts, at)
