"""`benchmarks/workloads/categorical_vae_step.py` in JAX."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import jax_loops
from benchmarks.peers.jax_loops import affine, bernoulli_log_prob, dense

PIXELS, HIDDEN, UNITS, CLASSES, BATCH, TEMPERATURE = 784, 256, 20, 10, 100, 0.5


def loss(p: Any, x: Any, key: Any) -> Any:
    """The negative bound per row at relaxed samples, KL divergence from uniform classes in closed form."""
    logits = affine(p["classes"], jnp.tanh(affine(p["encoder"], x))).reshape(-1, UNITS, CLASSES)
    log_q = jax.nn.log_softmax(logits)
    z = jax.nn.softmax((log_q + jax.random.gumbel(key, log_q.shape)) / TEMPERATURE).reshape(len(x), -1)
    pixels = affine(p["logits"], jnp.tanh(affine(p["decoder"], z)))
    kl = jnp.sum(jnp.exp(log_q) * log_q, (-2, -1)) + UNITS * math.log(CLASSES)
    return jnp.mean(kl - bernoulli_log_prob(pixels, x))


def step(state: Any, key: Any, t: Any, data: Any) -> Any:
    """One step of Adam."""
    x = jax_loops.batch_of(data, t, BATCH)
    return jax_loops.adam(state, jax.grad(loss)(state[0], x, key), t)


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = {
        "encoder": dense(PIXELS, HIDDEN, 0),
        "classes": dense(HIDDEN, UNITS * CLASSES, 1),
        "decoder": dense(UNITS * CLASSES, HIDDEN, 2),
        "logits": dense(HIDDEN, PIXELS, 3),
    }
    return jax_loops.forms(step, jax_loops.adam_state(params), jnp.asarray(bits()))
