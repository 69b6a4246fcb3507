"""dense, layers and chain."""

import numpy as np
import pytest
import scipy.special as sp

import ppl
import ppl.lang
from ppl import layers
from ppl.errors import ModelError, ShapeError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang.params import initial_value
from ppl.lang.trace import SiteKind
from tests.lang.helpers import trace

pytestmark = pytest.mark.tiny

X = np.random.default_rng(0).normal(size=(4, 3))


def starts(t):
    return {n: initial_value(p, 0) + 0.1 for n, p in t.params.items()}


@pytest.mark.parametrize(
    "activation, function",
    [(None, lambda a: a), ("tanh", np.tanh), ("relu", lambda a: np.maximum(a, 0)), (np.sin, np.sin)],
)
def test_dense(activation, function):
    def model(x):
        with ppl.plate("data", x) as x:
            return ppl.dense("d", x, 5, activation=activation)

    t = trace(model, x=X)
    params = starts(t)
    assert {n: p.shape for n, p in params.items()} == {"d.weight": (3, 5), "d.bias": (5,)}
    (out,) = evaluate([t.returned.node], Env(params=params, inputs={"x": X}, sizes={"data": 4}))
    np.testing.assert_allclose(out, function(X @ params["d.weight"] + params["d.bias"]))


def test_dense_options_and_errors():
    t = trace(lambda: [ppl.dense("d", np.ones((2, 3)), 4, bias=False, shared=True) for _ in range(2)])
    assert list(t.params) == ["d.weight"] and t.returned[0].shape == (2, 4)
    with pytest.raises(ShapeError, match="dense 'd': x is a scalar"):
        trace(lambda: ppl.dense("d", 1.0, 4))
    with pytest.raises(ModelError, match="unknown activation 'swish'; there are tanh"):
        trace(lambda: ppl.dense("d", np.ones(3), 4, activation="swish"))
    with pytest.raises(ModelError, match=r"param 'd.weight' is declared twice"):
        trace(lambda: [ppl.dense("d", np.ones(3), 4) for _ in range(2)])


def test_chain_names():
    def model(x):
        with ppl.plate("data", x) as x:
            return layers.chain(
                x,
                layers.Dense(7, "tanh"),
                layers.GaussianUnits(4),
                layers.CategoricalUnits(2, 3),
                layers.BinaryUnits(5, estimator="pin"),
                name="net",
            )

    t = trace(model, x=X)
    assert list(t.sites) == ["net/1", "net/2", "net/3"]
    assert [s.dist.event_shape for s in t.sites.values()] == [(4,), (2, 3), (5,)]
    assert list(t.params)[:5] == ["net/0.weight", "net/0.bias", "net/1.weight", "net/1.bias", "net/1.scale"]
    assert t.params["net/3.weight"].shape == (6, 5) and t.sites["net/3"].estimator == "pin"
    assert t.sites["net/3"].where.startswith("test_layers.py") and t.returned.shape == (5,)


def test_belief_network_and_its_guide():
    def model(x):
        with ppl.plate("data", x) as x:
            layers.chain(None, layers.BinaryUnits(2), layers.BinaryUnits(4), layers.BinaryUnits(3), obs=x)

    def guide(x):
        with ppl.plate("data", x) as x:
            up = (layers.BinaryUnits(4), layers.BinaryUnits(2))
            layers.chain(x, *up, names=("layer/1", "layer/0"), params="up")

    x = (X > 0).astype(float)
    t = ppl.lang.trace_model(guide, {"x": x})
    ppl.lang.trace_model(model, {"x": x}, into=t, substitute=t.sites)
    assert list(t.scored) == ["layer/0", "layer/1"] and t.sites["layer/2"].kind is SiteKind.OBSERVED
    assert "up/0.weight" in t.params and "layer/0.bias" in t.params and "layer/0.weight" not in t.params


@pytest.mark.parametrize(
    "noise, cdf",
    [("logistic", sp.expit), ("normal", sp.ndtr), ("uniform", lambda a: np.clip((a + 1) / 2, 0, 1))],
)
def test_binary_units(noise, cdf):
    t = trace(lambda: layers.chain(X[0], layers.BinaryUnits(6, noise=noise)))
    site, params = t.sites["layer/0"], starts(t)
    assert site.unit_noise == noise
    (mean,) = evaluate([site.dist.node_mean()], Env(params=params))
    np.testing.assert_allclose(mean, cdf(X[0] @ params["layer/0.weight"] + params["layer/0.bias"]))


def test_gaussian_scales():
    def model():
        for scale in ("learned", "affine", 0.5):
            layers.chain(X[0], layers.GaussianUnits(2, scale=scale), name=f"{scale}")

    t = trace(model)
    assert t.params["learned/0.scale"].constraint == "positive"
    assert "affine/0.log_scale.weight" in t.params
    (scale,) = evaluate([t.sites["0.5/0"].dist.params["scale"]], Env())
    np.testing.assert_array_equal(scale, [0.5, 0.5])


def test_layer_errors():
    with pytest.raises(ModelError, match="noise 'cauchy' is not one of logistic, normal, uniform"):
        trace(lambda: layers.chain(X[0], layers.BinaryUnits(2, noise="cauchy")))
    with pytest.raises(ModelError, match="scale is 'learned', 'affine' or a number"):
        trace(lambda: layers.chain(X[0], layers.GaussianUnits(2, scale="wide")))
    with pytest.raises(ModelError, match="deterministic and cannot be observed"):
        trace(lambda: layers.chain(X[0], layers.Dense(2), obs=np.zeros(2)))
    with pytest.raises(ModelError, match="0 layers"):
        trace(lambda: layers.chain(X[0]))
    with pytest.raises(ModelError, match="1 layers, names"):
        trace(lambda: layers.chain(X[0], layers.Dense(2), names=("a", "b")))
