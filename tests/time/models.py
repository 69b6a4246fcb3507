"""Models with loops over time: every feature once, for tests that compare them with the same models written out."""

import numpy as np

import ppl
from ppl import Bernoulli, Gamma, Normal
from ppl.estimators import Enumerate, Rebar, Relaxed, ScoreFunction, StickingTheLanding

CASES = {}
RNG = np.random.default_rng(0)
Y = RNG.normal(size=(7, 4))


def case(data=(), **options):
    """Register a model under its name, with data and options of `ppl.compile`."""

    def register(model):
        CASES[model.name] = (model, data, options)
        return model

    return register


@case()
@ppl.model
def body_costs():
    p = ppl.param("p", 0.3)
    q = ppl.param("q", [0.1, 0.2, 0.3, 0.4])

    def step(x, qt):
        b = ppl.sample("b", Bernoulli(logits=p * x + qt))
        ppl.cost("c", (x + b) ** 2)
        x = x + b - 0.3
        ppl.cost("d", x * b)
        return x, b * 2.0

    x, ys = ppl.scan(step, 0.5, q)
    ppl.cost("last", x * np.sum(ys))


@case()
@ppl.model
def normal_path():
    a = ppl.param("a", 0.7)
    s = ppl.param("s", 0.5, constraint="positive")

    def step(x, t):
        z = ppl.sample("z", Normal(a * x, s))
        ppl.cost("c", z * z)
        return np.tanh(z), z

    x, zs = ppl.scan(step, 1.0, length=4)
    ppl.cost("end", np.exp(0.3 * x) + np.sum(zs**2))


@case(estimators=ScoreFunction())
@ppl.model
def normal_score():
    a = ppl.param("a", 0.7)
    s = ppl.param("s", 0.5, constraint="positive")

    def step(x, t):
        z = ppl.sample("z", Normal(a * x, s))
        ppl.cost("c", z * z)
        return np.tanh(z), z

    x, zs = ppl.scan(step, 1.0, length=4)
    ppl.cost("end", np.exp(0.3 * x) + np.sum(zs**2))


@case()
@ppl.model
def mixed():
    a = ppl.param("a", 0.7)
    p = ppl.param("p", 0.2)

    def step(c, t):
        x, k = c
        b = ppl.sample("b", Bernoulli(logits=p * x))
        z = ppl.sample("z", Normal(a * x + b, 0.5))
        ppl.cost("c", z * z + 0.1 * b * k)
        return (z, k + b), None

    (x, k), _ = ppl.scan(step, (1.0, 0.0), length=3)
    ppl.cost("end", x * k)


@case()
@ppl.model
def two_chains():
    p = ppl.param("p", 0.2)
    q = ppl.param("q", -0.3)

    def step(c, t):
        x, y = c
        b = ppl.sample("b", Bernoulli(logits=p * x))
        d = ppl.sample("d", Bernoulli(logits=q * y))
        ppl.cost("cx", (x + b) ** 2)
        ppl.cost("cy", (y - d) ** 2)
        return (x + b, y + d), None

    ppl.scan(step, (1.0, 2.0), length=3)


@case(data=(Y,))
@ppl.model
def rows(y):
    a = ppl.param("a", 0.7)
    p = ppl.param("p", 0.2)
    with ppl.plate("data", y) as y:

        def step(x, yt):
            b = ppl.sample("b", Bernoulli(logits=p * x))
            z = ppl.sample("z", Normal(a * x + b, 1.0))
            ppl.cost("c", (z - yt) ** 2)
            return z, b

        x, bs = ppl.scan(step, 0.0, y)
        ppl.cost("n", np.sum(bs) * x)


@case()
@ppl.model
def inner_plate():
    p = ppl.param("p", 0.2)
    m = ppl.param("m", [0.1, 0.5, -0.4])

    def step(x, t):
        with ppl.plate("k", m) as mk:
            b = ppl.sample("b", Bernoulli(logits=p * x + mk))
            ppl.cost("ck", (b - x) ** 2)
        n = np.sum(ppl.collect(b, "k"))
        return x * 0.5 + n, n

    x, _ns = ppl.scan(step, 1.0, length=3)
    ppl.cost("end", x * x)


@case()
@ppl.model
def nested():
    p = ppl.param("p", 0.2)

    def outer(x, s):
        d = ppl.sample("d", Bernoulli(logits=-p * x))

        def inner(y, t):
            b = ppl.sample("b", Bernoulli(logits=p * y + d))
            ppl.cost("ci", (y + b) ** 2)
            return y + b - 0.4, b

        y, bs = ppl.scan(inner, x, length=2, name="inner")
        ppl.cost("co", y * np.sum(bs))
        return y - d, y

    x, ys = ppl.scan(outer, 0.5, length=3)
    ppl.cost("end", x * np.sum(ys))


@case()
@ppl.model
def nested_path():
    p = ppl.param("p", 0.2)

    def outer(x, s):
        def inner(y, t):
            z = ppl.sample("z", Normal(p * y + 0.1 * s, 1.0))
            ppl.cost("ci", np.sin(z))
            return 0.5 * y + z, z

        y, zs = ppl.scan(inner, x, length=2, name="inner")
        return y * 0.3, np.sum(zs**2)

    x, ys = ppl.scan(outer, 0.5, length=3)
    ppl.cost("end", x * np.sum(ys))


@case()
@ppl.model
def backwards():
    p = ppl.param("p", 0.3)
    q = ppl.param("q", [0.1, 0.2, 0.3, 0.4])

    def step(x, qt):
        b = ppl.sample("b", Bernoulli(logits=p * x + qt))
        ppl.cost("c", (x + b) ** 2 * (1 + qt))
        return x + b - 0.3, b * 2.0

    x, ys = ppl.scan(step, 0.5, q, reverse=True)
    ppl.cost("last", x * np.sum(ys * q))


@case()
@ppl.model
def stops():
    p = ppl.param("p", 0.3)

    def step(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x))
        ppl.cost("c", x + b)
        return x + b + 0.2, b + 1.0

    x, ys = ppl.scan(step, 0.5, length=5, until=lambda x: x > 2.0)
    ppl.cost("last", x * np.sum(ys))


@case(data=(Y,))
@ppl.model
def stops_rows(y):
    p = ppl.param("p", 0.3)
    with ppl.plate("data", y) as y:

        def step(c, yt):
            x, n = c
            b = ppl.sample("b", Bernoulli(logits=p * x + yt))
            ppl.cost("c", x + b * yt)
            return (x + b + 0.2, n + 1), None

        (x, n), _ = ppl.scan(step, (0.5, 0.0), y, until=lambda c: c[0] > 1.5)
        ppl.cost("last", x * n)


@case()
@ppl.model
def around():
    p = ppl.param("p", 0.3)
    z = ppl.sample("z", Bernoulli(logits=p))
    u = ppl.sample("u", Normal(p, 1.0))

    def step(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x + z))
        ppl.cost("c", (x + b) ** 2)
        return x + b + z * u, None

    x, _ = ppl.scan(step, u, length=3)
    w = ppl.sample("w", Bernoulli(logits=p * x))
    ppl.cost("end", w * x + u)


@case(estimators={"z": Rebar(), "b": ScoreFunction()})
@ppl.model
def around_rebar():
    p = ppl.param("p", 0.3)
    z = ppl.sample("z", Bernoulli(logits=p))

    def step(x, t):
        b = ppl.sample("b", Normal(p * x + z, 1.0))
        ppl.cost("c", (x + b) ** 2)
        return 0.5 * x + b + z, None

    x, _ = ppl.scan(step, 0.2, length=3)
    ppl.cost("end", x)


@case(estimators={"z": Enumerate(), "b": ScoreFunction("moving_average")})
@ppl.model
def around_enum():
    p = ppl.param("p", 0.3)
    z = ppl.sample("z", Bernoulli(logits=p))

    def step(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x + z))
        ppl.cost("c", (x + b) ** 2)
        return 0.5 * x + b + z, None

    x, _ = ppl.scan(step, 0.2, length=3)
    ppl.cost("end", x)


@case()
@ppl.model
def gammas():
    p = ppl.param("p", 1.3, constraint="positive")

    def step(x, t):
        g = ppl.sample("g", Gamma(p + x, 2.0))
        ppl.cost("c", np.log(1 + g))
        return 0.5 * x + g, None

    x, _ = ppl.scan(step, 1.0, length=3)
    ppl.cost("end", x)


@case()
@ppl.model
def scan_to_scan():
    p = ppl.param("p", 0.3)

    def one(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x))
        return x + b, x

    x, xs = ppl.scan(one, 0.5, length=4)

    def two(y, xt):
        d = ppl.sample("d", Bernoulli(logits=p * y - xt))
        ppl.cost("c", d * xt + y)
        return y * 0.5 + d, None

    y, _ = ppl.scan(two, x, xs, name="second")
    ppl.cost("end", y)


@case(estimators={"*": Relaxed(temperature=0.7)})
@ppl.model
def relaxed():
    p = ppl.param("p", 0.3)

    def step(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x))
        ppl.cost("c", (x + b) ** 2)
        return 0.5 * x + b, None

    x, _ = ppl.scan(step, 0.2, length=3)
    ppl.cost("end", x)


@case(particles=3, estimators=ScoreFunction("optimal"))
@ppl.model
def optimal():
    p = ppl.param("p", 0.3)

    def step(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x))
        ppl.cost("c", (x + b) ** 2)
        return 0.5 * x + b, None

    x, _ = ppl.scan(step, 0.2, length=3)
    ppl.cost("end", x)


@case(estimators=ScoreFunction("learned"))
@ppl.model
def learned():
    p = ppl.param("p", 0.3)

    def step(x, t):
        b = ppl.sample("b", Bernoulli(logits=p * x))
        ppl.cost("c", (x + b) ** 2)
        return 0.5 * x + b, None

    x, _ = ppl.scan(step, 0.2, length=3)
    ppl.cost("end", x)


@ppl.model
def lg_model(y):
    a = ppl.param("a", 0.9)
    with ppl.plate("data", y) as y:

        def step(x, yt):
            z = ppl.sample("z", Normal(a * x, 1.0))
            ppl.sample("y", Normal(z, 0.5), obs=yt)
            return z, None

        ppl.scan(step, 0.0, y)


@ppl.model
def lg_guide(y):
    w = ppl.param("w", 0.4)
    v = ppl.param("v", 0.3)
    with ppl.plate("data", y) as y:

        def step(x, yt):
            z = ppl.sample("z", Normal(w * x + v * yt, 0.6))
            return z, None

        ppl.scan(step, 0.0, y)


@ppl.model
def lg_back(y):
    w = ppl.param("w", 0.4)
    v = ppl.param("v", 0.3)
    with ppl.plate("data", y) as y:

        def step(x, yt):
            z = ppl.sample("z", Normal(w * x + v * yt, 0.6))
            return z, None

        ppl.scan(step, 0.0, y, reverse=True)


CASES["elbo"] = (ppl.elbo(lg_model, lg_guide), (Y,), {})
CASES["elbo_sampled"] = (ppl.elbo(lg_model, lg_guide, kl="sampled"), (Y,), {})
CASES["elbo_back"] = (ppl.elbo(lg_model, lg_back), (Y,), {})
CASES["elbo_stl"] = (ppl.elbo(lg_model, lg_guide, kl="sampled"), (Y,), {"estimators": StickingTheLanding()})
CASES["elbo_score"] = (ppl.elbo(lg_model, lg_guide), (Y,), {"estimators": ScoreFunction()})
CASES["elbo_sampled_score"] = (ppl.elbo(lg_model, lg_guide, kl="sampled"), (Y,), {"estimators": ScoreFunction()})
CASES["iwae"] = (ppl.iwae(lg_model, lg_guide, 3), (Y,), {})


@ppl.model
def lik(y):
    a = ppl.param("a", 0.9)
    with ppl.plate("data", y) as y:

        def step(x, yt):
            ppl.sample("y", Normal(a * x + 0.3, 0.5), obs=yt)
            return yt, None

        ppl.scan(step, 0.0, y)


CASES["lik"] = (ppl.likelihood(lik), (Y,), {})


@ppl.model
def lik_latent(y):
    a = ppl.param("a", 0.9)
    with ppl.plate("data", y) as y:

        def step(x, yt):
            b = ppl.sample("b", Bernoulli(logits=a * x))
            ppl.sample("y", Normal(a * x + b, 0.5), obs=yt)
            return 0.5 * x + b, None

        ppl.scan(step, 0.0, y)


CASES["lik_latent"] = (ppl.likelihood(lik_latent), (Y,), {})


@ppl.model
def mf_guide(y):
    with ppl.plate("data", y) as y:
        ppl.sample(
            "z", Normal(0.3 * y + ppl.param("m", np.zeros(4)), ppl.param("s", 0.5 * np.ones(4), constraint="positive"))
        )


CASES["elbo_mf"] = (ppl.elbo(lg_model, mf_guide), (Y,), {})
CASES["iwae_mf"] = (ppl.iwae(lg_model, mf_guide, 2), (Y,), {})
for name, sites in {"two_chains": "bd", "mixed": "b", "inner_plate": "b", "nested": "bd"}.items():
    options = {"estimators": {site: ScoreFunction("leave_one_out") for site in sites}, "particles": 2}
    CASES[f"{name}_score"] = (CASES[name][0], (), options)


@ppl.model
def switching(y):
    """A chain of switches under noisy observations."""
    a = ppl.param("a", 0.9)
    with ppl.plate("data", y) as y:

        def step(z, yt):
            z = ppl.sample("z", Bernoulli(logits=a * z - 0.3))
            ppl.sample("y", Normal(a * z, 0.5), obs=yt)
            return z, None

        ppl.scan(step, 0.0, y)


@ppl.model
def switching_guide(y):
    w = ppl.param("w", 0.4)
    v = ppl.param("v", 0.3)
    with ppl.plate("data", y) as y:

        def step(z, yt):
            return ppl.sample("z", Bernoulli(logits=w * z + v * yt)), None

        ppl.scan(step, 1.0, y)


for kl in ("auto", "sampled"):
    objective = ppl.elbo(switching, switching_guide, kl=kl)
    CASES[f"switching_{kl}"] = (objective, (Y,), {"estimators": ScoreFunction("leave_one_out"), "particles": 2})
CASES["switching_iwae"] = (ppl.iwae(switching, switching_guide, 2), (Y,), {"estimators": ScoreFunction()})
