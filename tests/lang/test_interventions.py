"""`ppl.condition` and `ppl.do` against the same models written by hand, and against enumeration."""

import pickle

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal
from ppl.errors import DataError, ModelError, ShapeError

P_CLOUDY, P_SPRINKLER, P_RAIN = 0.5, np.array([0.5, 0.1]), np.array([0.2, 0.8])
P_WET = np.array([[0.0, 0.9], [0.9, 0.99]])


@ppl.model
def sprinkler():
    cloudy = ppl.sample("cloudy", Categorical(probs=[1 - P_CLOUDY, P_CLOUDY]))
    on = ppl.sample("sprinkler", Bernoulli(probs=ppl.constant(P_SPRINKLER)[cloudy]))
    rain = ppl.sample("rain", Categorical(probs=ppl.constant(np.stack([1 - P_RAIN, P_RAIN], 1))[cloudy]))
    ppl.sample("wet", Bernoulli(probs=ppl.constant(P_WET)[on.astype(int), rain]))


def table():
    """p(cloudy, sprinkler, rain, wet)."""
    c, s, r, w = np.indices((2, 2, 2, 2))
    bit = lambda p, x: np.where(x == 1, p, 1 - p)  # noqa: E731
    return bit(P_CLOUDY, c) * bit(P_SPRINKLER[c], s) * bit(P_RAIN[c], r) * bit(P_WET[s, r], w)


LATENTS = ("cloudy", "sprinkler", "rain")


def evidence(model, marginalize=LATENTS):
    program = ppl.compile(ppl.likelihood(model, marginalize=marginalize), dtype="float64")
    return np.exp(-program.value(program.init(0)))


def test_evidence_of_a_bayesian_network():
    joint = table()
    assert evidence(ppl.condition(sprinkler, {"wet": 1})) == pytest.approx(joint[..., 1].sum(), rel=1e-12)
    both = ppl.condition(ppl.condition(sprinkler, {"wet": 1}), {"rain": 0})
    assert evidence(both, ("cloudy", "sprinkler")) == pytest.approx(joint[:, :, 0, 1].sum(), rel=1e-12)


def test_do_cuts_a_site_from_its_parents():
    seen = ppl.condition(ppl.do(sprinkler, {"rain": 1}), {"wet": 1, "sprinkler": 1})
    c, s = np.indices((2, 2))
    cut = np.where(c == 1, P_CLOUDY, 1 - P_CLOUDY) * np.where(s == 1, P_SPRINKLER[c], 1 - P_SPRINKLER[c])
    assert evidence(seen, ("cloudy",)) == pytest.approx(cut[:, 1].sum() * P_WET[1, 1], rel=1e-12)
    program = ppl.compile(ppl.predictive(ppl.do(sprinkler, {"rain": 1})))
    drawn = program.predict(program.init(0), particles=20_000, seed=0)
    assert (drawn["rain"] == 1).all()
    assert drawn["cloudy"].mean() == pytest.approx(P_CLOUDY, abs=5 * np.sqrt(0.25 / 20_000))


def test_do_on_an_observation_observes_nothing():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            m = ppl.sample("m", Normal(ppl.param("a", 1.0), 1.0), obs=x)
            ppl.sample("y", Normal(m, 1.0), obs=2.0)

    x = np.array([0.3, -1.0])
    program = ppl.compile(ppl.likelihood(ppl.do(model, {"m": 0.5})), dtype="float64", data=x)
    expected = 2 * (0.5 * 1.5**2 + 0.5 * np.log(2 * np.pi))
    assert program.value(program.init(0), x) == pytest.approx(expected, rel=1e-12)


@ppl.model
def rows():
    """Plates, a loop and an event."""
    with ppl.plate("rows", 3):
        scale = ppl.sample("scale", ppl.Gamma(np.full(2, 2.0), 1.0))

        def step(x, t):
            x = ppl.sample("x", Normal(x, scale))
            return x, None

        ppl.scan(step, np.zeros(2), length=4)


@pytest.mark.parametrize("shape", [(2,), (4, 2), (3, 4, 2)])
def test_shapes_of_values(shape):
    value = np.random.default_rng(0).normal(size=shape)
    scale = np.random.default_rng(1).gamma(2.0, size=(3, 2))
    model = ppl.condition(rows, {"x": value, "scale": scale})
    program = ppl.compile(ppl.likelihood(model), dtype="float64")
    full = np.broadcast_to(value, (3, 4, 2))
    steps = np.diff(np.concatenate([np.zeros((3, 1, 2)), full], 1), axis=1) / scale[:, None]
    expected = 0.5 * (steps**2).sum() + 3 * 4 * np.log(2 * np.pi) + 4 * np.log(scale).sum()
    expected -= (np.log(scale) - scale).sum()
    assert program.value(program.init(0)) == pytest.approx(expected, rel=1e-10)
    drawn = ppl.compile(ppl.predictive(ppl.do(rows, {"x": value})), dtype="float64")
    found = drawn.sample(drawn.init(0))["x"]
    np.testing.assert_allclose(found, full, rtol=1e-12)


def test_a_scope_prefixes_the_names():
    @ppl.model
    def outer():
        with ppl.scope("inner"):
            ppl.condition(sprinkler, {"wet": 1})()

    names = tuple(f"inner/{name}" for name in LATENTS)
    assert evidence(outer, names) == pytest.approx(table()[..., 1].sum(), rel=1e-12)


def test_static_arguments_are_bound_and_pickles_keep_the_values():
    @ppl.model
    def model(*, loc=0.0):
        ppl.sample("x", Normal(loc, 1.0))

    bound = ppl.condition(model, {"x": 1.0}).bind(loc=1.0)
    program = ppl.compile(ppl.likelihood(bound), dtype="float64")
    assert program.value(program.init(0)) == pytest.approx(0.5 * np.log(2 * np.pi))
    again = pickle.loads(pickle.dumps(ppl.condition(sprinkler, {"wet": 1})))
    assert evidence(again) == pytest.approx(table()[..., 1].sum())


def test_refusals():
    def compiled(model, objective=ppl.likelihood):
        return ppl.compile(objective(model))

    with pytest.raises(ModelError, match=r"condition: model 'sprinkler' has no site named \['grass'\]; it has: cloudy"):
        compiled(ppl.condition(sprinkler, {"grass": 1}))
    with pytest.raises(ModelError, match="do: 'wet' of model 'sprinkler' is given a value already by condition"):
        compiled(ppl.do(ppl.condition(sprinkler, {"wet": 1}), {"wet": 1}))
    with pytest.raises(DataError, match="obs is 2"):
        compiled(ppl.condition(sprinkler, {"wet": 2}))
    with pytest.raises(ShapeError, match=r"the value of 'rain' has shape \(2,\); it can have \(\)"):
        compiled(ppl.condition(sprinkler, {"rain": [0, 1]}))
    with pytest.raises(ModelError, match=r"of integers, its value 0\.5"):
        compiled(ppl.do(sprinkler, {"rain": 0.5}), ppl.predictive)
    with pytest.raises(ModelError, match="observes integers, obs is float"):
        compiled(ppl.condition(sprinkler, {"rain": 0.5}))
    with pytest.raises(ModelError, match="is a function decorated"):
        ppl.condition(3, {"x": 1})
    with pytest.raises(ModelError, match="values"):
        ppl.do(sprinkler, 3)

    @ppl.model
    def data(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(0.0, 1.0))
            ppl.sample("x", Normal(0.0, 1.0), obs=x)

    with pytest.raises(ModelError, match="node 'x' is observed already"):
        ppl.compile(ppl.likelihood(ppl.condition(data, {"x": 0.0})), data=np.zeros(3))
    with pytest.raises(ModelError, match="whose rows are known at run time only"):
        ppl.compile(ppl.likelihood(ppl.condition(data, {"z": np.zeros(3)})), data=np.zeros(3))
