"""Natural gradients: one step of rate 1 solves conjugate models; what is refused, and why."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl.distributions import Bernoulli, Beta, Dirichlet, Gamma, Normal, VonMises, kl_divergence
from ppl.distributions.families.conjugate import posterior
from ppl.errors import OptionError
from ppl.estimators import Analytic, Enumerate
from ppl.ir.differentiate import gradient
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.state import Layout

X = np.random.default_rng(0).normal(1.3, 0.7, size=(40, 3))


@ppl.model
def normal_model(x):
    z = ppl.sample("z", Normal(np.array([0.0, 0.5, -0.2]), 2.0))
    with ppl.plate("data", x) as x:
        ppl.sample("x", Normal(z, 0.7), obs=x)


@ppl.model
def normal_guide(x):
    loc, scale = ppl.param("loc", np.zeros(3)), ppl.param("scale", np.ones(3), constraint="positive")
    ppl.sample("z", Normal(loc, scale), estimator=Analytic())


def test_one_step_of_rate_one_solves_a_normal_model():
    program = ppl.compile(ppl.elbo(normal_model, normal_guide), data=X, dtype="float64")
    state = program.init(0)
    optimizer = ppl.optim.NaturalGradient(program, data=(X,))
    state, _ = program.update(state, X, optimizer=optimizer)
    wanted = posterior(Normal(np.array([0.0, 0.5, -0.2]), 2.0), Normal, X, scale=0.7)
    found = program.params(state)
    np.testing.assert_allclose(found["loc"], wanted.mean, rtol=1e-10)
    np.testing.assert_allclose(np.square(found["scale"]), wanted.variance, rtol=1e-10)
    again, _ = program.update(state, X, optimizer=optimizer)
    np.testing.assert_allclose(program.params(again)["loc"], found["loc"], rtol=1e-10)


def test_beside_another_optimizer_and_in_fit():
    program = ppl.compile(ppl.elbo(normal_model, normal_guide), data=X)
    groups = {"*": ppl.optim.NaturalGradient(program, lr=0.5, data=(X,))}
    fit = ppl.fit(program, X, steps=30, optimizer=groups, progress=False)
    wanted = posterior(Normal(np.array([0.0, 0.5, -0.2]), 2.0), Normal, X, scale=0.7)
    np.testing.assert_allclose(fit.params["loc"], wanted.mean, rtol=1e-5)
    assert fit.params["loc"].dtype == np.float32


def test_one_step_solves_a_binary_latent():
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(0.3))
        ppl.sample("x", Normal(2.0 * b, 1.0), obs=np.array(0.4))

    @ppl.model
    def guide():
        ppl.sample("b", Bernoulli(logits=ppl.param("logit", -1.0)), estimator=Enumerate())

    program = ppl.compile(ppl.elbo(model, guide), dtype="float64")
    state, _ = program.update(program.init(0), optimizer=ppl.optim.NaturalGradient(program))
    odds = np.log(0.3 / 0.7) + (0.4**2 - 1.6**2) / 2
    assert program.params(state)["logit"] == pytest.approx(odds, rel=1e-10)


@pytest.mark.parametrize(
    ("cls", "start", "target"),
    [
        (Gamma, {"concentration": [2.0, 0.6], "rate": [1.0, 3.0]}, {"concentration": [7.5, 2.0], "rate": [0.3, 9.0]}),
        (Beta, {"concentration1": [1.0], "concentration0": [2.0]}, {"concentration1": [31.0], "concentration0": [5.0]}),
        (Dirichlet, {"concentration": [1.0, 2.0, 0.5]}, {"concentration": [9.0, 3.0, 1.5]}),
        (VonMises, {"loc": [0.4], "concentration": [2.0]}, {"loc": [-2.0], "concentration": [5.0]}),
    ],
)
def test_one_step_of_rate_one_finds_the_posterior_by_its_divergence(cls, start, target):
    """A conjugate model's loss is KL(q || posterior) up to a constant: its exact gradient, one step."""

    @ppl.model
    def model():
        values = {
            name: ppl.param(name, np.array(v), constraint=None if name == "loc" else "positive")
            for name, v in start.items()
        }
        ppl.cost("any", 0.0 * np.sum(ppl.sample("z", cls(**values))))

    program = ppl.compile(model, dtype="float64")
    trace = program.prepare().trace
    divergence = kl_divergence(trace.sites["z"].dist, cls(**target))
    layout = Layout(tuple((name, p.raw_shape) for name, p in trace.params.items()))
    raw = {k: np.array(v) if k == "loc" else np.log(v) for k, v in start.items()}
    slopes = evaluate(gradient(divergence, [p.node for p in trace.params.values()]), Env(params=raw))
    grads = layout.join(dict(zip(trace.params, slopes, strict=True)), np.float64)
    optimizer = ppl.optim.NaturalGradient(program)
    moved, _ = optimizer.apply(layout.join(raw, np.float64), grads, None, layout, 0, scale=1e-3)
    for name, value in layout.split(moved).items():
        np.testing.assert_allclose(value if name == "loc" else np.exp(value), target[name], rtol=1e-8)


def test_a_step_that_would_leave_the_family_is_halved():
    program = ppl.compile(ppl.elbo(normal_model, normal_guide), data=X, dtype="float64")
    layout = Layout((("loc", (3,)), ("scale", (3,))))
    flat = np.zeros(6)
    moved, _ = ppl.optim.NaturalGradient(program, data=(X,)).apply(flat, np.full(6, -1e6), None, layout, 0)
    assert np.isfinite(moved).all()


def compiled(guide):
    @ppl.model
    def model():
        ppl.sample("z", Normal(0.0, 1.0))

    return ppl.compile(ppl.elbo(model, guide))


def test_refusals():
    @ppl.model
    def computed():
        ppl.sample("z", Normal(2.0 * ppl.param("m", 0.0), ppl.param("s", 1.0, constraint="positive")))

    @ppl.model
    def other():
        ppl.sample("z", ppl.Laplace(ppl.param("m", 0.0), ppl.param("s", 1.0, constraint="positive")))

    with pytest.raises(OptionError, match="'z' has a loc that is not itself"):
        ppl.optim.NaturalGradient(compiled(computed), nodes=["z"])
    with pytest.raises(OptionError, match="'z' is a Laplace"):
        ppl.optim.NaturalGradient(compiled(other), nodes=["z"])
    with pytest.raises(OptionError, match="no node that fits"):
        ppl.optim.NaturalGradient(compiled(other))
    with pytest.raises(OptionError, match="no random node named"):
        ppl.optim.NaturalGradient(compiled(other), nodes=["y"])

    @ppl.model
    def more():
        z = ppl.sample("z", Normal(ppl.param("m", 0.0), ppl.param("s", 1.0, constraint="positive")))
        ppl.sample("a", Normal(ppl.param("w", 1.0) * z, 1.0), aux=True)

    program = compiled(more)
    with pytest.raises(OptionError, match=r"not \['w'\]"):
        program.update(program.init(0), optimizer=ppl.optim.NaturalGradient(program))
