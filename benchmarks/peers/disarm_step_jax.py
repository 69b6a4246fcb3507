"""`benchmarks/workloads/disarm_step.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from benchmarks.data import bits
from benchmarks.forms import Form
from benchmarks.peers import jax_loops
from benchmarks.peers.jax_loops import affine, bernoulli_log_prob, dense

PIXELS, UNITS, BATCH = 784, 200, 100


def surrogate(p: Any, x: Any, key: Any) -> Any:
    """A scalar whose gradient is DisARM's estimate of the negative bound per row, with every term sampled.

    f = log q(h) - log p(h) - log p(x | h) at an antithetic pair from u and 1 - u; the logits' gradient is
    ½ (f(h) - f(h̃)) (−1)^h̃ 1[h ≠ h̃] σ(|a|). The generative parameters take their gradient at h alone.
    """
    a = affine(p["w"], x)
    u, probability = jax.random.uniform(key, a.shape), jax.nn.sigmoid(a)
    h = stop_gradient(jnp.stack([u < probability, 1 - u < probability]).astype(jnp.float32))
    log_q = bernoulli_log_prob(stop_gradient(a), h)
    log_p = bernoulli_log_prob(p["prior"], h)
    v = affine(p["v"], h[0]), affine(stop_gradient(p["v"]), h[1])
    log_px = [bernoulli_log_prob(logits, x) for logits in v]
    f = stop_gradient(log_q - log_p - jnp.stack(log_px))
    slope = 0.5 * (f[0] - f[1])[:, None] * (h[0] - h[1]) * jax.nn.sigmoid(jnp.abs(stop_gradient(a)))
    return jnp.mean((slope * a).sum(-1) - log_p[0] - log_px[0])


def step(state: Any, key: Any, t: Any, data: Any) -> Any:
    """One step of Adam."""
    x = jax_loops.batch_of(data, t, BATCH)
    return jax_loops.adam(state, jax.grad(surrogate)(state[0], x, key), t)


def forms() -> dict[str, Form]:
    """Adam on batches of 100."""
    params = {"w": dense(PIXELS, UNITS, 0), "v": dense(UNITS, PIXELS, 1), "prior": jnp.zeros(UNITS)}
    return jax_loops.forms(step, jax_loops.adam_state(params), jnp.asarray(bits()))
