"""Values of a tile whose innermost loops run over rows have their rows side by side; results are the same."""

import numpy as np
import pytest
from scipy import special, stats

import ppl
from tests.compiler import graphs

ROWS = 203


def _features(width):
    return np.random.default_rng(0).normal(size=(ROWS, width)).astype(np.float32)


def _logistic(dtype="float64"):
    """Four particles of the weights of a regression."""

    @ppl.model
    def model(x, y):
        w = ppl.sample("w", ppl.Normal(np.zeros(13), 1.0))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", ppl.Bernoulli(logits=x @ w), obs=y)

    @ppl.model
    def guide(x, y):
        ppl.sample("w", ppl.Normal(ppl.param("loc", 0.1, shape=13), np.exp(ppl.param("scale", -1.0, shape=13))))

    x = _features(13)
    data = x, (x[:, 0] > 0).astype(np.float32)
    return ppl.compile(ppl.elbo(model, guide), particles=4, data=data, dtype=dtype), data


def _mixture(dtype="float64"):
    """The likelihood of a mixture of five."""

    @ppl.model
    def model(x):
        logits, centers = (
            ppl.param("logits", np.arange(5) / 5),
            ppl.param("centers", ppl.init.normal(1.0), shape=(5, 3)),
        )
        scales = np.exp(ppl.param("scales", 0.1, shape=(5, 3)))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Categorical(logits=logits))
            ppl.sample("x", ppl.Normal(centers[z], scales[z]), obs=x)

    data = (_features(3),)
    return ppl.compile(ppl.likelihood(model, marginalize=["z"]), data=data, dtype=dtype), data


def _bound(dtype="float64"):
    """A bound of three samples with a network."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Normal(np.zeros(2), 1.0))
            ppl.sample("x", ppl.StudentT(3.0, ppl.dense("out", ppl.dense("d", z, 6, activation="tanh"), 5), 1.0), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", ppl.Normal(ppl.dense("mu", x, 2), np.exp(ppl.dense("scale", x, 2))))

    data = (_features(5),)
    return ppl.compile(ppl.iwae(model, guide, 3), data=data, dtype=dtype), data


def _latents(dtype="float64"):
    """Four particles of three latents a row, which are summed up over particles, over entries, and over both."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Normal(np.zeros(3), 1.0))
            h = ppl.dense("h", z, 5, activation="tanh")
            ppl.sample("x", ppl.StudentT(4.0, ppl.dense("mean", h, 3), np.exp(0.1 * z)), obs=x)
            ppl.cost("far", np.maximum(h.max() - 0.5, 0.0) * np.exp(0.1 * z.sum()))

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", ppl.Normal(ppl.dense("mu", x, 3), np.exp(ppl.dense("scale", x, 3))))

    data = (_features(3),)
    return ppl.compile(ppl.elbo(model, guide), particles=4, data=data, dtype=dtype), data


MODELS = {f.__name__[1:]: f for f in (_logistic, _mixture, _bound, _latents)}


def columns_of(program):
    """The values of the gradient that lie column by column."""
    stages = program.prepare().executable("gradient").stages
    return [value for stage in stages for value in stage.tiles if value.rows_adjacent]


def _results(made):
    program, data = made
    return program.value_and_grad(program.init(1), *data, seed=2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tile", [32, 50, 1024])
def test_results_do_not_depend_on_where_rows_lie(name, tile, monkeypatch):
    """Tiles of which the last one is shorter, or one tile."""
    graphs.assume(monkeypatch, buffers={"tile_rows": tile})
    assert columns_of(MODELS[name]()[0])
    loss, grads = _results(MODELS[name]())
    monkeypatch.setattr("ppl.compiler.schedule.scheduler.choose_structure_of_arrays", lambda *arguments: None)
    assert not columns_of(MODELS[name]()[0])
    expected, others = _results(MODELS[name]())
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    for parameter, grad in grads.items():
        np.testing.assert_allclose(grad, others[parameter], rtol=1e-11, atol=1e-12)


def test_a_mixture_is_what_scipy_says(monkeypatch):
    graphs.assume(monkeypatch, buffers={"tile_rows": 48})
    program, data = _mixture()
    state = program.init(1)
    loss, _ = program.value_and_grad(state, *data)
    p = {name: np.float64(value) for name, value in state.params.items()}
    each = stats.norm.logpdf(np.float64(data[0])[:, None], p["centers"], np.exp(p["scales"])).sum(-1)
    expected = -special.logsumexp(each + special.log_softmax(p["logits"]), axis=-1).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


def test_loops_over_rows_take_neighbours():
    """No loop over rows of the regression's elementary functions reads or writes every fourth entry."""
    source = _logistic()[0].source
    assert "[r * 4]" not in source and "softplus" in source
