"""Law graphs of multi-sample bounds; their exact losses are summed or integrated here, in plain NumPy."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import logsumexp

import ppl
from ppl import Bernoulli, Normal
from tests.helpers.law_graphs import law
from tests.helpers.laws import Graph, arrays

ROWS = np.array([[1.0, 0.0], [1.0, 1.0]])
POINTS = np.array([0.6, -0.9])


def bernoulli_log(x: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Log-probability of the bits `x`."""
    return x * logits - np.logaddexp(0.0, logits)


def normal_log(x: np.ndarray, loc: np.ndarray | float, scale: float) -> np.ndarray:
    """Log-density of a normal variable."""
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))


def negative_bound(log_weights: np.ndarray, probs: np.ndarray, samples: int) -> float:
    """-E[log (1/K) sum w] over K independent draws from states with probabilities `probs`."""
    total = 0.0
    joint, weight = np.zeros((1, 0)), np.ones(1)
    for _ in range(samples - 1):
        joint = np.concatenate([np.repeat(joint, len(probs), 0), np.tile(log_weights, len(joint))[:, None]], 1)
        weight = np.outer(weight, probs).ravel()
    for log_weight, p in zip(log_weights, probs, strict=True):
        rows = np.concatenate([joint, np.full((len(joint), 1), log_weight)], 1)
        total -= p * float(weight @ (logsumexp(rows, axis=1) - np.log(samples)))
    return total


@law
def iwae_bernoulli() -> Graph:
    """Three importance samples of a layer of two units: log-mean-exp of discrete samples, with minibatch scaling."""

    @ppl.model
    def generative(x):
        prior, w = ppl.param("prior", np.zeros(2)), ppl.param("w", np.zeros((2, 2)))
        with ppl.plate("data", x) as x:
            h = ppl.sample("h", Bernoulli(logits=prior))
            ppl.sample("x", Bernoulli(logits=h @ w - 0.5), obs=x)

    @ppl.model
    def guide(x):
        v = ppl.param("v", np.zeros((2, 2)))
        with ppl.plate("data", x) as x:
            ppl.sample("h", Bernoulli(logits=x @ v))

    def loss(p):
        states, total = np.array(list(itertools.product((0.0, 1.0), repeat=2))), 0.0
        for x in ROWS:
            log_q = bernoulli_log(states, x @ p["v"]).sum(1)
            log_p = bernoulli_log(states, p["prior"]).sum(1) + bernoulli_log(x, states @ p["w"] - 0.5).sum(1)
            total += negative_bound(log_p - log_q, np.exp(log_q), 3)
        return 2.0 * total

    params = arrays(prior=[0.6, -0.8], w=[[2.0, -1.5], [-1.0, 2.5]], v=[[1.5, -0.9], [-0.6, 1.2]])
    return Graph(ppl.iwae(generative, guide, particles=3), params, (ROWS,), total_rows=4, loss=loss)


@law
def iwae_normal() -> Graph:
    """Two importance samples of a normal latent, far from its posterior."""

    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", Normal(ppl.param("m", 0.0), 1.0))
            ppl.sample("x", Normal(ppl.param("w", 1.0) * z, 0.5), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.sample("z", Normal(ppl.param("a", 0.0) * x, np.exp(ppl.param("s", 0.0))))

    def loss(p):
        total = 0.0
        for x in POINTS:
            loc, scale = p["a"] * x, float(np.exp(p["s"]))
            e = np.linspace(-7.5, 7.5, 401)
            z = loc + scale * e
            log_q = normal_log(z, loc, scale)
            log_p = normal_log(z, p["m"], 1.0) + normal_log(x, p["w"] * z, 0.5)
            total += negative_bound(log_p - log_q, np.exp(normal_log(e, 0.0, 1.0)) * (e[1] - e[0]), 2)
        return total

    return Graph(ppl.iwae(generative, guide, particles=2), arrays(m=0.4, w=1.2, a=0.1, s=-0.2), (POINTS,), loss=loss)


@law
def iwae_mixed() -> Graph:
    """A unit above a normal latent in one bound: its estimators meet the other's, sample by sample."""

    @ppl.model
    def generative(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=ppl.param("prior", 0.0)))
            z = ppl.sample("z", Normal(ppl.param("shift", 1.0) * b, 1.0))
            ppl.sample("x", Normal(z, 0.7), obs=x)

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(logits=ppl.param("v", 0.0) * x))
            ppl.sample("z", Normal(ppl.param("a", 0.0) * x + ppl.param("c", 0.0) * b, 0.6))

    def loss(p):
        total, e = 0.0, np.linspace(-7.0, 7.0, 181)
        grid = np.exp(normal_log(e, 0.0, 1.0)) * (e[1] - e[0])
        for x in POINTS:
            log_weights, probs = [], []
            for b in (0.0, 1.0):
                log_qb = bernoulli_log(np.array(b), p["v"] * x)
                loc = p["a"] * x + p["c"] * b
                z = loc + 0.6 * e
                log_p = bernoulli_log(np.array(b), p["prior"]) + normal_log(z, p["shift"] * b, 1.0)
                log_weights.append(log_p + normal_log(x, z, 0.7) - log_qb - normal_log(z, loc, 0.6))
                probs.append(np.exp(log_qb) * grid)
            total += negative_bound(np.concatenate(log_weights), np.concatenate(probs), 2)
        return total

    params = arrays(prior=0.7, shift=1.4, v=0.9, a=0.3, c=-0.5)
    return Graph(ppl.iwae(generative, guide, particles=2), params, (POINTS,), loss=loss)


@law
def iwae_global() -> Graph:
    """A global latent over a plate of fixed size: the rows are added inside the log-mean-exp."""

    @ppl.model
    def generative():
        mu = ppl.sample("mu", Normal(0.0, 1.5))
        with ppl.plate("rows", POINTS) as x:
            ppl.sample("x", Normal(mu * ppl.param("w", 1.0), 0.9), obs=x)

    @ppl.model
    def guide():
        ppl.sample("mu", Normal(ppl.param("m", 0.0), np.exp(ppl.param("s", 0.0))))

    def loss(p):
        e, scale = np.linspace(-7.5, 7.5, 401), float(np.exp(p["s"]))
        mu = p["m"] + scale * e
        log_p = normal_log(mu, 0.0, 1.5) + sum(normal_log(x, mu * p["w"], 0.9) for x in POINTS)
        probs = np.exp(normal_log(e, 0.0, 1.0)) * (e[1] - e[0])
        return negative_bound(log_p - normal_log(mu, p["m"], scale), probs, 2)

    return Graph(ppl.iwae(generative, guide, particles=2), arrays(w=1.3, m=0.7, s=0.2), loss=loss)
