"""`benchmarks/first_steps.py` in JAX: the losses by hand, one jitted step; W1, W3, W4 and W8 are the suite's peers."""

from __future__ import annotations

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm, t

from benchmarks.peers import jax_loops
from benchmarks.peers.jax_loops import affine, bernoulli_log_prob, dense

ROWS = jnp.asarray(np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32))
SUITE = {"toy": "toy_step", "belief_network": "sbn_step", "autoencoder": "vae_step", "gammas": "gamma_units",
         "hidden_markov": "hmm_step", "random_walk": "walk_step"}  # fmt: skip
STUDENT = 4.0


def draw(p: Any, key: Any) -> tuple[Any, Any]:
    """Reparameterized normal values, and KL(q ‖ N(0, 1)), of {"loc", "scale"} with log scales."""
    z = p["loc"] + jnp.exp(p["scale"]) * jax.random.normal(key, p["loc"].shape)
    return z, jnp.sum(0.5 * (p["loc"] ** 2 + jnp.exp(2 * p["scale"]) - 1) - p["scale"])


def factor(*shape: int) -> dict[str, Any]:
    """Parameters of a normal factor."""
    return {"loc": jnp.zeros(shape), "scale": jnp.full(shape, -1.0)}


def hierarchical(p: Any, key: Any) -> Any:
    """Prior and guide sampled for the groups' intercepts, KL in closed form for the slope."""
    keys = jax.random.split(key, 4)
    values = {name: draw(p[name], k)[0] for name, k in zip(("center", "spread", "a"), keys, strict=False)}
    b, kl = draw(p["b"], keys[3])
    log_q = sum(norm.logpdf(v, p[n]["loc"], jnp.exp(p[n]["scale"])).sum() for n, v in values.items())
    log_p = norm.logpdf(values["center"], 0.0, 5.0) + norm.logpdf(values["spread"])
    log_p += norm.logpdf(values["a"], values["center"], jnp.exp(values["spread"])).sum()
    group = jnp.arange(len(ROWS)) % 8
    return log_q - log_p + kl - norm.logpdf(ROWS[:, 1], values["a"][group] + b * ROWS[:, 0], 1.0).sum()


def autoregression(p: Any, key: Any) -> Any:
    """12 steps, unrolled as in the model."""
    keys = jax.random.split(key, 13)
    z = p["m"] + jnp.exp(p["s"][0]) * jax.random.normal(keys[0], (len(ROWS),))
    loss = norm.logpdf(z, p["m"], jnp.exp(p["s"][0])) - norm.logpdf(z)
    for k in range(1, 13):
        loc, scale = p["a"][k] * z + p["b"][k] * ROWS[:, k], jnp.exp(p["s"][k])
        new = loc + scale * jax.random.normal(keys[k], (len(ROWS),))
        loss += norm.logpdf(new, loc, scale) - norm.logpdf(new, p["decay"] * z, 1.0) - norm.logpdf(ROWS[:, k], new, 1.0)
        z = new
    return loss.sum()


def bayesian_network(p: Any, key: Any) -> Any:
    """One draw of all weights."""
    drawn = {n: draw(q, k) for (n, q), k in zip(p.items(), jax.random.split(key, 4), strict=True)}
    w = {n: z for n, (z, _) in drawn.items()}
    loc = jnp.tanh(ROWS @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]
    return sum(kl for _, kl in drawn.values()) - norm.logpdf(ROWS[:, 0], loc, 0.5).sum()


def logistic(p: Any, key: Any) -> Any:
    """Four draws."""
    z = p["w"]["loc"] + jnp.exp(p["w"]["scale"]) * jax.random.normal(key, (4, 13))
    logits, y = z @ ROWS.T, (ROWS[:, 0] > 0).astype(jnp.float32)
    return draw(p["w"], key)[1] - bernoulli_log_prob(logits, y).mean()


def importance(p: Any, key: Any) -> Any:
    """log of the mean weight of 5 samples."""
    h = jnp.tanh(affine(p["e"], ROWS))
    mu, scale = affine(p["mu"], h), jnp.exp(affine(p["sigma"], h))
    z = mu + scale * jax.random.normal(key, (5, len(ROWS), 4))
    x = affine(p["out"], jnp.tanh(affine(p["d"], z)))
    weights = norm.logpdf(ROWS, x, 1.0).sum(-1) + norm.logpdf(z).sum(-1) - norm.logpdf(z, mu, scale).sum(-1)
    return -(jax.nn.logsumexp(weights, 0) - jnp.log(5.0)).sum()


def robust(p: Any, key: Any) -> Any:
    """Maximum likelihood."""
    return -t.logpdf(ROWS[:, 0], STUDENT, ROWS @ p["w"], jnp.exp(p["s"])).sum()


def parameters(name: str) -> Any:
    """Where a model starts."""
    return {
        "hierarchical": lambda: {"center": factor(), "spread": factor(), "a": factor(8), "b": factor()},
        "autoregression": lambda: {"m": jnp.zeros(()), "decay": jnp.full((), 0.5),
                                   **{k: jnp.full(13, 0.1) for k in "abs"}},
        "bayesian_network": lambda: {"w1": factor(13, 50), "b1": factor(50), "w2": factor(50), "b2": factor()},
        "logistic": lambda: {"w": factor(13)},
        "importance": lambda: {"e": dense(13, 32, 0), "mu": dense(32, 4, 1), "sigma": dense(32, 4, 2),
                               "d": dense(4, 32, 3), "out": dense(32, 13, 4)},
        "robust": lambda: {"w": jnp.zeros(13), "s": jnp.zeros(())},
    }[name]()  # fmt: skip


def first_step(name: str) -> None:
    """One step of training, jitted as a user does it."""
    if name in SUITE:
        found = importlib.import_module(f"benchmarks.peers.{SUITE[name]}_jax").forms()
        form = found.get("JAX jit") or found["JAX scan"]
        form.wait(form.call())
        return
    loss = globals()[name]

    @jax.jit
    def step(state: Any, key: Any, number: Any) -> Any:
        return jax_loops.adam(state, jax.grad(loss)(state[0], key), number)

    state = jax_loops.adam_state(parameters(name))
    jax.block_until_ready(step(state, jax.random.key(0), 0))
