"""The programs of `benchmarks.loops` in JAX, with `lax.scan`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def policy_gradient(environments: int, times: int) -> Callable[[], object]:
    """(a): a step of gradient descent."""

    def surrogate(params, key):  # type: ignore[no-untyped-def]
        gain, log_sigma = params[:2], params[2]

        def step(carry, key):  # type: ignore[no-untyped-def]
            x, v = carry
            mean = gain[0] * x + gain[1] * v
            action = lax.stop_gradient(mean + jnp.exp(log_sigma) * jax.random.normal(key, x.shape))
            z = (action - mean) / jnp.exp(log_sigma)
            cost = x * x + v * v + 0.1 * action * action
            return (x + 0.05 * v, v + 0.05 * action), (cost, -0.5 * z * z - log_sigma)

        start = jnp.ones(environments), jnp.zeros(environments)
        _, (costs, log_probs) = lax.scan(step, start, jax.random.split(key, times))
        ahead = jnp.cumsum(costs[::-1], 0)[::-1]
        return jnp.mean(jnp.sum(log_probs * lax.stop_gradient(ahead), 0)), jnp.mean(jnp.sum(costs, 0))

    grad = jax.value_and_grad(surrogate, has_aux=True)

    @jax.jit
    def update(params, key):  # type: ignore[no-untyped-def]
        key, own = jax.random.split(key)
        (_, cost), g = grad(params, own)
        return params - 1e-4 * g, key, cost

    state = [jnp.array([-1.0, -1.5, -1.0]), jax.random.PRNGKey(0)]

    def run() -> object:
        state[0], state[1], cost = update(*state)
        return cost.block_until_ready()

    return run


def walk(walks: int, steps: int) -> Callable[[], object]:
    """(b): value and gradient."""

    def surrogate(scale, key):  # type: ignore[no-untyped-def]
        rate = jnp.exp(scale)

        def step(x, key):  # type: ignore[no-untyped-def]
            log_up = -x.astype(jnp.float32) * rate
            up = jax.random.uniform(key, x.shape) < jnp.exp(log_up)
            log_prob = jnp.where(up, log_up, jnp.log(-jnp.expm1(log_up)))
            x = jnp.maximum(x + jnp.where(up, 1, -1), 1)
            return x, (x.astype(jnp.float32), log_prob)

        _, (costs, log_probs) = lax.scan(step, jnp.full(walks, 10), jax.random.split(key, steps))
        ahead = jnp.cumsum(costs[::-1], 0)[::-1]
        return jnp.mean(jnp.sum(log_probs * ahead, 0))

    grad, key = jax.jit(jax.value_and_grad(surrogate)), jax.random.PRNGKey(0)
    scale = jnp.float32(np.log(0.01))
    return lambda: jax.block_until_ready(grad(scale, key))


def forward(states: int, length: int, sequences: int) -> Callable[[], object]:
    """(c): value and gradient."""

    def loss(moves, means, data):  # type: ignore[no-untyped-def]
        matrix = jax.nn.softmax(moves)

        def step(carry, y):  # type: ignore[no-untyped-def]
            alpha, total = carry
            alpha = (alpha @ matrix) * jnp.exp(-0.5 * (y[:, None] - means) ** 2)
            mass = jnp.sum(alpha, 1, keepdims=True)
            return (alpha / mass, total + jnp.log(mass[:, 0])), None

        start = jnp.full((sequences, states), 1 / states), jnp.zeros(sequences)
        (_, total), _ = lax.scan(step, start, data)
        return -jnp.sum(total)

    grad, rng = jax.jit(jax.value_and_grad(loss, (0, 1))), np.random.default_rng(0)
    moves, means = rng.normal(size=(states, states)), rng.normal(size=states)
    given = [jnp.asarray(x, jnp.float32) for x in (moves, means, rng.normal(size=(length, sequences)))]
    return lambda: jax.block_until_ready(grad(*given))
