"""`benchmarks/workloads/toy_step.py` in JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from benchmarks.forms import Form
from benchmarks.peers import jax_loops

TARGET, TEMPERATURE, RATE, B1, B2 = 0.499, 0.5, 0.01, 0.9, 0.999


def cost(b: Any) -> Any:
    """(b - t)²."""
    return (b - TARGET) ** 2


def logit(u: Any) -> Any:
    """log u - log(1 - u)."""
    return jnp.log(u) - jnp.log1p(-u)


def relaxed(z: Any) -> Any:
    """σ(z / λ)."""
    return jax.nn.sigmoid(z / TEMPERATURE)


def surrogate(theta: Any, u: Any, v: Any, eta: Any) -> Any:
    """A scalar whose slope in θ is REBAR's estimate: (f(b) - η f(σ(z̃/λ))) ∂log p(b) + η ∂(f(σ(z/λ)) - f(σ(z̃/λ)))."""
    p = jax.nn.sigmoid(theta)
    b = stop_gradient((u > 1 - p).astype(jnp.float32))
    z = theta + logit(u)
    tilde = theta + logit(jnp.where(b > 0, 1 - p + v * p, v * (1 - p)))
    soft, conditional = cost(relaxed(z)), cost(relaxed(tilde))
    log_p = b * theta - jax.nn.softplus(theta)
    return stop_gradient(cost(b) - eta * conditional) * log_p + eta * (soft - conditional)


def step(state: Any, key: Any, t: Any) -> Any:
    """SGD for θ, Adam for η on the squared gradient, which is linear in η: g = g₀ + η g₁."""
    theta, eta, first, second = state
    u, v = jax.random.uniform(key, (2,), minval=1e-7)
    at = jax.grad(surrogate)
    rest = at(theta, u, v, 0.0)
    slope = at(theta, u, v, 1.0) - rest
    g = rest + eta * slope
    h = 2 * g * slope
    first, second, n = B1 * first + (1 - B1) * h, B2 * second + (1 - B2) * h * h, t + 1.0
    eta = eta - RATE * (first / (1 - B1**n)) / (jnp.sqrt(second / (1 - B2**n)) + 1e-8)
    return theta - RATE * g, eta, first, second


def forms() -> dict[str, Form]:
    """From θ = 0 and η = 1."""
    return jax_loops.forms(step, (jnp.zeros(()), jnp.ones(()), jnp.zeros(()), jnp.zeros(())))
