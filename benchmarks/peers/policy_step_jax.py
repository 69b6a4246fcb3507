"""`benchmarks/workloads/policy_step.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.forms import Form
from benchmarks.peers import jax_loops

ENVIRONMENTS, TIMES, DT, COST, RATE = 1000, 200, 0.05, 0.1, 1e-6


def step(params: Any, key: Any, t: Any) -> Any:
    """One step of SGD: the score times the cost to go, both by formulas, as a scan forward and one backward."""
    gain, log_sigma = params
    sigma = jnp.exp(log_sigma)
    noise = jax.random.normal(key, (TIMES, ENVIRONMENTS))

    def forward(state: Any, e: Any) -> Any:
        x, v = state
        a = gain[0] * x + gain[1] * v + sigma * e
        return (x + DT * v, v + DT * a), (x, v, x * x + v * v + COST * a * a)

    start = jnp.ones(ENVIRONMENTS), jnp.zeros(ENVIRONMENTS)
    _, (x, v, cost) = jax.lax.scan(forward, start, noise)
    ahead = jnp.cumsum(cost[::-1], 0)[::-1]
    score = ahead * noise / (sigma * ENVIRONMENTS)
    gradient = jnp.stack([jnp.sum(score * x), jnp.sum(score * v)])
    spread = jnp.sum(ahead * (noise * noise - 1)) / ENVIRONMENTS
    return gain - RATE * gradient, log_sigma - RATE * spread


def forms() -> dict[str, Form]:
    """From a stable gain."""
    return jax_loops.forms(step, (jnp.array([-1.0, -1.5]), jnp.array(-1.0)))
