"""The hidden Markov model of `benchmarks/scans.py` in JAX: the forward algorithm as a scan, value and gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.forms import Form

STATES, STEPS, SEQUENCES = 16, 500, 64


def loss(params: Any, y: Any) -> Any:
    """The negative log-likelihood, each step normalised; it begins in the first row of the table."""
    matrix = jax.nn.softmax(params["table"])

    def step(carry: Any, now: Any) -> tuple[Any, None]:
        alpha, total = carry
        error = (now[:, None] - params["mean"]) * jnp.exp(-params["scale"])
        weight = jnp.exp(-0.5 * error * error - params["scale"])
        alpha = (alpha @ matrix) * weight
        mass = jnp.sum(alpha, 1, keepdims=True)
        return (alpha / mass, total + jnp.log(mass[:, 0])), None

    start = jnp.zeros((SEQUENCES, STATES)).at[:, 0].set(1.0), jnp.zeros(SEQUENCES)
    (_, total), _ = jax.lax.scan(step, start, y)
    return 0.5 * np.log(2 * np.pi) * y.size - jnp.sum(total)


def forms() -> dict[str, Form]:
    """One call."""
    found = jax.jit(jax.value_and_grad(loss))
    y = jnp.asarray(np.random.default_rng(0).normal(size=(STEPS, SEQUENCES)), jnp.float32)
    params = {"table": 2 * jnp.eye(STATES), "mean": jnp.linspace(-1.0, 1.0, STATES), "scale": jnp.zeros(STATES)}
    return {"JAX scan": Form(lambda: found(params, y), 1, jax.block_until_ready)}
