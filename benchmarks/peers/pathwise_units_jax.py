"""`benchmarks/workloads/pathwise_units.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.forms import Form
from benchmarks.peers import jax_loops

UNITS = 10**6


def cost(mu: Any, noise: Any) -> Any:
    """Σ softplus(z) cos z."""
    z = mu + noise
    return jnp.sum(jax.nn.softplus(z) * jnp.cos(z))


def step(mu: Any, key: Any, t: Any) -> Any:
    """One step of SGD."""
    return jax_loops.sgd(mu, jax.grad(cost)(mu, jax.random.normal(key, mu.shape)), 1e-3)


def forms() -> dict[str, Form]:
    """From μ ~ N(0, 1)."""
    return jax_loops.forms(step, jax.random.normal(jax.random.key(1), (UNITS,)))
