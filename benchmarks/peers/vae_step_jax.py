"""`benchmarks/workloads/vae_step.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import jax_loops
from benchmarks.peers.jax_loops import affine, bernoulli_log_prob, dense

PIXELS, HIDDEN, LATENT, BATCH = 784, 400, 20, 100


def loss(p: Any, x: Any, key: Any) -> Any:
    """The negative bound per row, KL divergence in closed form; μ and log σ in one product."""
    mu, log_sigma = jnp.split(affine(p["heads"], jnp.tanh(affine(p["encoder"], x))), 2, axis=-1)
    sigma = jnp.exp(log_sigma)
    z = mu + sigma * jax.random.normal(key, mu.shape)
    logits = affine(p["logits"], jnp.tanh(affine(p["decoder"], z)))
    kl = jnp.sum(0.5 * (mu * mu + sigma * sigma - 1) - log_sigma, -1)
    return jnp.mean(kl - bernoulli_log_prob(logits, x))


def step(state: Any, key: Any, t: Any, data: Any) -> Any:
    """One step of Adam."""
    x = jax_loops.batch_of(data, t, BATCH)
    return jax_loops.adam(state, jax.grad(loss)(state[0], x, key), t)


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = {
        "encoder": dense(PIXELS, HIDDEN, 0),
        "heads": dense(HIDDEN, 2 * LATENT, 1),
        "decoder": dense(LATENT, HIDDEN, 2),
        "logits": dense(HIDDEN, PIXELS, 3),
    }
    return jax_loops.forms(step, jax_loops.adam_state(params), jnp.asarray(bits()))
