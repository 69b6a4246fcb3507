"""`benchmarks/workloads/gamma_units.py` in JAX: with `jax.random.gamma`, and with a sampler and a slope of our own.

The second draws by Marsaglia and Tsang on all units at once, until each has accepted, and differentiates by the
formulas of PyTorch's `_standard_gamma` (a Taylor series below 0.8, Rice's saddle point above α = 8, a rational
approximation else), all three computed and one selected.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.forms import Form
from benchmarks.peers import jax_loops

UNITS = 10**5
RATIONAL = (
    ((0.16009398, -0.094634809, 0.025146376, -0.0030648343), (1.0, 0.32668115, 0.10406089, 0.0014179084)),
    ((0.53487893, 0.1298071, 0.065735949, -0.0015649758), (0.16639465, 0.020070113, -0.0035938915, -0.00058392623)),
    ((0.040121004, -0.0065914022, -0.0026286047, -0.0013441777), (0.017050642, -0.0021309326, 0.00085092367, 0.0)),
)


def draw(key: Any, alpha: Any) -> Any:
    """g ~ Gamma(α, 1); below α = 1 a draw at α + 1 times u^(1/α)."""
    first, last = jax.random.split(key)
    d = jnp.where(alpha < 1, alpha + 1, alpha) - 1 / 3
    c = 1 / jnp.sqrt(9 * d)

    def attempt(state: Any) -> Any:
        v, done, key = state
        key, normal, uniform = jax.random.split(key, 3)
        x = jax.random.normal(normal, alpha.shape)
        w = (1 + c * x) ** 3
        log_w = jnp.log(jnp.maximum(w, 1e-30))
        u = jax.random.uniform(uniform, alpha.shape, minval=1e-30)
        accepted = (w > 0) & (jnp.log(u) < 0.5 * x * x + d - d * w + d * log_w)
        return jnp.where(~done & accepted, w, v), done | accepted, key

    begin = (jnp.ones_like(alpha), jnp.zeros(alpha.shape, bool), first)
    v, _, _ = jax.lax.while_loop(lambda s: ~jnp.all(s[1]), attempt, begin)
    u = jax.random.uniform(last, alpha.shape, minval=1e-30)
    return d * v * jnp.where(alpha < 1, jnp.exp(jnp.log(u) / alpha), 1.0)


def slope(alpha: Any, x: Any) -> Any:
    """∂g/∂α at g = x."""
    x = jnp.maximum(x, 1e-30)
    small = _series(alpha, jnp.minimum(x, 0.8))
    return jnp.where(x < 0.8, small, jnp.where(alpha > 8, _saddle(alpha, x), _rational(alpha, x)))


def _series(alpha: Any, x: Any) -> Any:
    numerator, denominator = jnp.ones_like(x), alpha
    one, two = 1 / alpha, 1 / (alpha * alpha)
    for i in range(1, 6):
        numerator, denominator = numerator * -x / i, denominator + 1
        one, two = one + numerator / denominator, two + numerator / (denominator * denominator)
    return -((jnp.log(x) - jax.scipy.special.digamma(alpha)) * one - two) * x * jnp.exp(x)


def _saddle(alpha: Any, x: Any) -> Any:
    first = 1 + 24 * alpha * (1 + 12 * alpha)
    second = 1440 * alpha**2 + 6 * x * (53 - 120 * x) - 65 * x * x / alpha + alpha * (107 + 3600 * x)
    near = first * second / (1244160 * alpha**4)
    log, gap = jnp.log(x / alpha), jnp.where(alpha == x, 1.0, alpha - x)
    root = jnp.sqrt(8 * alpha)
    third = jnp.maximum(x - alpha - alpha * log, 1e-30) ** -1.5
    bracket = root / gap + jnp.where(x < alpha, -third, third)
    term = log * bracket - jnp.sqrt(2 / alpha) * (alpha + x) / gap**2
    far = -(1 + 1 / (12 * alpha) * (1 + 1 / (24 * alpha))) * x * term / root
    return jnp.where(jnp.abs(x - alpha) <= 0.1 * alpha, near, far)


def _rational(alpha: Any, x: Any) -> Any:
    u, v = jnp.log(x / alpha), jnp.log(alpha)
    p, q = ([a + u * (b + u * c) for a, b, c in zip(*parts, strict=True)] for parts in zip(*RATIONAL, strict=True))
    above, below = (k[0] + v * (k[1] + v * (k[2] + v * k[3])) for k in (p, q))
    return jnp.exp(above / below)


def step(theta: Any, key: Any, t: Any) -> Any:
    """One step of SGD, the chain rule by hand around `draw` and `slope`."""
    alpha = jnp.exp(theta)
    g = draw(key, alpha)
    return theta - 1e-3 * slope(alpha, g) * alpha / (1 + g)


def built_in(theta: Any, key: Any, t: Any) -> Any:
    """One step of SGD with `jax.random.gamma` and its derivative."""
    return jax_loops.sgd(theta, jax.grad(lambda a: jnp.sum(jnp.log1p(jax.random.gamma(key, jnp.exp(a)))))(theta), 1e-3)


def forms() -> dict[str, Form]:
    """From log α ~ N(0, 0.5²); of the built-in one step a call only, which is far behind."""
    theta = 0.5 * jax.random.normal(jax.random.key(1), (UNITS,))
    own = jax_loops.forms(step, theta)
    return {**own, "JAX jit, jax.random.gamma": jax_loops.forms(built_in, theta)["JAX jit"]}
