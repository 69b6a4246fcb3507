"""The random walk of `benchmarks/workloads/loops.py` in JAX: value and score-function gradient of many walks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.forms import Form

STEPS, WALKS = 50, 10_000


def surrogate(p: Any, key: Any) -> tuple[Any, Any]:
    """The mean of X² log P(walk) with X² held, and the mean of X²."""

    def step(carry: Any, u: Any) -> tuple[Any, None]:
        x, log_prob = carry
        up = jnp.exp(-x / p)
        rises = u < up
        log_prob = log_prob + jnp.where(rises, -x / p, jnp.log1p(-jnp.where(rises, 0.0, up)))
        return (x + jnp.where(rises, 1.0, -1.0), log_prob), None

    start = jnp.zeros(WALKS), jnp.zeros(WALKS)
    (x, log_prob), _ = jax.lax.scan(step, start, jax.random.uniform(key, (STEPS, WALKS)))
    square = x * x
    return jnp.mean(jax.lax.stop_gradient(square) * log_prob), jnp.mean(square)


def forms() -> dict[str, Form]:
    """One call for all walks."""
    found = jax.jit(lambda p, t: jax.grad(surrogate, has_aux=True)(p, jax.random.fold_in(jax.random.key(0), t)))
    box = [0]

    def call() -> Any:
        box[0] += 1
        return found(100.0, box[0])

    return {"JAX scan": Form(call, WALKS, jax.block_until_ready)}
