"""A Gaussian process whose kernel is learned: regression by the marginal likelihood, in ten lines.

y ~ N(0, a² exp(-(x - x')² / 2 l²) + s² 1). Amplitude, length and noise maximise log p(y), whose gradient goes through
the Cholesky factor of the covariance of all points. The posterior of the function is the normal law of the points given
the observations. Rasmussen & Williams 2006.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, optimize, stats

import ppl
from ppl.models import common, pictures

TRUE = {"amplitude": 1.5, "length": 0.8, "noise": 0.3}
POINTS = 80


def kernel(x: Any, z: Any, amplitude: Any, length: Any) -> Any:
    """a² exp(-(x - z)² / 2 l²) between points x (n,) and z (m,); of values or arrays."""
    apart = (x[:, None] - z[None, :]) / length
    return amplitude**2 * np.exp(-0.5 * apart**2)


@ppl.model
def process(x: Any, y: Any) -> None:
    """Observations of a random function with noise, and a kernel that is learned."""
    amplitude, length, noise = (ppl.param(name, 1.0, constraint="positive") for name in TRUE)
    covariance = kernel(x, x, amplitude, length) + noise**2 * np.eye(x.shape[0])
    ppl.sample("y", ppl.MultivariateNormal(np.zeros(x.shape[0]), covariance), obs=y)


def observations(count: int = POINTS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points between -4 and 4 with a gap, and a draw of the process with noise there, at `TRUE`: (count,) each."""
    rng = np.random.default_rng(seed)
    x = np.sort(np.concatenate([rng.uniform(-4, 0, count // 2), rng.uniform(1.5, 4, count - count // 2)]))
    covariance = kernel(x, x, TRUE["amplitude"], TRUE["length"]) + TRUE["noise"] ** 2 * np.eye(count)
    return x, linalg.cholesky(covariance, lower=True) @ rng.normal(size=count)


def posterior(
    x: np.ndarray, y: np.ndarray, at: np.ndarray, amplitude: float, length: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the function at points `at`."""
    inner = kernel(x, x, amplitude, length) + noise**2 * np.eye(len(x))
    across = linalg.solve(inner, kernel(x, at, amplitude, length), assume_a="pos")
    spread = amplitude**2 - np.sum(across * kernel(x, at, amplitude, length), 0)
    return across.T @ y, np.sqrt(np.maximum(spread, 0.0))


def negative_log_likelihood(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """-log p(y) at the logarithms of amplitude, length and noise, by SciPy."""
    amplitude, length, noise = np.exp(theta)
    covariance = kernel(x, x, amplitude, length) + noise**2 * np.eye(len(x))
    return float(-stats.multivariate_normal(np.zeros(len(x)), covariance).logpdf(y))


def main(argv: common.Arguments = None) -> int:
    """Learn the kernel, beside an optimiser without gradients; draw the posterior of the function."""
    job = common.Job("gaussian_process", __doc__, argv, epochs=None, steps=600, batch_size=None, lr=5e-2)
    x, y = observations(seed=job.options.seed)
    program = job.compile(ppl.likelihood(process), data=(x, y), dtype="float64")
    rate = ppl.optim.Adam(ppl.optim.cosine(job.options.lr, 1e-4, job.options.steps))
    fit = job.fit(program, x, y, steps=job.options.steps, batch_size=None, optimizer=rate)
    found = {name: float(fit.params[name]) for name in TRUE}
    best = optimize.minimize(
        negative_log_likelihood, np.zeros(3), (x, y), "Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}
    )
    job.report("negative log-likelihood", float(program.value(fit.state, x, y)), unit="nats")
    job.report("negative log-likelihood, Nelder and Mead", float(best.fun), unit="nats")
    for (name, value), log in zip(found.items(), best.x, strict=True):
        job.report(f"{name} learned", value)
        job.report(f"{name}, Nelder and Mead", float(np.exp(log)))
    job.picture(draw(x, y, found))
    return job.finish()


def draw(x: np.ndarray, y: np.ndarray, found: dict[str, float]) -> Any:
    """Observations, and the posterior of the function under the learned kernel."""
    figure, axes = pictures.pyplot().subplots(figsize=(9, 4))
    at = np.linspace(-4.5, 4.5, 400)
    mean, spread = posterior(x, y, at, **found)
    axes.fill_between(at, mean - 2 * spread, mean + 2 * spread, color="C0", alpha=0.25, label="± 2 standard deviations")
    axes.plot(at, mean, "C0", label="posterior mean")
    axes.plot(x, y, "k.", ms=4, label="observations")
    axes.set(xlabel="x", ylabel="y", title="a Gaussian process with a learned kernel")
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
