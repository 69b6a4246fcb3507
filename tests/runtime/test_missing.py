"""Observations with missing entries: what `sample` returns there, which estimates leave them out, who may read them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Categorical, Gamma, MultivariateNormal, Normal, Poisson
from ppl.errors import DataError, ModelError, ShapeError
from ppl.ir.reference.interpret import evaluate
from tests.helpers.laws import Graph, arrays, make_env

NAN = np.nan


def draws(objective, params, data, particles=400, seed=0):
    """Draws of all sites in the interpreter, particles first."""
    graph = Graph(objective, arrays(**params), data, particles=particles)
    compiled = graph.compile(particles=1).prepare()
    variant = compiled.variant("sample", ppl.program.draws.drawable_sites(compiled.trace))
    env = make_env(compiled, graph, variant, seed=seed, sizes={"particles": particles})
    found = dict(zip(variant.arrays, evaluate(list(variant.arrays.values()), env), strict=True))
    axes = {name: [a.name for a in node.type.axes] for name, node in variant.arrays.items()}
    return {
        n: np.moveaxis(x, axes[n].index("particles"), 0) if "particles" in axes[n] else np.stack([x] * particles)
        for n, x in found.items()
    }


@ppl.model
def factors(x, seen):
    """Two units a row that share a latent."""
    with ppl.plate("data", x, seen) as (x, seen):
        w = ppl.param("w", np.zeros(2))
        z = ppl.sample("z", Normal(0.0, 1.0))
        x = ppl.sample("x", Normal(z + w, 0.1), obs=x, obs_mask=seen)
        ppl.deterministic("total", np.sum(x))


@ppl.model
def encoder(x, seen):
    with ppl.plate("data", x, seen) as (_, seen):
        ppl.sample("z", Normal(ppl.param("m", 0.5) + 3.0 * np.sum(seen), 0.8))


SEEN = np.array([[True, False], [True, True], [False, True], [False, False]])
X = np.where(SEEN, np.array([[0.4, 0.0], [1.0, -0.3], [0.0, 0.8], [0.0, 0.0]]), NAN)


@pytest.mark.parametrize("objective", [ppl.elbo(factors, encoder), ppl.iwae(factors, encoder, particles=2)])
def test_missing_entries_are_drawn_given_the_latents(objective):
    """Every particle (and importance sample) has its own draw; what is seen stays, and deterministics follow."""
    found = draws(objective, {"w": [1.0, -2.0], "m": 0.2}, (X, SEEN))
    x, z = found["x"], found["z"]
    lead = x.ndim - 3  # importance samples lie between rows and entries
    seen = SEEN.reshape(4, *(1,) * lead, 2)
    wide = np.broadcast_to(np.nan_to_num(X).reshape(4, *(1,) * lead, 2), x.shape)
    given = np.broadcast_to(seen, x.shape)
    np.testing.assert_array_equal(x[given], wide[given])
    residual = (x - z[..., None] - [1.0, -2.0])[~given] / 0.1
    assert stats.kstest(residual, stats.norm.cdf).pvalue > 1e-3
    assert len(np.unique(residual)) == residual.size
    np.testing.assert_allclose(found["total"], x.sum(-1), rtol=1e-12)


def test_compiled_sample_redraws():
    program = ppl.compile(ppl.elbo(factors, encoder), data=(X, SEEN))
    state = program.init(0, X, SEEN)
    found = program.sample(state, X, SEEN, particles=200, sites=["x", "z"])
    assert np.isfinite(found["x"]).all()
    np.testing.assert_allclose(found["x"][:, SEEN], np.broadcast_to(X[SEEN], (200, SEEN.sum())), rtol=1e-6)
    gap = (found["x"] - found["z"][..., None])[:, ~SEEN] / 0.1
    assert stats.kstest(gap.ravel(), stats.norm.cdf).pvalue > 1e-3


def test_nested_plates_rows_and_counts():
    """A mask of whole rows in nested plates; samplers that reject take the noise key of their row and particle."""

    @ppl.model
    def model(x, seen):
        with ppl.plate("outer", x, seen) as (x, seen):
            rate = ppl.sample("rate", Gamma(50.0, 5.0))
            with ppl.plate("inner", x, seen) as (x, seen):
                ppl.sample("x", Poisson(rate * ppl.param("scale", 1.0)), obs=x, obs_mask=seen)

    seen = np.array([[True, False, False], [False, True, True]])
    data = np.where(seen, 7, 0)
    found = draws(ppl.likelihood(model), {"scale": 2.0}, (data, seen))
    assert found["x"].dtype.kind == "i" and (found["x"][:, seen] == 7).all()
    for row, column in ((0, 1), (0, 2), (1, 0)):
        u = stats.poisson.cdf(found["x"][:, row, column], 2 * found["rate"][:, row])
        assert abs(u.mean() - 0.5) < 0.08
    assert np.corrcoef(found["x"][:, 0, 1], found["rate"][:, 0])[0, 1] > 0.3
    assert not np.array_equal(found["x"][:, 0, 1], found["x"][:, 0, 2])


def test_two_observations_of_the_same_data_and_mask_are_drawn_each_from_its_own_law():
    @ppl.model
    def model(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            ppl.sample("near", Normal(ppl.param("m", 0.0), 1.0), obs=x, obs_mask=seen)
            ppl.sample("far", Normal(100.0, 1.0), obs=x, obs_mask=seen)

    found = draws(ppl.likelihood(model), {"m": 0.0}, (np.array([1.0, NAN]), np.array([True, False])))
    assert abs(found["near"][:, 1].mean()) < 0.5 and abs(found["far"][:, 1].mean() - 100) < 0.5


def test_vectors_are_missing_as_a_whole():
    @ppl.model
    def model(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            loc = ppl.param("loc", np.zeros(2))
            ppl.sample("x", MultivariateNormal(loc, [[1.0, 0.9], [0.9, 1.0]]), obs=x, obs_mask=seen)

    data = np.array([[1.0, 2.0], [NAN, NAN]])
    found = draws(ppl.likelihood(model), {"loc": [5.0, 0.0]}, (data, np.array([True, False])))
    np.testing.assert_array_equal(found["x"][:, 0], np.broadcast_to(data[0], (400, 2)))
    assert np.cov(found["x"][:, 1].T)[0, 1] == pytest.approx(0.9, abs=0.2)
    with pytest.raises(ShapeError, match="a unit of MultivariateNormal is seen or missing as a whole"):
        ppl.compile(ppl.likelihood(model), data=(data, np.ones((2, 2), bool)))


def test_nobody_computes_with_a_missing_value():
    """Its filler would count as data: in another node's law, in a cost, a factor; a mask of the same rows is fine."""

    def model_of(use):
        @ppl.model
        def model(x, y, seen):
            with ppl.plate("data", x, y, seen) as (x, y, seen):
                a = ppl.sample("a", Normal(ppl.param("m", 0.0), 1.0), obs=x, obs_mask=seen)
                use(a, y, seen)

        return ppl.likelihood(model)

    data = (np.array([1.0, NAN]), np.array([0.5, 0.7]), np.array([True, False]))
    uses = {
        "node 'b'": lambda a, y, seen: ppl.sample("b", Normal(a, 1.0), obs=y),
        "node 'z'": lambda a, y, seen: ppl.sample("z", Normal(np.exp(a), 1.0)),
        "cost 'c'": lambda a, y, seen: ppl.cost("c", a * y),
        "factor 'f'": lambda a, y, seen: ppl.factor("f", a * y),
    }
    for what, use in uses.items():
        with pytest.raises(ModelError, match=f"{what} depends on the observation 'a', of which obs_mask drops"):
            ppl.compile(model_of(use), data=data)
    same = model_of(lambda a, y, seen: ppl.sample("b", Normal(a, 1.0), obs=y, obs_mask=seen))
    graph = Graph(same, arrays(m=0.3), data)
    compiled = graph.compile().prepare()
    loss = evaluate([compiled.variant("value").scalars["loss"]], make_env(compiled, graph, compiled.variant("value")))
    assert loss[0] == pytest.approx(-stats.norm.logpdf(1.0, 0.3) - stats.norm.logpdf(0.5, 1.0))


def test_a_marginalised_site_and_what_depends_on_it_are_no_draws():
    @ppl.model
    def mixture(x, seen):
        with ppl.plate("data", x, seen) as (x, seen):
            z = ppl.sample("z", Categorical(np.array([0.3, 0.7])))
            means = ppl.param("means", np.array([-3.0, 3.0]))
            ppl.deterministic("mean", means[z])
            ppl.deterministic("square", x**2)
            ppl.sample("x", Normal(means[z], 1.0), obs=x)
            ppl.sample("y", Normal(means[z], 1.0), obs=x, obs_mask=seen)

    data = (np.array([-3.0, 3.0]), np.array([True, False]))
    program = ppl.compile(ppl.likelihood(mixture, marginalize=["z"]), data=data)
    state = program.init(0, *data)
    assert set(program.sample(state, *data)) == {"x", "square"}
    with pytest.raises(DataError, match=r"site 'z' is summed out by ppl.likelihood\(marginalize"):
        program.sample(state, *data, sites="z")
    for name in ("mean", "y"):
        with pytest.raises(DataError, match=f"site '{name}' depends on 'z', which is summed out"):
            program.sample(state, *data, sites=[name])
    plain = ppl.compile(ppl.likelihood(mixture), data=data)
    assert set(plain.prepare(*data).trace.sites) == {"z", "mean", "square", "x", "y"}
