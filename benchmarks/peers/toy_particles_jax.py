"""`benchmarks/workloads/toy_particles.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from benchmarks.forms import Form
from benchmarks.peers import jax_loops

TARGET, RATE, SAMPLES = 0.499, 0.01, 1000


def surrogate(theta: Any, u: Any) -> Any:
    """A scalar whose slope in θ is the leave-one-out estimate."""
    b = stop_gradient((u < jax.nn.sigmoid(theta)).astype(jnp.float32))
    f = (b - TARGET) ** 2
    advantage = (f - jnp.mean(f)) * (SAMPLES / (SAMPLES - 1))
    return jnp.mean(advantage * (b * theta - jax.nn.softplus(theta)))


def step(theta: Any, key: Any, t: Any) -> Any:
    """One step of SGD."""
    return jax_loops.sgd(theta, jax.grad(surrogate)(theta, jax.random.uniform(key, (SAMPLES,))), RATE)


def forms() -> dict[str, Form]:
    """From θ = 0."""
    return jax_loops.forms(step, jnp.zeros(()))
