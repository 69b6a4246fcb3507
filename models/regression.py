"""Heteroscedastic regression on the diabetes data: mean wᵀx and standard deviation √(1 + (vᵀx)²), both linear.

The cost of a row is -log N(t; μ, σ²) with σ(z) = √(1 + z²), so σ never falls below 1; maximum likelihood has the
hand-derived gradients ∂/∂w = -(t - μ)/σ² x and ∂/∂v = -((t - μ)²/σ⁴ - 1/σ²) z x, which the tests use as oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Normal
from ppl.models import common, data, pictures

NOISE = 0.5


@ppl.model
def heteroscedastic(x: Any, t: Any) -> None:
    """t ~ N(wᵀx, 1 + (vᵀx)²)."""
    w = ppl.param("w", ppl.init.zeros(), shape=x.shape[1])
    v = ppl.param("v", ppl.init.normal(0.1), shape=x.shape[1])
    with ppl.plate("data", x, t) as (x, t):
        z = v @ x
        ppl.deterministic("scale", np.sqrt(1.0 + z**2))
        ppl.sample("t", Normal(w @ x, np.sqrt(1.0 + z**2)), obs=t)


def hand_gradients(w: np.ndarray, v: np.ndarray, x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the summed cost -Σ log N(tᵢ; μᵢ, σᵢ²) in w and v, derived by hand."""
    z, residual = x @ v, t - x @ w
    variance = 1 + z**2
    return -(residual / variance) @ x, -((residual**2 / variance**2 - 1 / variance) * z) @ x


def features() -> tuple[np.ndarray, np.ndarray]:
    """Standardised features with a constant, and the target in units of NOISE standard deviations."""
    x, t = data.diabetes()
    return np.column_stack([x, np.ones(len(x))]), t / NOISE


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
    figure, ax = pictures.pyplot().subplots(figsize=(7, 5))
    order = np.argsort(scale)
    ax.scatter(scale, NOISE * np.abs(t - mean), s=8, alpha=0.5, label="|residual|")
    ax.plot(scale[order], NOISE * scale[order], color="C3", label="σ(x)")
    ax.set(xlabel="√(1 + (vᵀx)²)", ylabel="standard deviations of the target", title="heteroscedastic regression")
    ax.legend()
    job.picture(figure)
    return job.finish()


if __name__ == "__main__":
    raise SystemExit(main())
