"""Latents in plates over data: tables of parameters by row, encoders, minibatches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Normal
from ppl.errors import DataError, ModelError, ShapeError
from ppl.training.trainers import trainer_of

RNG = np.random.default_rng(1)
N = 12
Y = RNG.normal(0.3, np.sqrt(1.25), (N, 2))
MEAN, SD = (0.3 + Y / 0.25) / 5, np.sqrt(0.2)  # of the posterior: prior N(0.3, 1), noise 0.5
EVIDENCE = -stats.norm(0.3, np.sqrt(1.25)).logpdf(Y).sum(1)


@ppl.model
def local(y):
    with ppl.plate("data", y) as y:
        z = ppl.sample("z", Normal(np.full(2, 0.3), 1.0))
        ppl.sample("y", Normal(z, 0.5), obs=y)


def encoded(y):
    return 0.8 * y + ppl.param("b", 0.0), ppl.param("log_scale", np.zeros(2))


GUIDES = {
    "rows": ({"rows": {"data": N}}, {"guide/z/loc": MEAN, "guide/z/log_scale": np.full((N, 2), np.log(SD))}),
    "encoder": ({"encoder": encoded}, {"b": 0.06, "log_scale": np.full(2, np.log(SD))}),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("how", GUIDES)
def test_every_sample_of_an_exact_posterior_gives_the_evidence(how, dtype):
    options, params = GUIDES[how]
    program = ppl.compile(ppl.iwae(local, ppl.autoguide(local, **options), 3), dtype=dtype, data=(Y,))
    state = program.init(0, params=params)
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    for seed in range(3):
        np.testing.assert_allclose(program.value(state, Y, seed=seed, per_row=True), EVIDENCE, rtol=0, atol=tolerance)


def test_minibatches_read_the_rows_that_they_have():
    program = ppl.compile(ppl.iwae(local, ppl.autoguide(local, rows={"data": N}), 3), dtype="float64", data=(Y,))
    state = program.init(0, params=GUIDES["rows"][1])
    rows = np.array([7, 2, 11])
    found = program.value(state, Y[rows], rows=rows, per_row=True)
    np.testing.assert_allclose(found, EVIDENCE[rows], atol=1e-10)


@ppl.model
def shared(y):
    m = ppl.sample("m", Normal(0.0, 2.0))
    with ppl.plate("data", y) as y:
        z = ppl.sample("z", Normal(m, 1.0))
        s = ppl.sample("s", ppl.Gamma(2.0, 2.0))
        ppl.sample("y", Normal(z, s), obs=y)


def test_minibatches_are_unbiased():
    guide = ppl.autoguide(shared, rows={"data": N})
    y = Y[:, 0]
    program = ppl.compile(ppl.elbo(shared, guide), dtype="float64", data=(y,))
    state = program.init(0)
    whole = program.value_and_grad(state, y, seed=5)
    batches = [program.value_and_grad(state, y[i : i + 4], rows=i, total_rows=N, seed=5) for i in (0, 4, 8)]
    assert np.mean([b[0] for b in batches]) == pytest.approx(whole[0], rel=1e-12)
    for name, wanted in whole[1].items():
        np.testing.assert_allclose(np.mean([b[1][name] for b in batches], 0), wanted, rtol=1e-9, atol=1e-12)
        assert np.abs(wanted).min() > 0


def test_plates_of_fixed_size_within_and_around_rows():
    @ppl.model
    def nested(y):
        with ppl.plate("k", 2):
            ppl.sample("w", Normal(0.0, 1.0))
        with ppl.plate("data", y) as y:
            with ppl.plate("j", 3):
                z = ppl.sample("z", Normal(np.zeros(4), 1.0))
            ppl.sample("y", Normal(np.sum(ppl.collect(z, "j")), 1.0), obs=y)

    y = Y[:, 0]
    program = ppl.compile(ppl.elbo(nested, ppl.autoguide(nested, rows={"data": N})), dtype="float64", data=(y,))
    assert program.init(0).params["guide/z/loc"].shape == (N, 3, 4)
    loc = RNG.normal(size=(N, 3, 4))
    state = program.init(0, params={"guide/z/loc": loc, "guide/z/log_scale": np.full((N, 3, 4), -12.0)})
    drawn = program.posterior(state, y, particles=1)["z"][0]
    np.testing.assert_allclose(drawn, loc, atol=1e-3)

    def encoder(y):
        return np.reshape(y * np.arange(12.0), (3, 4)), np.full((3, 4), -12.0)

    program = ppl.compile(ppl.elbo(nested, ppl.autoguide(nested, encoder=encoder)), dtype="float64", data=(y,))
    drawn = program.posterior(program.init(0), y, particles=1)["z"][0]
    np.testing.assert_allclose(drawn, y[:, None, None] * np.arange(12.0).reshape(3, 4), atol=1e-3)


@pytest.mark.parametrize(
    "optimizer", [ppl.optim.SGD(2.0), ppl.optim.AdaGrad(0.3), ppl.optim.Adam(0.02), ppl.optim.LazyAdam(0.05)], ids=repr
)
def test_tables_are_fitted(optimizer):
    rows = 3000
    y = np.random.default_rng(2).normal(0.3, np.sqrt(1.25), (rows, 2))
    program = ppl.compile(ppl.elbo(local, ppl.autoguide(local, rows={"data": rows})), dtype="float64", data=(y,))
    tables = {t.name for t in trainer_of(program.prepare(y), True).tables}
    assert tables == {
        "guide/z/loc",
        "guide/z/log_scale",
    }  # of which SGD, AdaGrad and LazyAdam move the rows of a batch alone
    fitted = ppl.fit(program, y, steps=6000, batch_size=100, optimizer=optimizer, seed=0)
    before, after = (program.value(s, y, seed=0) for s in (program.init(0), fitted.state))
    exact = -stats.norm(0.3, np.sqrt(1.25)).logpdf(y).sum()
    assert exact < after < exact + 0.05 * (before - exact)


def test_what_an_encoder_must_be_is_said():
    def trace(encoder):
        ppl.compile(ppl.elbo(local, ppl.autoguide(local, encoder=encoder)), data=(Y,))

    with pytest.raises(ModelError, match="takes 'x', the model has the data arguments y"):
        trace(lambda x: (x, x))
    with pytest.raises(ModelError, match=r"returns \(loc, log_scale\)"):
        trace(lambda y: y)
    with pytest.raises(ShapeError, match=r"log-scales of event shape \(\), not \(2,\)"):
        trace(lambda y: (y, 0.0))
    with pytest.raises(ModelError, match="says nothing of latent 'z', only of"):
        trace(lambda y: {"x": (y, y)})
    with pytest.raises(ModelError, match="row_index: plate 'data' is not open"):
        ppl.compile(ppl.model(lambda: ppl.cost("c", ppl.row_index("data"))))


def test_latents_of_new_rows_come_from_the_model():
    """With the others from their guide: the variance of a row's latent is that of the model and that of m."""
    guide = ppl.autoguide(shared, rows={"data": N}).outside
    program = ppl.compile(ppl.predictive(shared, guide), dtype="float64", data=(Y[:, 0],))
    state = program.init(0, params={"guide/m/loc": 3.0, "guide/m/scale": 0.5})
    assert set(state.params) == {"guide/m/loc", "guide/m/scale"}
    drawn = program.predict(state, None, rows=np.arange(N, N + 2), particles=20_000)
    assert drawn["z"].shape == (20_000, 2)
    for z in drawn["z"].T:
        assert abs(z.mean() - 3.0) < 5 * np.sqrt(1.25 / 20_000)
        assert abs(z.var() / 1.25 - 1) < 5 * np.sqrt(2 / 20_000)
    assert drawn["s"].mean() == pytest.approx(1.0, abs=5 * np.sqrt(0.5 / 20_000))


def test_predict_draws_latents_of_rows_beyond_the_tables_from_the_model():
    guide = ppl.autoguide(shared, rows={"data": N})
    program = ppl.compile(ppl.elbo(shared, guide), dtype="float64", data=(Y[:, 0],))
    tables = {"guide/z/loc": np.full(N, 50.0), "guide/z/log_scale": np.full(N, -5.0)}
    state = program.init(0, params={"guide/m/loc": 3.0, "guide/m/scale": 0.5, **tables})
    known = program.predict(state, Y[:4, 0], particles=100)
    assert abs(known["z"] - 50.0).max() < 1.0
    beyond = program.predict(state, None, rows=np.arange(N, N + 2), particles=20_000)
    for z in beyond["z"].T:
        assert abs(z.mean() - 3.0) < 5 * np.sqrt(1.25 / 20_000)
        assert abs(z.var() / 1.25 - 1) < 5 * np.sqrt(2 / 20_000)
    given = program.predict(state, Y[:2, 0], rows=slice(N, N + 2), particles=20_000)
    np.testing.assert_array_equal(given["z"], beyond["z"])
    with pytest.raises(DataError, match="two calls"):
        program.predict(state, Y[:2, 0], rows=N - 1)


def test_an_observation_that_is_none_is_that_of_a_new_row():
    """Without numbers its rows do not take the parameters of the first rows."""

    @ppl.model
    def regression(x, y):
        with ppl.plate("data", x, y) as (x, y):
            z = ppl.sample("z", Normal(x, 0.1))
            ppl.sample("y", Normal(z, 0.1), obs=y)

    guide = ppl.autoguide(regression, rows={"data": 5})
    x = np.linspace(0.0, 4.0, 5)
    program = ppl.compile(ppl.elbo(regression, guide), dtype="float64", data=(x, x))
    state = program.init(0, params={"guide/z/loc": np.full(5, 50.0)})
    assert abs(program.predict(state, x, x, particles=50)["z"] - 50.0).max() < 1.0
    for rows in (None, slice(5, 8)):
        assert abs(program.predict(state, x[:3], None, rows=rows, particles=50)["z"] - x[:3]).max() < 1.0
    assert abs(program.predict(state, x[:3], None, rows=slice(0, 3), particles=50)["z"] - 50.0).max() < 1.0
    weighted = ppl.compile(ppl.iwae(regression, guide, 4), dtype="float64", data=(x, x))
    with pytest.raises(DataError, match="weighed by their data"):
        weighted.predict(weighted.init(0), x, None)
