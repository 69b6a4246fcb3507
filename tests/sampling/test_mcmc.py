"""`ppl.mcmc`: short chains of a model in closed form, what is returned, and what is refused."""

import sys
import warnings

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.chains.arviz_data import named_axes
from ppl.chains.mcmc import MOST_COMPARED_REALS, worst_r_hats
from ppl.errors import MissingPackageError, ModelError, NonFiniteError, OptionError, ShapeError
from tests.sampling import models

Y = np.array([1.2, np.nan, -0.7, 3.1], np.float32)

SEEN = np.isfinite(Y)

ROWS = models.rows.bind(mean=1.0)


@pytest.fixture(scope="module")
def chains():
    pytest.importorskip("nutpie")
    return ppl.mcmc(ROWS, Y, SEEN, draws=600, warmup=400, seed=3, predictive=True, progress=False)


def test_normal_rows_have_their_posterior(chains):
    mean, spread = models.rows_posterior(np.float64(Y), SEEN)
    found = np.concatenate([chains.posterior.m.values[..., None], chains.posterior.z.values], -1)
    assert models.within(found, mean) and models.within((found - mean) ** 2, spread**2)


def test_what_is_returned(chains):
    assert list(chains.posterior.data_vars) == ["m", "z", "twice"]
    assert chains.posterior.twice.dims == chains.log_likelihood.y.dims == ("chain", "draw", "data")
    assert chains.posterior.z.shape == (4, 600, 4) and chains.posterior.z.dtype == np.float64
    assert np.array_equal(chains.posterior.twice, 2.0 * chains.posterior.z)
    seen = -0.5 * ((np.float64(Y) - chains.posterior.z.values) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
    assert np.allclose(chains.log_likelihood.y, np.where(SEEN, seen, 0.0))
    assert np.array_equal(chains.observed_data.y, Y, equal_nan=True)
    assert {"diverging", "energy", "tree_depth", "lp", "acceptance_rate"} <= set(chains.sample_stats.data_vars)


def test_observations_are_redrawn_at_the_draws(chains):
    noise = (chains.posterior_predictive.y.values - chains.posterior.z.values) / 0.5
    assert noise.shape == (4, 600, 4)
    assert abs(noise.mean()) < 4.5 / np.sqrt(noise.size) and abs(noise.var() - 1) < 4.5 * np.sqrt(2 / noise.size)


def test_the_same_seed_gives_the_same_bits_on_any_number_of_cores(chains):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so short chains need not agree
        one, two, other = (
            ppl.mcmc(ROWS, Y, SEEN, draws=20, warmup=30, chains=2, seed=s, cores=c).posterior.z.values
            for s, c in ((3, 1), (3, 2), (4, 2))
        )
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


@ppl.model
def counted(y, *, law="poisson"):
    rate = ppl.sample("rate", ppl.Gamma(2.0, 1.0))
    count = ppl.Poisson(rate) if law == "poisson" else ppl.Bernoulli(probs=0.3)
    n = ppl.sample("n", count)
    scale = ppl.param("scale", 1.0)
    ppl.sample("y", Normal(n * 1.0, scale), obs=y)


@ppl.model
def with_cost(y):
    m = ppl.sample("m", Normal(0.0, 1.0))
    ppl.sample("y", Normal(m, 1.0), obs=y)
    ppl.cost("more", m**2)


@ppl.model
def moved(y):
    k = ppl.sample("k", ppl.Bernoulli(probs=0.5))
    m = ppl.sample("m", ppl.Uniform(0.0, 1.0 + k))
    ppl.sample("y", Normal(m, 1.0), obs=y)


@ppl.model
def fixed(y):
    ppl.sample("y", Normal(ppl.param("m", 0.0), 1.0), obs=y)


REFUSED = {
    "sum it out, marginalize=\\['n'\\]": lambda: ppl.mcmc(counted.bind(law="bernoulli"), 1.0),
    "is discrete \\(Poisson\\)": lambda: ppl.mcmc(counted, 1.0),
    "no value is given for parameter 'scale'": lambda: ppl.mcmc(counted.bind(law="bernoulli"), 1.0, marginalize=["n"]),
    "params has \\['shift'\\]": lambda: ppl.mcmc(with_cost, 1.0, params={"shift": 1.0}),
    "no latent named 'q' to marginalise": lambda: ppl.mcmc(moved, 1.0, marginalize=["k", "q"]),
    "declares costs \\(more\\)": lambda: ppl.mcmc(with_cost, 1.0),
    "support of latent 'm' .* depends on k": lambda: ppl.mcmc(moved, 1.0, marginalize=["k"]),
    "has no latent to sample": lambda: ppl.mcmc(fixed, 1.0, params={"m": 0.0}),
    "a function decorated with @ppl.model": lambda: ppl.mcmc(print),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_has_no_chains_is_refused_in_words(words):
    pytest.importorskip("nutpie")
    with pytest.raises(ModelError, match=words):
        REFUSED[words]()


@pytest.mark.parametrize(
    "options", [{"draws": 0}, {"chains": 0}, {"target_accept": 1.0}, {"max_treedepth": 0}, {"cores": 0}, {"seed": "a"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        ppl.mcmc(fixed, 1.0, **options)


def test_a_number_of_data_arguments_is_checked():
    with pytest.raises(OptionError, match="takes 1 data arguments"):
        ppl.mcmc(fixed)


@pytest.mark.parametrize("package", ["nutpie", "arviz"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f'needs {package}.*pip install "numba-ppl\\[mcmc\\]"'):
        ppl.mcmc(fixed, 1.0)


def test_a_density_without_a_start_is_an_error_with_the_reason():
    pytest.importorskip("nutpie")

    @ppl.model
    def impossible(y):
        m = ppl.sample("m", Normal(0.0, 1.0))
        ppl.factor("never", np.log(m * 0.0 - 1.0))
        ppl.sample("y", Normal(m, 1.0), obs=y)

    with pytest.raises(NonFiniteError, match=r"not finite at any of 100 points.*never"):
        ppl.mcmc(impossible, 1.0, progress=False)


def test_axes_get_names_of_their_own():
    dims = {"school": [("school", 8)], "a": [("time", 3), ("school", 8)], "b": [("time", 4)], "c": [("draw", 2)]}
    names, coords = named_axes(dims, dims)
    assert names == {"school": ["school_dim"], "a": ["time", "school_dim"], "b": ["time_2"], "c": ["draw_dim"]}
    assert {name: len(x) for name, x in coords.items()} == {"school_dim": 8, "time": 3, "time_2": 4, "draw_dim": 2}


def test_r_hat_tells_chains_that_do_not_agree():
    pytest.importorskip("arviz")
    rng = np.random.default_rng(0)
    good, still = rng.normal(size=(4, 101, 2)), np.ones((4, 101, 1))
    apart = good + np.arange(4)[:, None, None]
    found = worst_r_hats({"good": good, "apart": apart, "still": still})
    assert found["good"] < 1.01 and found["apart"] > 1.5 and found["still"] == 0.0
    drift = worst_r_hats({"good": good[:1], "drift": good[:1] + np.linspace(0, 9, 101)[:, None], "few": good[:1, :7]})
    assert drift["good"] < 1.2 and drift["drift"] > 1.5 and drift["few"] == 0.0


def test_r_hat_of_many_reals_is_left_to_the_user():
    pytest.importorskip("arviz")
    many = np.broadcast_to(np.nan, (2, 9, MOST_COMPARED_REALS))
    assert list(worst_r_hats({"rows": many, "scale": np.random.default_rng(0).normal(size=(2, 9, 1))})) == ["scale"]


def test_the_shape_error_of_a_model_stays_what_it_is():
    @ppl.model
    def wrong(y):
        m = ppl.sample("m", Normal(0.0, 1.0))
        ppl.sample("y", Normal(m, 1.0), obs=y)

    pytest.importorskip("nutpie")
    with pytest.raises(ShapeError):
        ppl.mcmc(wrong, np.zeros(3))
