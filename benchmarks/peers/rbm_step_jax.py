"""`benchmarks/workloads/rbm_step.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import jax_loops

VISIBLE, HIDDEN, BATCH, RATE = 784, 500, 100, 0.05


def draw(key: Any, p: Any) -> Any:
    """Bits."""
    return (jax.random.uniform(key, p.shape) < p).astype(jnp.float32)


def step(params: Any, key: Any, t: Any, data: Any) -> Any:
    """One update of CD-1, its gradient in closed form, which is what automatic differentiation arrives at."""
    weight, visible, hidden = params
    keys = jax.random.split(key)
    v = jax_loops.batch_of(data, t, BATCH)
    up = jax.nn.sigmoid(v @ weight + hidden)
    fantasy = draw(keys[1], jax.nn.sigmoid(draw(keys[0], up) @ weight.T + visible))
    down = jax.nn.sigmoid(fantasy @ weight + hidden)
    rate = RATE / BATCH
    weight = weight + rate * (v.T @ up - fantasy.T @ down)
    return weight, visible + rate * (v - fantasy).sum(0), hidden + rate * (up - down).sum(0)


def forms() -> dict[str, Form]:
    """SGD on batches of 100; the visible biases at the log-odds of the pixels' rates."""
    data = jnp.asarray(bits())
    rates = (data.sum(0) + 1) / (len(data) + 2)
    weight = 0.01 * jax.random.normal(jax.random.key(1), (VISIBLE, HIDDEN))
    return jax_loops.forms(step, (weight, jnp.log(rates / (1 - rates)), jnp.zeros(HIDDEN)), data)
