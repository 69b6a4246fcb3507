"""`benchmarks/workloads/distribution_speed.py` in JAX: `jax.random` and `jax.scipy.stats`, each call jitted.

JAX has no von Mises sampler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jax.scipy import stats

from benchmarks.distribution_cases import CLASSES, CONCENTRATION, COUNT, LAWS, LOGITS, values
from benchmarks.forms import Form


def sampler(name: str) -> Callable[..., Any] | None:
    """A function of a key and the parameters."""
    n = (COUNT,)
    found: dict[str, Callable[..., Any]] = {
        "Normal": lambda key, loc, scale: loc + scale * random.normal(key, n),
        "Gamma": lambda key, concentration, rate: random.gamma(key, concentration, n) / rate,
        "Beta": lambda key, concentration1, concentration0: random.beta(key, concentration1, concentration0, n),
        "Poisson": lambda key, rate: random.poisson(key, rate, n),
        "Binomial": lambda key, total_count, probs: random.binomial(key, total_count, probs, n),
        "Categorical": lambda key: random.categorical(key, jnp.array(LOGITS), shape=n),
        "Dirichlet": lambda key: random.dirichlet(key, jnp.array(CONCENTRATION), (COUNT // CLASSES,)),
        "StudentT": lambda key, df, loc, scale: loc + scale * random.t(key, df, n),
    }
    return found.get(name.split("(")[0])


def density(name: str) -> Callable[..., Any]:
    """A function of values and the parameters."""
    found: dict[str, Callable[..., Any]] = {
        "Normal": stats.norm.logpdf,
        "Gamma": lambda x, concentration, rate: stats.gamma.logpdf(x, concentration, scale=1 / rate),
        "Beta": lambda x, concentration1, concentration0: stats.beta.logpdf(x, concentration1, concentration0),
        "Poisson": lambda x, rate: stats.poisson.logpmf(x, rate),
        "Binomial": lambda x, total_count, probs: stats.binom.logpmf(x, total_count, probs),
        "Categorical": lambda x: jax.nn.log_softmax(jnp.array(LOGITS))[x],
        "Dirichlet": lambda x: stats.dirichlet.logpdf(x.T, jnp.array(CONCENTRATION)),
        "StudentT": lambda x, df, loc, scale: stats.t.logpdf(x, df, loc, scale),
        "VonMises": lambda x, loc, concentration: stats.vonmises.logpdf(x - loc, concentration),
    }
    return found[name.split("(")[0]]


def forms() -> dict[str, Form]:
    """One call draws COUNT values, or sums the log-density of COUNT values."""
    key, found = random.key(0), {}
    for name, law in LAWS.items():
        p = {k: jnp.float32(v) for k, v in law.items()}
        draw, log_density, x = sampler(name), jax.jit(_summed(density(name))), jnp.asarray(values(name))
        if draw is not None:
            jitted = jax.jit(draw)
            found[f"sample {name}"] = Form(lambda f=jitted, p=p: f(key, **p), wait=jax.block_until_ready)
        found[f"log_prob {name}"] = Form(
            lambda f=log_density, x=x, p=p: f(x, **p), wait=jax.block_until_ready
        )  # fmt: skip
    return found


def _summed(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, **p: jnp.sum(f(x, **p))
