"""Small models of the kinds that processes share out."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.estimators import Rebar, ScoreFunction

ROWS = 23


def pixels(rows: int = ROWS) -> np.ndarray:
    """Rows of 8 bits."""
    return (np.random.default_rng(0).random((rows, 8)) < 0.3).astype(np.float64)


def belief_net(estimator: Any = "auto", particles: int = 2) -> Any:
    """A sigmoid belief network."""

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Bernoulli(logits=ppl.param("prior", np.zeros(4))))
            ppl.sample("x", Bernoulli(logits=ppl.dense("decoder", z, 8)), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            ppl.sample("z", Bernoulli(logits=ppl.dense("encoder", x, 4)))

    made = {"rebar": Rebar(adapt_temperature=True), "learned": ScoreFunction("learned", width=3),
            "average": ScoreFunction("moving_average"), "auto": "auto"}  # fmt: skip
    return ppl.compile(ppl.elbo(model, guide), estimators=made[estimator], particles=particles, dtype="float64")


def global_and_local() -> Any:
    """A scale for all rows, one mean a row."""

    @ppl.model
    def model(x: Any) -> None:
        w = ppl.sample("w", Normal(0.0, 1.0))
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(w, 1.0))
            ppl.sample("x", Normal(z, 0.5), obs=x.sum())

    @ppl.model
    def guide(x: Any) -> None:
        ppl.sample("w", Normal(ppl.param("m", 0.3), np.exp(ppl.param("s", -0.5))))
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(ppl.dense("mean", x, 1)[0], 0.7))

    return ppl.compile(ppl.elbo(model, guide), dtype="float64")


def without_rows(particles: int = 5) -> Any:
    """A jump: particles are all there is to share out."""

    @ppl.model
    def jump() -> None:
        mu = ppl.param("mu", 0.0)
        z = ppl.sample("z", Normal(mu, 1.0))
        ppl.cost("hit", np.where(z > 0.5, 1.0, 0.0) + z * z)

    return ppl.compile(jump, particles=particles, dtype="float64", estimators=ScoreFunction("moving_average"))


def over_time() -> Any:
    """A random walk by rows, with score functions and a path."""

    @ppl.model
    def model(start: Any) -> None:
        with ppl.plate("data", start) as start:

            def step(x: Any, t: Any) -> Any:
                jump = ppl.sample("jump", Bernoulli(logits=ppl.param("a", 0.2) * x))
                x = 0.9 * x + jump + 0.1 * ppl.sample("e", Normal(ppl.param("b", 0.1), 1.0))
                return x, x

            _, xs = ppl.scan(step, start.sum(), length=6)
            ppl.cost("square", (xs * xs).sum())

    return ppl.compile(model, dtype="float64", estimators={"jump": ScoreFunction("moving_average", per_step=True)})


def skip_gram(words: int = 700, width: int = 8) -> Any:
    """Two tables read by the rows of a batch, and a dense bias."""

    @ppl.model
    def model(pairs: Any) -> None:
        first = ppl.param("first", lambda rng, shape: 0.1 * rng.normal(size=shape), shape=(words, width))
        second = ppl.param("second", lambda rng, shape: 0.1 * rng.normal(size=shape), shape=(words, width))
        bias = ppl.param("bias", 0.1)
        with ppl.plate("data", pairs) as pair:
            a, b = first[pair[0]], second[pair[1:]]
            score = (b * a).sum(-1) + bias
            ppl.cost("loss", np.log1p(np.exp(-score)).sum())

    return ppl.compile(model, dtype="float64")


def pairs(rows: int = 40, words: int = 700) -> np.ndarray:
    """A word and three others a row, some often."""
    rng = np.random.default_rng(1)
    return np.minimum(rng.integers(0, words, (rows, 4)), rng.integers(0, words, (rows, 4)))


def vae() -> Any:
    """A variational autoencoder of a few units."""

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(np.zeros(2), 1.0))
            ppl.sample("x", Bernoulli(logits=ppl.dense("decoder", z, 8)), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.dense("hidden", x, 5, activation="tanh")
            ppl.sample("z", Normal(ppl.dense("mean", h, 2), np.exp(ppl.dense("log_scale", h, 2))))

    return ppl.compile(ppl.elbo(model, guide), dtype="float64")
