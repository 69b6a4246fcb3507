"""`benchmarks/workloads/sbn_step.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import jax_loops
from benchmarks.peers.jax_loops import affine, bernoulli_log_prob, dense

PIXELS, UNITS, BATCH, PARTICLES = 784, 200, 100, 2


def surrogate(p: Any, x: Any, key: Any) -> Any:
    """A scalar whose gradient is the leave-one-out estimate of the negative bound per row.

    The signal of a layer is what its sample can reach; both particles share the first layer's logits.
    """
    keys = jax.random.split(key)
    a1 = affine(p["w1"], x)
    h1 = (jax.random.uniform(keys[0], (PARTICLES, *a1.shape)) < jax.nn.sigmoid(a1)).astype(jnp.float32)
    a2 = affine(p["w2"], h1)
    h2 = (jax.random.uniform(keys[1], a2.shape) < jax.nn.sigmoid(a2)).astype(jnp.float32)
    h1, h2 = stop_gradient((h1, h2))
    log_q1, log_q2 = bernoulli_log_prob(a1, h1), bernoulli_log_prob(a2, h2)
    log_p2 = bernoulli_log_prob(p["prior"], h2)
    log_p1 = bernoulli_log_prob(affine(p["v2"], h2), h1)
    log_px = bernoulli_log_prob(affine(p["v1"], h1), x)
    upper = stop_gradient(log_q2 - log_p2 - log_p1)
    whole = upper + stop_gradient(log_q1 - log_px)
    score = log_q1 * (whole - whole[::-1]) + log_q2 * (upper - upper[::-1])
    return jnp.mean(log_q1 + log_q2 - log_p2 - log_p1 - log_px + score)


def step(state: Any, key: Any, t: Any, data: Any) -> Any:
    """One step of Adam."""
    x = jax_loops.batch_of(data, t, BATCH)
    return jax_loops.adam(state, jax.grad(surrogate)(state[0], x, key), t)


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = {
        "w1": dense(PIXELS, UNITS, 0),
        "w2": dense(UNITS, UNITS, 1),
        "v2": dense(UNITS, UNITS, 2),
        "v1": dense(UNITS, PIXELS, 3),
        "prior": jnp.zeros(UNITS),
    }
    return jax_loops.forms(step, jax_loops.adam_state(params), jnp.asarray(bits()))
