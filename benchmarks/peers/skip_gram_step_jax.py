"""`benchmarks/workloads/skip_gram_step.py` in JAX: a scan of 100 steps on donated tables, sparse additions only.

Gradients are written by hand, so that no table-sized gradient exists; noise words come from the alias table inside the
step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import skip_gram_data as data
from benchmarks.forms import Form

STEPS = data.STEPS
VARIANTS = ("one scatter", "two scatters", "per step")


def build(variant: str = VARIANTS[0], generator: str = "threefry2x32") -> Callable[[], object]:
    """A function that takes `STEPS` steps and waits for them.

    Parameters
    ----------
    variant : "one scatter" or "two scatters" (true and noise words together or apart) in a scan, or "per step", one
        compiled call a step.
    generator : JAX's generator, "rbg" or "threefry2x32".
    """
    d = data.make()
    accept, other = jnp.asarray(d.accept), jnp.asarray(d.other)
    pairs = jnp.asarray(d.center), jnp.asarray(d.word)
    n, k = data.VOCABULARY, data.NOISE

    def step(carry: Any, batch: Any) -> tuple[Any, Any]:
        u, v, key = carry
        center, word = batch
        key, own = jax.random.split(key)
        column, keep = jax.random.uniform(own, (2, data.PAIRS, k))
        column = (column * n).astype(jnp.int32)
        noise = jnp.where(keep < accept[column], column, other[column])
        words = jnp.concatenate([word[:, None], noise], 1)
        rows, vectors = u[words], v[center]
        s = jnp.einsum("bkd,bd->bk", rows, vectors)
        sign = jnp.where(jnp.arange(k + 1) == 0, -1.0, 1.0)
        loss = jax.nn.softplus(sign * s).sum()
        g = data.RATE * sign * jax.nn.sigmoid(sign * s)
        moved = jnp.einsum("bk,bkd->bd", g, rows)
        if variant == "two scatters":
            u = u.at[word].add(-g[:, :1] * vectors)
            u = u.at[noise.reshape(-1)].add(-(g[:, 1:, None] * vectors[:, None]).reshape(-1, data.DIM))
        else:
            u = u.at[words.reshape(-1)].add(-(g[..., None] * vectors[:, None]).reshape(-1, data.DIM))
        return (u, v.at[center].add(-moved), key), loss / data.PAIRS

    carry = (jnp.zeros((n, data.DIM), jnp.float32), jnp.asarray(d.v), jax.random.key(0, impl=generator))
    one = jax.jit(step, donate_argnums=0)
    many = jax.jit(lambda c, b: jax.lax.scan(step, c, b), donate_argnums=0)

    def scan() -> object:
        nonlocal carry
        carry, losses = many(carry, pairs)
        return np.asarray(losses)

    def loop() -> object:
        nonlocal carry
        losses = []
        for i in range(STEPS):
            carry, loss = one(carry, (pairs[0][i], pairs[1][i]))
            losses.append(loss)
        return np.asarray(losses)

    return loop if variant == "per step" else scan


def forms() -> dict[str, Form]:
    """All variants."""
    return {f"JAX, {v}": Form(build(v, "threefry2x32"), STEPS) for v in VARIANTS}
