"""`program.sample`: which sites, their axes, dtypes and values."""

import itertools

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal, OneHotCategorical
from ppl.errors import DataError

N, INNER = 5, 4
X = np.random.default_rng(0).normal(size=(N, INNER, 2))


@ppl.model
def nested(x):
    """A global, a row's categorical, an inner row's normal and its observation; deterministics of both."""
    top = ppl.sample("top", Normal(ppl.param("m", 0.5), 1.0))
    with ppl.plate("rows", x) as x:
        k = ppl.sample("k", Categorical(logits=ppl.param("a", np.zeros(3))))
        h = ppl.sample("h", OneHotCategorical(logits=np.zeros((2, 3))))
        b = ppl.sample("b", Bernoulli(logits=np.zeros(2)))
        ppl.deterministic("twice", 2 * k)
        with ppl.plate("inner", x) as x:
            z = ppl.sample("z", Normal(top + b, 1.0))
            ppl.deterministic("sum", np.sum(z) + np.sum(h))
            ppl.sample("x", Normal(z, 1.0), obs=x)


SHAPES = {
    "top": (), "k": (N,), "h": (N, 2, 3), "b": (N, 2), "twice": (N,),
    "z": (N, INNER, 2), "sum": (N, INNER), "x": (N, INNER, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def program():
    return ppl.compile(ppl.likelihood(nested), dtype="float64", data=X)


@pytest.fixture(scope="module")
def state(program):
    return program.init(0)


@pytest.mark.parametrize("particles", [None, 1, 3])
def test_axes_are_particles_plates_event(program, state, particles):
    drawn = program.sample(state, X, particles=particles)
    lead = () if particles is None else (particles,)
    assert {k: v.shape for k, v in drawn.items()} == {k: lead + s for k, s in SHAPES.items()}


def test_no_particles_is_the_first_of_one(program, state):
    plain, one = program.sample(state, X), program.sample(state, X, particles=1)
    assert all(np.array_equal(plain[k], one[k][0]) for k in plain)


def test_dtypes(program, state):
    drawn = program.sample(state, X)
    assert drawn["k"].dtype.kind == drawn["twice"].dtype.kind == "i"
    assert all(drawn[k].dtype == np.float64 for k in ("top", "h", "b", "z", "sum", "x"))


def test_deterministics_are_functions_of_the_same_draw(program, state):
    drawn = program.sample(state, X, particles=4, seed=3)
    assert np.array_equal(drawn["twice"], 2 * drawn["k"])
    expected = drawn["z"].sum(-1) + drawn["h"].sum((-1, -2))[..., None]
    np.testing.assert_allclose(drawn["sum"], expected, rtol=1e-12)


def test_values_lie_in_the_support_and_observations_are_the_data(program, state):
    drawn = program.sample(state, X, particles=50)
    assert set(np.unique(drawn["k"])) == {0, 1, 2} and set(np.unique(drawn["b"])) == {0.0, 1.0}
    assert np.array_equal(drawn["h"].sum(-1), np.ones((50, N, 2))) and set(np.unique(drawn["h"])) == {0.0, 1.0}
    assert np.array_equal(drawn["x"], np.broadcast_to(X, (50, *X.shape)))


def test_sites_selects_and_does_not_change_the_draw(program, state):
    whole = program.sample(state, X, particles=2, seed=1)
    some = program.sample(state, X, particles=2, seed=1, sites=["z", "k"])
    assert list(some) == ["z", "k"]
    assert np.array_equal(some["k"], whole["k"])
    np.testing.assert_allclose(some["z"], whole["z"], rtol=1e-12)
    assert list(program.sample(state, X, sites="k")) == ["k"]
    with pytest.raises(DataError, match=r"no site named \['kk'\]; the program has.*'top', 'k', 'h'"):
        program.sample(state, X, sites=["kk"])


def test_seed_or_step_choose_the_draw(program, state):
    draws = [program.sample(s, X, seed=seed, sites=["z", "k"])["z"]
             for s, seed in ((state, None), (state.replace(step=1), None), (state, 1))]  # fmt: skip
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(draws))


def test_means_and_frequencies_are_those_of_the_model(program, state):
    n = 4000
    drawn = program.sample(state, X, particles=n, seed=2)
    assert drawn["top"].mean() == pytest.approx(0.5, abs=5 / np.sqrt(n))
    counts = np.bincount(drawn["k"].ravel(), minlength=3) / drawn["k"].size
    np.testing.assert_allclose(counts, 1 / 3, atol=5 * np.sqrt(2 / 9 / (n * N)))
    residual = drawn["z"] - drawn["top"][:, None, None, None] - drawn["b"][:, :, None]
    assert residual.std() == pytest.approx(1.0, abs=5 / np.sqrt(2 * residual.size))


def test_samples_of_a_relaxed_program_are_hard():
    @ppl.model
    def soft():
        ppl.cost("c", ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.0))))

    program = ppl.compile(soft, ppl.estimators.Relaxed())
    assert set(np.unique(program.sample(program.init(0), particles=100)["b"])) == {0.0, 1.0}
