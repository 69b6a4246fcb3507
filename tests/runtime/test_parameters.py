"""Parameters of distributions that are out of range in a call: an error names them, whatever the density would be."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Gamma, Mixture, Normal, Poisson, Uniform
from ppl.errors import DataError, FitError, NonFiniteError, ParameterError

N = 6
ROWS = np.arange(1.0, N + 1)


def costs(dist, obs=None):
    """A model of one node in a free parameter `t`, with a cost that is finite for any sample."""

    @ppl.model
    def model():
        z = ppl.sample("z", dist(ppl.param("t", 0.4)), **({} if obs is None else {"obs": obs}))
        if obs is None:
            ppl.cost("cost", np.tanh(np.sum(z)))

    return model if obs is None else ppl.likelihood(model)


SILENT = {
    "bernoulli": (costs(lambda t: Bernoulli(probs=t)), 1.3, "probs of Bernoulli must be between 0 and 1, not 1.3"),
    "observed bernoulli": (
        costs(lambda t: Bernoulli(probs=t), 1),
        1.3,
        "probs of Bernoulli must be between 0 and 1, not 1.3",
    ),
    "poisson": (costs(Poisson), -2.0, "rate of Poisson must be positive and finite, not -2"),
    "normal": (costs(lambda t: Normal(0.0, t)), -0.5, "scale of Normal must be positive and finite, not -0.5"),
    "gamma": (costs(lambda t: Gamma(2.0, t)), -0.5, "rate of Gamma must be positive and finite, not -0.5"),
    "uniform": (costs(lambda t: Uniform(0.0, t)), -0.5, "low of Uniform must be less than high, not 0.0"),
    "categorical": (
        costs(lambda t: Categorical(probs=np.stack([t, 1.0 - t]))),
        1.25,
        r"probs of Categorical must be non-negative.*, not -0.25 in entry 1",
    ),
    "whole": (
        costs(lambda t: ppl.Binomial(t + 1.6, 0.5), 2),
        0.7,
        "total_count of Binomial must be a whole number of at least 0, not 2.3",
    ),
    "part": (
        costs(lambda t: Mixture([0.5, 0.5], Normal([0.0, 1.0], t))),
        -1.0,
        "components.scale of Mixture must be positive and finite, not -1",
    ),
}


@pytest.mark.parametrize(("model", "bad", "message"), SILENT.values(), ids=SILENT)
def test_a_learned_parameter_out_of_range_is_named(model, bad, message):
    program = ppl.compile(model, dtype="float64")
    good = program.init(0, params={"t": 0.4})
    state = program.init(0, params={"t": bad})
    for call in (program.value, program.value_and_grad, program.step):
        with pytest.raises(
            ParameterError, match=f"node 'z': {message}.*parameter 't'\n  at test_parameters.py"
        ) as caught:
            call(state)
        assert caught.value.node == "z"
    assert np.isfinite(program.value(good))


def test_samples_are_not_drawn_from_a_law_that_does_not_exist():
    program = ppl.compile(SILENT["bernoulli"][0])
    with pytest.raises(ParameterError, match=r"probs of Bernoulli must be between 0 and 1, not 1\.2"):
        program.sample(program.init(0, params={"t": 1.2}))
    assert set(program.sample(program.init(0))) == {"z"}
    assert set(program.sample_buffer()[1]) == {"z"}


@ppl.model
def regression(x, y, known):
    w = ppl.param("w", np.array([1.0, 0.5]))
    with ppl.plate("data", x, y, known) as (x, y, known):
        ppl.sample("y", Poisson(np.sum(x * w)), obs=y, obs_mask=known)


@pytest.fixture(scope="module")
def counts():
    data = np.ones((N, 2)), np.arange(N), np.ones(N, bool)
    return ppl.compile(ppl.likelihood(regression), data=data), data


def test_a_rate_computed_from_data_names_the_row(counts):
    program, (x, y, known) = counts
    state, wrong = program.init(0), x.copy()
    loss = program.value(state, x, y, known)
    wrong[3] = -1.0
    message = (
        r"rate of Poisson must be positive and finite, not -1\.5 in row 13 of 'data'; it is computed from argument 'x'"
    )
    for options in ({}, {"per_row": True}):
        with pytest.raises(ParameterError, match=message):
            program.value(state, wrong, y, known, rows=np.arange(10, 10 + N), **options)
    known = np.arange(N) != 3
    assert np.isfinite(program.value(state, wrong, y, known)) and np.isfinite(loss)


def test_training_stops_at_a_parameter_that_leaves_its_range(counts):
    """A Poisson density of 0 is finite at a negative rate, so only the guard can see it."""
    program, (x, y, known) = counts
    state = program.init(0, params={"w": [0.02, 0.02]})
    message = "First: node 'y': rate of Poisson must be positive and finite, not -"
    with pytest.raises(FitError, match=message) as caught:
        ppl.fit(program, x, y * 0, known, steps=50, optimizer=ppl.optim.SGD(1e-2), state=state)
    assert caught.value.node == "y" and 0 < caught.value.step < 10


@ppl.model
def direct(rate, y):
    with ppl.plate("data", rate, y) as (rate, y):
        ppl.sample("y", Poisson(rate), obs=y)


def test_an_argument_that_is_a_parameter_is_checked_when_it_is_bound():
    program = ppl.compile(ppl.likelihood(direct), data=(ROWS, np.arange(N)))
    assert not program.prepare().trace.guards
    state, wrong = program.init(0), ROWS.copy()
    wrong[4] = -3.0
    with pytest.raises(
        DataError, match=r"argument 'rate' is -3.0 at \(4,\); rate of node 'y', a Poisson, must be positive"
    ):
        program.value(state, wrong, np.arange(N))
    wrong[4] = np.nan
    with pytest.raises(DataError, match=r"argument 'rate' is nan at \(4,\)"):
        program.value(state, wrong, np.arange(N))


@ppl.model
def rows_of_classes(p, y):
    with ppl.plate("data", p, y) as (p, y):
        ppl.sample("y", Categorical(probs=p), obs=y)


def test_rows_of_probabilities_that_do_not_sum_to_one_are_refused():
    p, y = np.full((N, 4), 0.25), np.zeros(N, int)
    program = ppl.compile(ppl.likelihood(rows_of_classes), data=(p, y))
    p[2] = 0.3
    with pytest.raises(DataError, match=r"argument 'p' is 0\.3.* at \(2, 0\); probs of node 'y'.*rows that sum to 1"):
        program.value(program.init(0), p, y)


@ppl.model
def safe(x):
    with ppl.plate("data", x) as x:
        s = ppl.param("s", 1.0, constraint="positive")
        z = ppl.sample("z", Normal(ppl.param("m", 0.0) * x, s + np.exp(x)))
        ppl.sample("y", Bernoulli(logits=z), obs=1)
        ppl.sample("k", Categorical(logits=np.stack([z, x, -z])), obs=1)


def test_what_interval_arithmetic_proves_costs_nothing():
    assert not ppl.compile(ppl.likelihood(safe), data=ROWS).prepare().trace.guards


def test_a_guard_leaves_the_bits_of_loss_and_gradient():
    @ppl.model
    def free(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", Normal(ppl.param("m", 0.3), ppl.param("s", 0.7)), obs=x)

    @ppl.model
    def bound(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", Normal(ppl.param("m", 0.3), np.maximum(ppl.param("s", 0.7), 1e-30)), obs=x)

    found = []
    for model, guards in ((free, 1), (bound, 0)):
        program = ppl.compile(ppl.likelihood(model), data=ROWS)
        assert len(program.prepare().trace.guards) == guards
        found.append(program.value_and_grad(program.init(0), ROWS))
    assert found[0] == found[1]


def test_windows_of_particles_keep_the_guard():
    program = ppl.compile(SILENT["bernoulli"][0], dtype="float64")
    state = program.init(0, params={"t": 0.3})
    assert abs(program.value(state, particles=200_000) - 0.3 * np.tanh(1.0)) < 0.01
    with pytest.raises(ParameterError):
        program.value(program.init(0, params={"t": 1.3}), particles=200_000)


def test_a_loss_that_is_infinite_for_another_reason_is_named_or_kept():
    @ppl.model
    def impossible():
        ppl.sample("y", ppl.Uniform(0.0, ppl.param("top", 1.0)), obs=2.0)

    program = ppl.compile(ppl.likelihood(impossible))
    state = program.init(0)
    for call in (program.value, program.value_and_grad, program.step):
        with pytest.raises(NonFiniteError, match=r"the loss is inf\. First: cost '-log p\(y\)' is inf.*keep") as caught:
            call(state)
        assert caught.value.node == "-log p(y)"
    assert program.value(state, nonfinite="keep") == np.inf
    assert program.value_and_grad(state, nonfinite="keep")[0] == np.inf


def test_an_angle_that_single_precision_does_not_have_is_named():
    x = np.array([1.0, -9e6])

    @ppl.model
    def waves(x):
        with ppl.plate("rows", x) as x:
            ppl.cost("c", np.sin(ppl.param("a", 1.0) * x))

    program = ppl.compile(waves, data=x)
    with pytest.raises(NonFiniteError, match=r"`sin` of 9e\+06: float32 has it below 6.5e\+06 only.*dtype='float64'"):
        program.step(program.init(0), x)
    double = ppl.compile(waves, data=x, dtype="float64")
    assert double.value(double.init(0), x) == pytest.approx(np.sin(x).sum(), rel=1e-9)
