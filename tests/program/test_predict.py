"""`program.predict` and `program.posterior`: draws against closed forms, and what is drawn from what."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal, Poisson
from ppl.errors import DataError, ModelError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2))
Y = X @ [1.0, -0.5] + 0.3 * RNG.normal(size=6)
DRAWS = 40_000


@ppl.model
def regression(x, y):
    w = ppl.sample("w", Normal(np.zeros(2), 1.0))
    with ppl.plate("data", x, y) as (x, y):
        mean = ppl.deterministic("mean", x @ w)
        ppl.sample("y", Normal(mean, 0.5), obs=y)


@ppl.model
def regression_guide(x):
    """The exact posterior, of which the test knows mean and covariance."""
    z = ppl.sample("w", ppl.distributions.MultivariateNormal(ppl.param("m", np.zeros(2)), scale_tril=ppl.param(
        "l", np.eye(2), constraint="lower_cholesky")))  # fmt: skip
    return z


def exact_posterior():
    precision = np.eye(2) + X.T @ X / 0.25
    covariance = np.linalg.inv(precision)
    return covariance @ X.T @ Y / 0.25, covariance


@pytest.fixture(scope="module")
def fitted():
    mean, covariance = exact_posterior()
    program = ppl.compile(ppl.elbo(regression, regression_guide), dtype="float64", data=(X, Y))
    return program, program.init(0, params={"m": mean, "l": np.linalg.cholesky(covariance)})


def check_normal(draws, mean, variance):
    """Means and variances within five standard errors."""
    n = len(draws)
    np.testing.assert_array_less(np.abs(draws.mean(0) - mean), 5 * np.sqrt(variance / n))
    np.testing.assert_array_less(np.abs(draws.var(0) / variance - 1), 5 * np.sqrt(2 / n))


def test_posterior_predictive_of_a_conjugate_regression(fitted):
    program, state = fitted
    mean, covariance = exact_posterior()
    drawn = program.predict(state, X, Y, particles=DRAWS, seed=1)
    assert {k: v.shape for k, v in drawn.items()} == {"w": (DRAWS, 2), "mean": (DRAWS, 6), "y": (DRAWS, 6)}
    spread = np.einsum("ri,ij,rj->r", X, covariance, X)
    check_normal(drawn["w"], mean, np.diag(covariance))
    check_normal(drawn["mean"], X @ mean, spread)
    check_normal(drawn["y"], X @ mean, spread + 0.25)
    np.testing.assert_allclose(drawn["mean"], drawn["w"] @ X.T, rtol=1e-10)


def test_new_rows_have_no_observation(fitted):
    program, state = fitted
    mean, covariance = exact_posterior()
    for new in (np.array([[3.0, 1.0]]), RNG.normal(size=(9, 2))):
        drawn = program.predict(state, new, None, particles=DRAWS, seed=2)["y"]
        assert drawn.shape == (DRAWS, len(new))
        check_normal(drawn, new @ mean, np.einsum("ri,ij,rj->r", new, covariance, new) + 0.25)


def test_posterior_has_latents_only_and_the_same_draws(fitted):
    program, state = fitted
    drawn = program.posterior(state, X, Y, particles=50, seed=1)
    assert list(drawn) == ["w"]
    assert np.array_equal(drawn["w"], program.predict(state, X, Y, particles=50, seed=1)["w"])
    assert np.array_equal(drawn["w"], program.sample(state, X, Y, particles=50, seed=1)["w"])
    with pytest.raises(DataError, match=r"no latent named \['y'\]"):
        program.posterior(state, X, Y, sites=["y"])


def test_sites_particles_and_rows(fitted):
    program, state = fitted
    one = program.predict(state, X, Y, particles=None, seed=3)
    some = program.predict(state, X, Y, particles=1, seed=3, sites="y")
    assert list(some) == ["y"]
    np.testing.assert_allclose(one["y"], some["y"][0], rtol=1e-12)
    whole = program.predict(state, X, None, particles=30, seed=3)["y"]
    parts = [program.predict(state, X[r], None, particles=30, seed=3, rows=r)["y"]
             for r in (slice(0, 2), slice(2, 6))]  # fmt: skip
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert not np.array_equal(program.predict(state, X, None, particles=30, seed=4)["y"], whole)


def test_default_particles(fitted):
    program, state = fitted
    assert program.predict(state, X, Y)["y"].shape == (1000, 6)


@ppl.model
def chain(x):
    """Each observation depends on the one before; `read` uses the data themselves."""
    with ppl.plate("data", x) as x:
        first = ppl.sample("first", Normal(0.0, 1.0), obs=x[0])
        second = ppl.sample("second", Normal(10.0 * first, 0.1), obs=x[1])
        ppl.deterministic("sum", first + second)
        ppl.deterministic("read", x[0] + x[1])


def test_what_is_computed_from_an_observation_sees_the_new_draw():
    x = RNG.normal(size=(4, 2))
    program = ppl.compile(ppl.likelihood(chain), dtype="float64", data=x)
    drawn = program.predict(program.init(0), x, particles=2000, seed=1)
    assert np.abs(drawn["second"] - 10 * drawn["first"]).std() < 0.2
    np.testing.assert_allclose(drawn["sum"], drawn["first"] + drawn["second"], rtol=1e-12)
    np.testing.assert_allclose(drawn["read"], np.broadcast_to(x.sum(1), (2000, 4)), rtol=1e-12)
    check_normal(drawn["first"], np.zeros(4), np.ones(4))
    plain = program.sample(program.init(0), x, particles=2)
    assert np.array_equal(plain["first"], np.broadcast_to(x[:, 0], (2, 4)))
    with pytest.raises(DataError, match="argument 'x' is None, but 'read' is computed from it"):
        program.predict(program.init(0), None, rows=np.arange(3))
    alone = program.predict(program.init(0), None, rows=np.arange(3), particles=5, sites=["sum"])
    assert alone["sum"].shape == (5, 3)


def test_masked_entries_are_redrawn_and_others_too():
    @ppl.model
    def rows(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            ppl.sample("x", Normal(ppl.param("m", [0.0, 5.0]), 1.0), obs=x, obs_mask=seen)

    x = np.array([[100.0, np.nan], [np.nan, 100.0], [np.nan, np.nan]])
    program = ppl.compile(ppl.likelihood(rows), dtype="float64", data=(x, np.isfinite(x)))
    state = program.init(0)
    kept = program.sample(state, x, np.isfinite(x), particles=3, seed=1)["x"]
    new = program.predict(state, x, np.isfinite(x), particles=3, seed=1)["x"]
    assert (kept[:, np.isfinite(x)] == 100.0).all()
    assert np.array_equal(kept[:, ~np.isfinite(x)], new[:, ~np.isfinite(x)])
    many = program.predict(state, None, np.isfinite(x), particles=DRAWS, seed=1)["x"]
    check_normal(many, np.broadcast_to([0.0, 5.0], (3, 2)), np.ones((3, 2)))


def test_importance_samples_are_taken_by_weight():
    """A guide far too wide: with many samples the draws are those of the posterior, not of the guide."""

    @ppl.model
    def model(y):
        with ppl.plate("data", y) as y:
            z = ppl.sample("z", Normal(0.0, 1.0))
            ppl.deterministic("double", 2.0 * z)
            ppl.sample("y", Normal(z, 0.5), obs=y)

    @ppl.model
    def guide(y):
        with ppl.plate("data", y) as y:
            ppl.sample("z", Normal(0.0, 2.0))

    y = np.array([-1.0, 0.0, 2.0])
    program = ppl.compile(ppl.iwae(model, guide, particles=1000), dtype="float64", data=y)
    n = 3000
    drawn = program.predict(program.init(0), y, particles=n, seed=0)
    assert {k: v.shape for k, v in drawn.items()} == {"z": (n, 3), "double": (n, 3), "y": (n, 3)}
    check_normal(drawn["z"], y / 1.25, np.full(3, 0.2))
    check_normal(drawn["y"], y / 1.25, np.full(3, 0.45))
    np.testing.assert_allclose(drawn["double"], 2 * drawn["z"], rtol=1e-12)
    assert program.posterior(program.init(0), y, particles=4)["z"].shape == (4, 3)


def test_prior_predictive():
    @ppl.model
    def counts(n):
        rate = ppl.sample("rate", ppl.Gamma(3.0, 1.5))
        with ppl.plate("data", n) as n:
            ppl.sample("n", Poisson(rate), obs=n)

    program = ppl.compile(ppl.predictive(counts), data=ppl.spec((None,), int))
    state = program.init(0)
    drawn = program.predict(state, None, rows=np.arange(5), particles=DRAWS, seed=0)
    assert drawn["n"].shape == (DRAWS, 5) and drawn["n"].dtype.kind == "i"
    mean, variance = 2.0, 2.0 + 3.0 / 1.5**2
    assert np.abs(drawn["n"].mean(0) - mean).max() < 5 * np.sqrt(variance / DRAWS)
    assert drawn["n"][:, 0].var() == pytest.approx(variance, rel=0.1)
    assert np.array_equal(
        program.sample(state, np.zeros(5, int), particles=3, seed=0)["n"],
        program.predict(state, None, rows=slice(0, 5), particles=3, seed=0)["n"],
    )
    for call in (program.value, program.value_and_grad, program.step):
        with pytest.raises(ModelError, match="it has no loss"):
            call(state, np.zeros(5, int))
    with pytest.raises(ModelError, match="it has no loss"):
        ppl.fit(program, np.zeros(5, int), steps=1, optimizer=ppl.optim.SGD(0.1), progress=False)


def test_predictive_with_a_guide_draws_latents_from_it(fitted):
    program, state = fitted
    other = ppl.compile(ppl.predictive(regression, regression_guide), dtype="float64", data=(X, Y))
    again = other.init(0, params=program.params(state))
    for name, value in program.predict(state, X, Y, particles=20, seed=5).items():
        assert np.array_equal(other.predict(again, X, None, particles=20, seed=5)[name], value)


def test_latents_that_the_guide_lacks_are_drawn_from_the_model():
    """A new group: its effect given what all groups share."""

    @ppl.model
    def schools(y):
        mean = ppl.sample("mean", Normal(0.0, 10.0))
        with ppl.plate("schools", y) as y:
            effect = ppl.sample("effect", Normal(mean, 2.0))
            ppl.sample("y", Normal(effect, 0.5), obs=y)

    @ppl.model
    def shared():
        ppl.sample("mean", Normal(ppl.param("m", 5.0), ppl.param("s", 0.3, constraint="positive")))

    program = ppl.compile(ppl.predictive(schools, shared), dtype="float64", data=ppl.spec((None,)))
    drawn = program.predict(program.init(0), None, rows=np.arange(2), particles=DRAWS, seed=0)
    check_normal(drawn["mean"][:, None], np.array([5.0]), np.array([0.09]))
    check_normal(drawn["effect"], np.full(2, 5.0), np.full(2, 4.09))
    check_normal(drawn["y"], np.full(2, 5.0), np.full(2, 4.34))
    covariance = np.cov(drawn["effect"].T)[0, 1]
    assert covariance == pytest.approx(0.09, abs=5 * 4.09 / np.sqrt(DRAWS))
    with pytest.raises(ModelError, match=r"guide node 'mean' .* is not in model 'bare'"):

        @ppl.model
        def bare(y):
            with ppl.plate("schools", y) as y:
                ppl.sample("y", Normal(0.0, 0.5), obs=y)

        ppl.compile(ppl.predictive(bare, shared), data=ppl.spec((None,)))


def test_refusals(fitted):
    program, state = fitted
    with pytest.raises(DataError, match="argument 'x' is None, but 'mean' is computed from it"):
        program.predict(state, None, Y)
    with pytest.raises(DataError, match="nothing says how many rows plate 'data' has"):
        program.predict(state, None, None)
    fresh = ppl.compile(ppl.elbo(regression, regression_guide), dtype="float64")
    with pytest.raises(DataError, match="argument 'y' is None, and the program has not seen what it is like"):
        fresh.predict(state, X, None)
    with pytest.raises(DataError, match="no site named"):
        program.predict(state, X, Y, sites=["nothing"])
    with pytest.raises(DataError, match="dtype object"):
        program.sample(state, X, None)

    @ppl.model
    def latent(y):
        with ppl.plate("data", y) as y:
            ppl.sample("y", Normal(ppl.sample("z", Normal(0.0, 1.0)), 1.0), obs=y)

    plain = ppl.compile(ppl.likelihood(latent), data=Y)
    with pytest.raises(ModelError, match="posterior: 'z' of model 'latent' would be drawn from the model"):
        plain.posterior(plain.init(0), Y)

    @ppl.model
    def known(y):
        with ppl.plate("data", y) as y:
            ppl.sample("y", Normal(0.0, 1.0), obs=y)

    plain = ppl.compile(ppl.likelihood(known), data=Y)
    with pytest.raises(ModelError, match="'known' has no latents"):
        plain.posterior(plain.init(0), Y)


def test_a_loop_forecasts_where_the_mask_is_false():
    """An autoregression with a known coefficient: the forecast's variance grows as in closed form."""

    @ppl.model
    def series(y, seen, *, T):
        a = 0.8

        def step(x, given):
            value, known = given
            x = ppl.sample("x", Normal(a * x, 1.0))
            ppl.sample("y", Normal(x, 0.1), obs=value, obs_mask=known)
            return x, None

        ppl.scan(step, 0.0, (y, seen), T)

    y, seen = np.full(6, np.nan), np.zeros(6, bool)
    program = ppl.compile(ppl.predictive(series.bind(T=6)), dtype="float64", data=(y, seen))
    drawn = program.predict(program.init(0), y, seen, particles=DRAWS, seed=0)
    variance = np.array([sum(0.64**k for k in range(t + 1)) for t in range(6)])
    assert drawn["y"].shape == (DRAWS, 6)
    check_normal(drawn["x"], np.zeros(6), variance)
    check_normal(drawn["y"], np.zeros(6), variance + 0.01)


def test_an_observation_in_the_carry_sees_the_new_draws():
    @ppl.model
    def autoregression(y):
        def step(before, yt):
            return ppl.sample("y", Normal(0.9 * before, 0.5), obs=yt), None

        ppl.scan(step, 0.0, y)

    program = ppl.compile(ppl.likelihood(autoregression), dtype="float64", data=np.zeros(6))
    drawn = program.predict(program.init(0), None, particles=DRAWS, seed=0)["y"]
    check_normal(drawn, np.zeros(6), np.array([0.25 * sum(0.81**k for k in range(t + 1)) for t in range(6)]))


def test_discrete_observations_index_what_follows():
    @ppl.model
    def model(k, b):
        with ppl.plate("data", k, b) as (k, b):
            k = ppl.sample("k", Categorical(probs=[0.2, 0.3, 0.5]), obs=k)
            ppl.sample("b", Bernoulli(probs=ppl.param("p", [0.0, 0.5, 1.0])[k]), obs=b)

    k, b = np.array([0, 1]), np.array([0.0, 1.0])
    program = ppl.compile(ppl.likelihood(model), data=(k, b))
    drawn = program.predict(program.init(0), None, None, particles=4000, rows=np.arange(2), seed=0)
    counts = np.bincount(drawn["k"].ravel(), minlength=3) / 8000
    np.testing.assert_allclose(counts, [0.2, 0.3, 0.5], atol=5 * np.sqrt(0.25 / 8000))
    assert (drawn["b"][drawn["k"] == 0] == 0).all() and (drawn["b"][drawn["k"] == 2] == 1).all()
    assert np.isfinite(program.value(program.init(0), k, b))


def test_posterior_shows_what_is_computed_of_latents(fitted):
    program, state = fitted
    drawn = program.posterior(state, X, Y, particles=50, seed=1, sites=["w", "mean"])
    np.testing.assert_allclose(drawn["mean"], drawn["w"] @ X.T, rtol=1e-10)


def test_posterior_refuses_what_is_computed_of_redrawn_observations():
    @ppl.model
    def walk(y):
        a = ppl.sample("a", Normal(0.0, 1.0))

        def step(last, value):
            ppl.deterministic("given", value + a)
            ppl.deterministic("before", last + a)
            return ppl.sample("y", Normal(a, 1.0), obs=value), None

        last, _ = ppl.scan(step, 0.0, y)
        ppl.deterministic("last", last)

    y = np.arange(5.0)
    program = ppl.compile(ppl.elbo(walk, ppl.autoguide(walk)), data=(y,), dtype="float64")
    drawn = program.posterior(program.init(0), y, particles=3, seed=0, sites=["given", "a"])
    np.testing.assert_allclose(drawn["given"], y + drawn["a"][:, None], rtol=1e-12)
    for name in ("before", "last"):
        with pytest.raises(DataError, match=f"'{name}' is computed from what ppl.sample returned.*'y'"):
            program.posterior(program.init(0), y, sites=[name])
