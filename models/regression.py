"""Heteroscedastic regression on the diabetes data: mean wᵀx and standard deviation √(1 + (vᵀx)²), both linear.

The cost of a row is -log N(t; μ, σ²) with σ(z) = √(1 + z²), so σ never falls below 1; maximum likelihood has the
hand-derived gradients ∂/∂w = -(t - μ)/σ² x and ∂/∂v = -((t - μ)²/σ⁴ - 1/σ²) z x, which the tests use as oracle.
A network with one hidden layer in place of both linear maps is held against it on held-out rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Normal
from ppl.models import common, data, pictures

NOISE, HIDDEN = 0.5, 8


@ppl.model
def heteroscedastic(x: Any, t: Any) -> None:
    """t ~ N(wᵀx, 1 + (vᵀx)²)."""
    w = ppl.param("w", ppl.init.zeros(), shape=x.shape[1])
    v = ppl.param("v", ppl.init.normal(0.1), shape=x.shape[1])
    with ppl.plate("data", x, t) as (x, t):
        z = v @ x
        ppl.deterministic("mean", w @ x)
        ppl.deterministic("scale", np.sqrt(1.0 + z**2))
        ppl.sample("t", Normal(w @ x, np.sqrt(1.0 + z**2)), obs=t)


@ppl.model
def network(x: Any, t: Any) -> None:
    """t ~ N(μ, 1 + z²) with (μ, z) the outputs of a network with one tanh layer, and a N(0, 1) prior on its weights."""
    first = ppl.param("first", ppl.init.glorot_uniform(), shape=(x.shape[1], HIDDEN))
    second = ppl.param("second", ppl.init.glorot_uniform(), shape=(HIDDEN + 1, 2))
    ppl.cost("prior", 0.5 * (np.sum(first**2) + np.sum(second**2)))
    with ppl.plate("data", x, t) as (x, t):
        mean, z = np.concatenate([np.tanh(x @ first), np.ones(1)]) @ second
        ppl.deterministic("mean", mean)
        ppl.deterministic("scale", np.sqrt(1.0 + z**2))
        ppl.sample("t", Normal(mean, np.sqrt(1.0 + z**2)), obs=t)


def slope(t: Any, mean: Any, z: Any) -> Any:
    """∂ log N(t; μ, 1 + z²)/∂z = ((t - μ)²/σ⁴ - 1/σ²) z, at most (t - μ)² + 1 in absolute value."""
    variance = 1 + z**2
    return ((t - mean) ** 2 / variance**2 - 1 / variance) * z


def hand_gradients(w: np.ndarray, v: np.ndarray, x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the summed cost -Σ log N(tᵢ; μᵢ, σᵢ²) in w and v, derived by hand."""
    z, residual = x @ v, t - x @ w
    variance = 1 + z**2
    return -(residual / variance) @ x, -((residual**2 / variance**2 - 1 / variance) * z) @ x


def features() -> tuple[np.ndarray, np.ndarray]:
    """Standardised features with a constant, and the target in units of NOISE standard deviations."""
    x, t = data.diabetes()
    return np.column_stack([x, np.ones(len(x))]), t / NOISE


def held_out(job: common.Job, name: str, model: Any, x: np.ndarray, t: np.ndarray) -> None:
    """Train on 342 rows and report the negative log-likelihood of the other 100."""
    order = np.random.default_rng(0).permutation(len(t))
    train, test = order[:342], order[342:]
    program = ppl.compile(ppl.likelihood(model), dtype="float64", data=(x, t), target=job.options.target)
    rate = ppl.optim.Adam(ppl.optim.exponential(job.options.lr, 0.999))
    fit = job.fit(program, x[train], t[train], optimizer=rate, label=f"{name}-held-out")
    rows = program.sample(fit.state, x[test], t[test], sites=["mean", "scale"])
    z = (t[test] - rows["mean"]) / rows["scale"]
    losses = 0.5 * np.log(2 * np.pi) + np.log(rows["scale"]) + 0.5 * z**2
    error = losses.std() / np.sqrt(len(test))
    job.report(f"held-out negative log-likelihood, {name}", losses.mean(), error, "nats per row")


def main(argv: common.Arguments = None) -> int:
    """Fit, compare with the homoscedastic fit, draw the standard deviation against the residuals."""
    job = common.Job("regression", __doc__, argv, epochs=300, lr=1e-2)
    x, t = features()
    program = job.compile(ppl.likelihood(heteroscedastic), dtype="float64", data=(x, t))
    fit = job.fit(program, x, t, optimizer=ppl.optim.Adam(ppl.optim.exponential(job.options.lr, 0.999)))
    residual = t - x @ np.linalg.lstsq(x, t, rcond=None)[0]
    job.report("negative log-likelihood", program.value(fit.state, x, t) / len(t), unit="nats per row")
    constant = 0.5 * np.log(2 * np.pi * residual.var()) + 0.5
    job.report("negative log-likelihood of least squares, constant σ", constant, unit="nats per row")
    scale = program.sample(fit.state, x, t, sites=["scale"])["scale"]
    mean = x @ fit.params["w"]
    held_out(job, "linear", heteroscedastic, x, t)
    held_out(job, "network", network, x, t)
    job.picture(draw(NOISE * scale, NOISE * (t - mean), NOISE * residual.std()))
    return job.finish()


def draw(scale: np.ndarray, residual: np.ndarray, constant: float, parts: int = 8) -> Any:
    """Residuals against the standard deviation that the model gives them, with root mean squares of equal parts."""
    figure, ax = pictures.pyplot().subplots(figsize=(7, 4.5))
    ax.scatter(scale, residual, s=7, color="0.6", label="residual")
    ends = np.array([scale.min(), scale.max()])
    for sign in (1, -1):
        ax.plot(ends, sign * ends, "C3", lw=1.2, label="±σ(x) of the model" if sign > 0 else None)
        ax.axhline(sign * constant, color="C0", ls=":", lw=1, label="±σ of least squares" if sign > 0 else None)
    groups = np.array_split(np.argsort(scale), parts)
    root = np.array([np.sqrt(np.mean(residual[g] ** 2)) for g in groups])
    error = root / np.sqrt(2 * np.array([len(g) for g in groups]))
    at = [scale[g].mean() for g in groups]
    ax.errorbar(at, root, error, fmt="ko", ms=4, lw=1, label=f"root mean square of {len(groups[0])} residuals")
    ax.set(xlabel="σ(x) of the model", ylabel="residual", title="diabetes: noise that depends on the input")
    ax.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
