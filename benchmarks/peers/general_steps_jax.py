"""`benchmarks/general_models.py` in JAX: Adam on all rows, `jit` and a `lax.scan` of 100 steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from benchmarks.forms import Form
from benchmarks.peers import first_steps_jax, jax_loops
from benchmarks.peers.jax_loops import affine, dense

ROWS, WIDTH, GROUPS, USERS, ITEMS, FACTORS = 1000, 13, 5, 200, 100, 8
X = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32))
SMALL = ("hierarchical", "autoregression", "bayesian_network", "logistic", "importance", "robust")
first_steps_jax.ROWS = X


def mixture(p: Any, key: Any) -> Any:
    """Labels summed out."""
    scales = jnp.exp(p["scales"])
    logs = norm.logpdf(X[:, None], p["centers"], scales).sum(-1) + jax.nn.log_softmax(p["logits"])
    return -jax.nn.logsumexp(logs, -1).sum()


def autoencoder(p: Any, key: Any) -> Any:
    """KL divergence in closed form."""
    h = jnp.tanh(affine(p["e"], X))
    mu, log_sigma = affine(p["mu"], h), affine(p["sigma"], h)
    sigma = jnp.exp(log_sigma)
    z = mu + sigma * jax.random.normal(key, mu.shape)
    x = affine(p["out"], jnp.tanh(affine(p["d"], z)))
    return jnp.sum(0.5 * (mu**2 + sigma**2 - 1) - log_sigma) - norm.logpdf(X, x, 1.0).sum()


def counts(p: Any, key: Any) -> Any:
    """One draw of the weights; log y! is a constant."""
    w, kl = first_steps_jax.draw(p["w"], key)
    y, log_rate = jnp.arange(ROWS) % 4, 0.1 * (X @ w)
    return kl - jnp.sum(y * log_rate - jnp.exp(log_rate) - jax.scipy.special.gammaln(y + 1.0))


def factorization(p: Any, key: Any) -> Any:
    """Maximum likelihood."""
    n = jnp.arange(ROWS)
    found = (p["users"][n % USERS] * p["items"][n * 7 % ITEMS]).sum(-1)
    return -norm.logpdf(X[:, 0], found, 1.0).sum()


def parameters(name: str) -> Any:
    """Where a model starts."""
    normal = jax.random.normal
    keys = jax.random.split(jax.random.key(0), 2)
    return {
        "mixture": lambda: {"logits": jnp.zeros(GROUPS), "centers": normal(keys[0], (GROUPS, WIDTH)),
                            "scales": jnp.zeros((GROUPS, WIDTH))},
        "autoencoder": lambda: {"e": dense(WIDTH, 64, 0), "mu": dense(64, 4, 1), "sigma": dense(64, 4, 2),
                                "d": dense(4, 64, 3), "out": dense(64, WIDTH, 4)},
        "counts": lambda: {"w": first_steps_jax.factor(WIDTH)},
        "factorization": lambda: {"users": 0.1 * normal(keys[0], (USERS, FACTORS)),
                                  "items": 0.1 * normal(keys[1], (ITEMS, FACTORS))},
    }[name]()  # fmt: skip


def forms() -> dict[str, Form]:
    """The forms of all models; labels begin with the model's name."""
    found: dict[str, Form] = {}
    for name in (*SMALL, "mixture", "autoencoder", "counts", "factorization"):
        small = name in SMALL
        loss = getattr(first_steps_jax, name) if small else globals()[name]
        start = first_steps_jax.parameters(name) if small else parameters(name)

        def step(state: Any, key: Any, t: Any, loss: Any = loss) -> Any:
            scaled = jax.tree.map(lambda g: g / ROWS, jax.grad(loss)(state[0], key))
            return jax_loops.adam(state, scaled, t)

        made = jax_loops.forms(step, jax_loops.adam_state(start))
        found |= {f"{name}: {label}": form for label, form in made.items()}
    return found
