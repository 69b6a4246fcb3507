"""Models with nodes of loops that are summed out, for tests that compare them with the same models written out."""

import numpy as np

import ppl
from ppl import Bernoulli, Categorical, Normal
from ppl.estimators import Enumerate
from tests.time.models import switching, switching_guide

CHAINS = {}
RNG = np.random.default_rng(1)
Y = RNG.normal(size=(3, 4)) * 1.5
TABLE = RNG.normal(size=(3, 3))
LEFT_RIGHT = np.array([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])


def hidden(transitions, name, **marks):
    """A hidden Markov model with three states."""

    @ppl.model
    def model(y):
        table, mean = transitions(), ppl.param("mean", [-1.0, 0.0, 1.5])
        with ppl.plate("data", y) as y:

            def step(z, yt):
                z = ppl.sample("z", Categorical(**{marks.get("by", "logits"): table[z]}))
                ppl.sample("y", Normal(mean[z], 0.7), obs=yt)
                return z, None

            ppl.scan(step, 0, y)

    CHAINS[name] = (ppl.likelihood(model, marginalize=["z"]), (Y,), {})


hidden(lambda: ppl.param("table", TABLE), "dense")
hidden(lambda: ppl.constant(LEFT_RIGHT), "left_right", by="probs")
hidden(lambda: ppl.param("table", (LEFT_RIGHT + 0.1) / 1.3, constraint="simplex"), "simplex", by="probs")


@ppl.model
def reads_both(y):
    """The observation reads this state and the one before; inputs move the transitions; some entries are missing."""
    w = ppl.param("w", [0.4, -0.8])
    with ppl.plate("data", y) as y:

        def step(c, yt):
            z, x = c
            new = ppl.sample("z", Bernoulli(logits=w[0] * z + w[1] * x))
            ppl.sample("y", Normal(new + 0.5 * z * x, 0.7), obs=yt, obs_mask=yt > -1.0)
            return (new, yt), None

        ppl.scan(step, (0.0, 0.3), y)


CHAINS["reads_both"] = (ppl.likelihood(reads_both, marginalize=["z"]), (Y,), {})


@ppl.model
def factorial(y):
    """Two chains under one observation."""
    a, b = ppl.param("a", 0.8), ppl.param("b", -0.6)
    with ppl.plate("data", y) as y:

        def step(c, yt):
            z, u = c
            z, u = ppl.sample("z", Bernoulli(logits=a * z)), ppl.sample("u", Bernoulli(logits=b * u - 0.2))
            ppl.sample("y", Normal(z + 2.0 * u, 0.7), obs=yt)
            return (z, u), None

        ppl.scan(step, (0.0, 0.0), y)


CHAINS["factorial"] = (ppl.likelihood(factorial, marginalize=["z", "u"]), (Y,), {})


@ppl.model
def expected():
    """Expectations of costs over a chain; a drawn node beside it has a score function."""
    a, p = ppl.param("a", [0.3, -0.2]), ppl.param("p", 0.4)

    def step(c, t):
        z, x = c
        n = ppl.sample("z", Bernoulli(logits=a[0] * z + a[1] * x))
        b = ppl.sample("b", Bernoulli(logits=p * x))
        ppl.cost("c", (n + 0.5 * z) ** 2 * (1 + 0.1 * t) + x * n)
        return (n, 0.5 * x + b), None

    ppl.scan(step, (1.0, 1.0), length=5)


CHAINS["expected"] = (expected, (), {"estimators": {"z": Enumerate(), "b": ppl.estimators.ScoreFunction()}})


@ppl.model
def reversed_chain():
    """A chain that runs backwards."""
    a = ppl.param("a", [0.3, -0.2])

    def step(z, x):
        n = ppl.sample("z", Categorical(logits=np.array([0.0, 1.0, 0.5]) * (a[0] * z + a[1] * x)))
        ppl.cost("c", (n - 0.5 * z) ** 2 * x)
        return n, None

    ppl.scan(step, 1, np.array([0.3, 1.0, 0.7]), reverse=True)


CHAINS["reversed"] = (reversed_chain, (), {"estimators": Enumerate()})

for kl in ("auto", "sampled"):
    CHAINS[f"guide_{kl}"] = (ppl.elbo(switching, switching_guide, kl=kl), (Y,), {"estimators": Enumerate()})
