"""Sites and costs: what is recorded, and that each error names node, shapes and the user's line."""

import re

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Categorical, Normal
from ppl.errors import DataError, ModelError, ShapeError
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang import trace_model
from ppl.lang.trace import SiteKind
from tests.lang.helpers import trace

pytestmark = pytest.mark.tiny


def raises(kind, message, function, **arguments):
    """`function` cannot be traced; the message matches and names a line of this file."""
    with pytest.raises(kind, match=message) as caught:
        trace(function, **arguments)
    assert re.search(r"at test_sites\.py:\d+: \S", str(caught.value)), caught.value


def test_toy_trace():
    def toy():
        logit = ppl.param("logit", 0.0)
        b = ppl.sample("b", Bernoulli(logits=logit), estimator="pin")
        ppl.cost("loss", (b - 0.499) ** 2)

    t = trace(toy)
    site = t.sites["b"]
    assert (site.kind, site.estimator, site.axes) == (SiteKind.RANDOM, "pin", ())
    assert site.node.op == "sample" and site.node.attrs["site"] is site
    assert site.where.endswith('b = ppl.sample("b", Bernoulli(logits=logit), estimator="pin")')
    assert site.where.startswith("test_sites.py:")
    assert t.costs["loss"].node.type.shape == () and t.random_sites() == [site]


def test_observed_site():
    def model(x, keep):
        with ppl.plate("data", x, keep) as (x, keep):
            return ppl.sample("x", Normal(np.zeros(2), 1.0), obs=x, obs_mask=keep)

    x, keep = np.array([[1.0, np.nan], [3.0, 4.0]]), np.array([[True, False], [True, True]])
    t = trace(model, x=x, keep=keep)
    site = t.sites["x"]
    assert site.kind is SiteKind.OBSERVED and [a.name for a in site.axes] == ["data"]
    log_prob = site.dist.mask(site.mask).node_log_prob(site.node)
    env = Env(inputs={"x": x, "keep": keep}, sizes={"data": 2})
    value, raw, out = evaluate([site.node, site.observed, log_prob], env)
    np.testing.assert_array_equal(value, [[1.0, 0.0], [3.0, 4.0]])
    np.testing.assert_array_equal(raw, x)
    norm = 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(out, [-0.5 - norm, -12.5 - 2 * norm])


def test_mask_fillers_lie_in_the_support():
    dists = [
        ppl.LogNormal(np.zeros(3)),
        ppl.Exponential(np.ones(3)),
        ppl.Uniform(np.full(3, 2.0), 5.0),
        Bernoulli(np.full(3, 0.5)),
        Categorical(np.full((3, 4), 0.25)),
        ppl.OneHotCategorical(np.full((3, 4), 0.25)),
        ppl.RelaxedOneHotCategorical(0.5, np.full((3, 4), 0.25)),
        ppl.RelaxedBernoulli(0.5, np.full(3, 0.25)),
    ]

    def model():
        for i, d in enumerate(dists):
            obs = np.full(d.event_shape, 7 if d.dtype == "int" else np.nan)
            ppl.sample(f"x{i}", d, obs=obs, obs_mask=np.zeros(d.batch_of_units, bool))

    for site in trace(model).sites.values():
        (out,) = evaluate([site.dist.unit_log_prob(site.node)], Env())
        assert np.all(np.isfinite(out)), site.dist


def test_observation_casts_and_checks():
    def good():
        ppl.sample("int as float", Normal(np.zeros(2), 1.0), obs=np.array([1, 2]))
        ppl.sample("whole floats", Categorical(np.ones((2, 3)) / 3), obs=np.array([1.0, 2.0]))
        ppl.sample("bool", Bernoulli(np.full(2, 0.5)), obs=np.array([True, False]))

    dtypes = [s.node.type.dtype for s in trace(good).sites.values()]
    assert dtypes == ["float", "int", "float"]

    def shape():
        ppl.sample("x", Normal(np.zeros(2), 1.0), obs=np.zeros(3))

    raises(ShapeError, r"node 'x': obs has event shape \(3,\), the distribution \(2,\)", shape)

    def kind(x):
        ppl.sample("x", Categorical(np.ones((2, 3)) / 3), obs=x)

    raises(ModelError, "node 'x': Categorical observes integers, obs is float", kind, x=np.zeros(2))

    def mask():
        ppl.sample("x", Normal(np.zeros(2), 1.0), obs=np.zeros(2), obs_mask=np.ones(3, bool))

    raises(ShapeError, r"node 'x': obs_mask has shape \(3,\), the units \(2,\)", mask)
    raises(ModelError, "obs_mask without obs", lambda: ppl.sample("x", Normal(), obs_mask=True))
    raises(DataError, "node 'x': obs has NaN", lambda: ppl.sample("x", Normal(), obs=np.array(np.nan)))
    raises(ModelError, "is a distribution, not 3", lambda: ppl.sample("x", 3))
    raises(ModelError, "non-empty string, not 3", lambda: ppl.sample(3, Normal()))


def test_a_node_has_units():
    def none():
        ppl.sample("b", Bernoulli(logits=ppl.param("logits", np.zeros((2, 0)))))

    raises(ShapeError, r"node 'b' has no units: .* event shape \(2, 0\)", none)


def test_duplicate_names_cite_both_lines():
    def twice():
        ppl.sample("z", Normal())
        ppl.cost("z", 1.0)

    with pytest.raises(ModelError) as caught:
        trace(twice)
    text = str(caught.value)
    assert text.startswith("two nodes are called 'z'")
    assert 'ppl.sample("z", Normal())' in text and 'ppl.cost("z", 1.0)' in text

    def deterministic():
        ppl.deterministic("d", 1.0)
        ppl.deterministic("d", 2.0)

    raises(ModelError, "two nodes are called 'd'", deterministic)


def test_cost():
    def vector():
        ppl.cost("loss", ppl.sample("z", Normal(np.zeros(3), 1.0)))

    raises(ShapeError, r"cost 'loss' must be a scalar per row, its event shape is \(3,\)", vector)

    def in_plate(x):
        with ppl.plate("data", x):
            ppl.cost("one", 1.0)
            ppl.cost("count", np.sum(np.ones(3) > 0))

    t = trace(in_plate, x=np.zeros(4))
    assert [c.node.type.dtype for c in t.costs.values()] == ["float", "float"]
    assert [a.name for a in t.costs["one"].node.type.axes] == ["data"] == [a.name for a in t.costs["one"].axes]


def test_deterministic_and_stop_gradient():
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.deterministic("twice", 2 * ppl.stop_gradient(x))
            ppl.deterministic("seven", 7.0)

    t = trace(model, x=np.zeros(4))
    node = t.sites["twice"].node
    stops = [a for a in node.args if a.op == "stop"]
    assert t.sites["twice"].kind is SiteKind.DETERMINISTIC and stops[0].attrs["tag"] == "user"
    assert [a.name for a in t.sites["seven"].node.type.axes] == ["data"]


def test_symbolic_values_are_not_numbers():
    def use(action):
        def model():
            z = ppl.sample("z", Normal(np.zeros(2), 1.0))
            action(z, z[0])

        return model

    def branch(v, s):
        return 1 if s > 0 else 2

    def assign(v, s):
        v[0] = 1.0

    def add_in_place(v, s):
        out = np.zeros(2)
        out += v

    raises(ModelError, "np.where", use(branch))
    raises(ModelError, "np.maximum", use(lambda v, s: max(s, 0.0)))
    raises(ModelError, "np.logical_and", use(lambda v, s: s > 0 and s < 1))
    raises(ModelError, "instead of math.exp", use(lambda v, s: __import__("math").exp(s)))
    raises(ModelError, "astype", use(lambda v, s: int(s)))
    raises(ModelError, "range", use(lambda v, s: range(s)))
    raises(ModelError, "ppl.constant", use(lambda v, s: np.zeros(3)[s]))
    raises(ModelError, "np.stack", use(lambda v, s: np.array([v, v])))
    raises(ModelError, "np.stack", use(lambda v, s: np.array([s, 1.0])))
    raises(ModelError, "np.stack", use(lambda v, s: np.asarray(v)))
    raises(ModelError, "np.floor", use(lambda v, s: round(s)))
    raises(ModelError, "np.any", use(lambda v, s: 1.0 in v))
    raises(ModelError, "real", use(lambda v, s: complex(s)))
    raises(ModelError, "immutable", use(assign))
    raises(ModelError, "drop out=", use(add_in_place))
    raises(ModelError, "event axis", use(lambda v, s: list(s)))


def test_outside_a_model():
    for call in (
        lambda: ppl.sample("z", Normal()),
        lambda: ppl.param("w", 1.0),
        lambda: ppl.cost("c", 1.0),
        lambda: ppl.deterministic("d", 1.0),
        lambda: ppl.collect(1.0, "p"),
        lambda: ppl.plate("p", 3).__enter__(),
        lambda: ppl.scope("s").__enter__(),
        lambda: ppl.external(np.sin, 1.0),
    ):
        with pytest.raises(ModelError, match=r"outside a model[\s\S]*at test_sites.py"):
            call()


# --- a model on its guide's values


def guide(x):
    with ppl.plate("data", x) as x:
        ppl.sample("z", Normal(x, 1.0))


def model(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.zeros(3), 2.0))
        w = ppl.sample("w", Normal(z, 1.0))
        return ppl.sample("x", Normal(w, 1.0), obs=x)


def test_substitute_scores_latents():
    x = np.zeros((5, 3))
    t = trace_model(guide, {"x": x}, allow_obs=False)
    q = t.sites["z"]
    trace_model(model, {"x": x}, into=t, substitute=t.sites)
    p = t.scored["z"]
    assert t.sites["z"] is q and p.kind is SiteKind.SCORED and p.node is q.node
    assert p.dist.params["scale"] is not q.dist.params["scale"]
    assert t.sites["w"].kind is SiteKind.RANDOM and t.sites["w"].dist.params["loc"] is q.node
    assert list(t.inputs) == ["x"] and t.sites["x"].observed is t.inputs["x"].node


def test_substitute_mismatches():
    def check(kind, message, model):
        t = trace_model(guide, {"x": np.zeros((5, 3))})
        with pytest.raises(kind, match=message) as caught:
            trace_model(model, {"x": np.zeros((5, 3))}, into=t, substitute=t.sites)
        assert "guide at test_sites.py" in str(caught.value) and "model at test_sites.py" in str(caught.value)

    def shape(x):
        with ppl.plate("data", x):
            ppl.sample("z", Normal())

    def plates(x):
        ppl.sample("z", Normal(np.zeros(3), 1.0))

    def dtype(x):
        with ppl.plate("data", x):
            ppl.sample("z", Categorical(np.ones((3, 2)) / 2))

    def observed(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(np.zeros(3), 1.0), obs=x)

    check(ShapeError, r"float of event shape \(3,\) in the guide, float of \(\) in the model", shape)
    check(ShapeError, "plates data in the guide, none in the model", plates)
    check(ShapeError, r"float of event shape \(3,\) in the guide, int of \(3,\)", dtype)
    check(ModelError, "observed in the model and sampled in the guide", observed)


def test_guides_do_not_observe():
    with pytest.raises(ModelError, match="a guide has no observations"):
        trace_model(model, {"x": np.zeros((5, 3))}, allow_obs=False)
