"""JAX's forms of a training step: `jit`, and a `lax.scan` of 100 steps, buffers donated.

The noise is Threefry's, JAX's own; XLA's generator ("rbg") took 17.6 ms for 10⁶ normals where Threefry took 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.forms import Form

STEPS = 100


def forms(step: Callable[..., Any], carry: Any, *constants: Any) -> dict[str, Form]:
    """Forms of ``step(carry, key, t, *constants) -> carry``, a step whose noise is `key`'s and which is the t-th."""
    one, many = _compiled(step, jax.random.key(0))
    return {"JAX jit": _form(one, carry, constants, 1), f"JAX scan of {STEPS}": _form(many, carry, constants, STEPS)}


def _compiled(step: Callable[..., Any], key: Any) -> tuple[Any, Any]:
    """One step, and `STEPS` of them."""

    def one(carry: Any, t: Any, *constants: Any) -> Any:
        return step(carry, jax.random.fold_in(key, t), t, *constants)

    def many(carry: Any, t: Any, *constants: Any) -> Any:
        def body(c: Any, i: Any) -> Any:
            return one(c, i, *constants), None

        return jax.lax.scan(body, carry, t + jnp.arange(STEPS))[0]

    return jax.jit(one, donate_argnums=0), jax.jit(many, donate_argnums=0)


def _form(function: Any, carry: Any, constants: tuple[Any, ...], steps: int) -> Form:
    box = [jax.tree.map(jnp.copy, carry), 0]

    def call() -> Any:
        box[0] = function(box[0], box[1], *constants)
        box[1] += steps
        return box[0]

    return Form(call, steps, jax.block_until_ready)


def adam_state(params: Any) -> Any:
    """(parameters, first moments, second moments)."""
    return params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)


def adam(
    state: Any, grads: Any, t: Any, lr: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Any:
    """The state after one step of Adam, the t-th from 0."""
    params, first, second = state
    first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, grads)
    second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, second, grads)
    n = t + 1.0
    rate, root = lr / (1 - b1**n), 1 / jnp.sqrt(1 - b2**n)
    params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * root + eps), params, first, second)
    return params, first, second


def sgd(params: Any, grads: Any, lr: float) -> Any:
    """The parameters after one step of gradient descent."""
    return jax.tree.map(lambda p, g: p - lr * g, params, grads)


def batch_of(data: Any, t: Any, size: int) -> Any:
    """The t-th minibatch of consecutive rows."""
    return jax.lax.dynamic_slice_in_dim(data, (t * size) % data.shape[0], size)


def dense(inputs: int, outputs: int, seed: int) -> dict[str, Any]:
    """Weight and bias of an affine layer, Glorot-uniform."""
    weight = jax.nn.initializers.glorot_uniform()(jax.random.key(seed), (inputs, outputs), jnp.float32)
    return {"w": weight, "b": jnp.zeros(outputs, jnp.float32)}


def affine(layer: dict[str, Any], x: Any) -> Any:
    """x W + b."""
    return x @ layer["w"] + layer["b"]


def bernoulli_log_prob(logits: Any, value: Any) -> Any:
    """Log-probability of bits, summed over units."""
    return jnp.sum(value * logits - jax.nn.softplus(logits), -1)
