"""Noise-contrastive estimation: a Gaussian whose log Z is a parameter, and independent component analysis.

An unnormalised log-density s(x; θ) is learned by telling every row of the data from k samples of a known noise q:
minimise -Σ log σ(s - log kq) over data - Σ log σ(log kq - s) over noise. The Gaussian is compared with maximum
likelihood; the ICA model p(x) ∝ exp(-Σᵢ |wᵢᵀx|) recovers the mixing of Laplace sources up to order, sign and scale.

Gutmann & Hyvärinen 2012.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

import ppl
from ppl import MultivariateNormal, Normal
from ppl.models import common, pictures

DIM, SPREAD = 3, 2.0
SOURCES = 4


@ppl.model
def gaussian(x: Any) -> None:
    """log p(x) = -½ |Lᵀ(x - μ)|² - log Z, with log Z free."""
    mean = ppl.param("mean", 0.0, shape=DIM)
    factor = ppl.param("factor", 0.5 * np.eye(DIM), constraint="lower_cholesky")
    log_z = ppl.param("log_z", 0.0)
    with ppl.plate("data", x) as x:
        ppl.factor("score", -0.5 * np.sum(((x - mean) @ factor) ** 2) - log_z)


@ppl.model
def components(x: Any) -> None:
    """log p(x) = -Σᵢ |wᵢᵀx| - log Z."""
    unmixing = ppl.param("unmixing", ppl.init.normal(1.0), shape=(SOURCES, SOURCES))
    log_z = ppl.param("log_z", 0.0)
    with ppl.plate("data", x) as x:
        ppl.factor("score", -np.sum(np.abs(unmixing @ x)) - log_z)


def gaussian_rows(n: int, seed: int) -> np.ndarray:
    """n rows of a correlated Gaussian: (n, DIM)."""
    rng = np.random.default_rng(seed)
    scale = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.4, 0.5, 1.1]])
    return np.array([0.5, -1.0, 0.3]) + rng.normal(size=(n, DIM)) @ scale.T


def mixed_rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n rows of mixed Laplace sources (n, SOURCES), and the mixing matrix."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(SOURCES, SOURCES))
    return rng.laplace(size=(n, SOURCES)) @ mixing.T, mixing


def features(x: np.ndarray) -> np.ndarray:
    """u(x) with log p(x) = θᵀu(x): a Gaussian has θ = (precision, precision · mean, -log Z')."""
    below = np.tril_indices(DIM)
    pairs = -0.5 * x[..., :, None] * x[..., None, :]
    pairs = (pairs + np.where(np.eye(DIM) > 0, 0.0, pairs))[..., below[0], below[1]]
    return np.concatenate([pairs, x, np.ones((*x.shape[:-1], 1))], -1)


def natural(mean: np.ndarray, precision: np.ndarray, log_z: float) -> np.ndarray:
    """θ of a Gaussian with mean, precision and log Z."""
    shift = -0.5 * mean @ precision @ mean - log_z
    return np.concatenate([precision[np.tril_indices(DIM)], precision @ mean, [shift]])


def log_partition(precision: np.ndarray) -> float:
    """log ∫ exp(-½ (x - μ)ᵀ P (x - μ)) dx."""
    return float(0.5 * len(precision) * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(precision)[1])


def maximum_likelihood(x: np.ndarray) -> np.ndarray:
    """θ of the Gaussian of the rows' own mean and covariance, with the log Z that normalises it."""
    precision = np.linalg.inv(np.cov(x.T, bias=True))
    return natural(x.mean(0), precision, log_partition(precision))


def standard_errors(x: np.ndarray, k: int, scale: float, seed: int = 1) -> np.ndarray:
    """Standard errors over data sets of θ_NCE - θ_ML for the rows x, from the influence of every row on both.

    The score of NCE has its mean over noise, as the noise is drawn anew in every step of training.
    """
    ml, u = maximum_likelihood(x), features(x)
    noise = np.random.default_rng(seed).normal(0.0, scale, (200_000, DIM))
    v = features(noise)

    def odds(rows: np.ndarray, features_: np.ndarray) -> np.ndarray:
        log_q = -0.5 * np.sum(rows**2, -1) / scale**2 - DIM * np.log(scale * np.sqrt(2 * np.pi))
        return expit(features_ @ ml - log_q - np.log(k))

    p_data, p_noise = odds(x, u), odds(noise, v)
    slope = (1 - p_data)[:, None] * u - k * np.mean(p_noise[:, None] * v, 0)
    curvature = (u * (p_data * (1 - p_data))[:, None]).T @ u / len(x)
    curvature += k * (v * (p_noise * (1 - p_noise))[:, None]).T @ v / len(noise)
    nce = np.linalg.solve(curvature, slope.T).T
    centred = u[:, :-1] - u[:, :-1].mean(0)
    fisher = gaussian_fisher(x)
    ml_influence = np.linalg.solve(fisher, centred.T).T
    log_z = -ml_influence @ u[:, :-1].mean(0)
    return np.std(nce - np.column_stack([ml_influence, log_z]), axis=0) / np.sqrt(len(x))


def gaussian_fisher(x: np.ndarray) -> np.ndarray:
    """Cov[u] of the features but the constant, under the Gaussian of the rows' own mean and covariance."""
    rows = np.random.default_rng(2).normal(size=(400_000, DIM))
    rows = x.mean(0) + rows @ np.linalg.cholesky(np.cov(x.T, bias=True)).T
    return np.cov(features(rows)[:, :-1].T)


def amari(unmixing: np.ndarray, mixing: np.ndarray) -> float:
    """Amari distance of unmixing · mixing from a scaled permutation: 0 for one, at most 1 (Amari et al. 1996)."""
    p = np.abs(unmixing @ mixing)
    n = len(p)
    rows = (p / p.max(1, keepdims=True)).sum() - n
    columns = (p / p.max(0, keepdims=True)).sum() - n
    return float((rows + columns) / (2 * n * (n - 1)))


def main(argv: common.Arguments = None) -> int:
    """Fit both models; compare with maximum likelihood, the exact log Z and FastICA; draw the way there."""
    job = common.Job("nce", __doc__, argv, epochs=60, lr=3e-2, k=10, rows=4000)
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(14, 4))
    _fit_gaussian(job, axes[0])
    _fit_components(job, axes[1], axes[2])
    figure.tight_layout()
    job.picture(figure)
    return job.finish()


def _fit(job: common.Job, program: Any, rows: np.ndarray, label: str, watch: Any) -> tuple[Any, np.ndarray]:
    """The fit, and what `watch(parameters)` gave at every tenth step, with the steps: (n, 2)."""
    path: list[tuple[int, float]] = []
    steps = job.options.epochs * -(-len(rows) // job.options.batch_size)

    def callback(step: int, state: Any, metrics: Any) -> None:
        if step % 10 == 0:
            path.append((step, watch(program.params(state))))

    optimizer = ppl.optim.Adam(ppl.optim.cosine(job.options.lr, 0.0, steps))
    return job.fit(program, rows, optimizer=optimizer, label=label, callback=callback), np.array(path).reshape(-1, 2)


def _fit_gaussian(job: common.Job, ax: Any) -> None:
    options = job.options
    x = gaussian_rows(options.rows, options.seed)
    program = job.compile(ppl.nce(gaussian, Normal(np.zeros(DIM), SPREAD), options.k), data=x)
    fit, path = _fit(job, program, x, "gaussian", lambda p: float(p["log_z"]))
    mean, factor, log_z = (fit.params[name].astype(np.float64) for name in ("mean", "factor", "log_z"))
    precision = factor @ factor.T
    away = natural(mean, precision, float(log_z)) - maximum_likelihood(x)
    errors = standard_errors(x, options.k, SPREAD)
    job.report("Gaussian: learned log Z", float(log_z))
    job.report("Gaussian: log Z of the learned precision", log_partition(precision))
    job.report("Gaussian: largest distance from maximum likelihood", float(np.abs(away / errors).max()), unit="errors")
    ax.plot(*path.T, lw=1, label="learned")
    exact = log_partition(np.linalg.inv(np.cov(x.T, bias=True)))
    ax.axhline(exact, color="k", ls=":", lw=1, label="maximum likelihood, exact")
    ax.set(xlabel="step", ylabel="log Z", title=f"Gaussian in {DIM} dimensions")
    ax.legend()


def _fit_components(job: common.Job, left: Any, right: Any) -> None:
    from sklearn.decomposition import FastICA

    options = job.options
    x, mixing = mixed_rows(options.rows, options.seed)
    noise = MultivariateNormal(np.zeros(SOURCES), scale_tril=np.linalg.cholesky(np.cov(x.T)))
    program = job.compile(ppl.nce(components, noise, options.k), data=x)
    fit, path = _fit(job, program, x, "components", lambda p: amari(p["unmixing"], mixing))
    unmixing = fit.params["unmixing"].astype(np.float64)
    exact = SOURCES * np.log(2) - np.linalg.slogdet(unmixing)[1]
    fast = FastICA(SOURCES, random_state=options.seed, whiten="unit-variance").fit(x)
    job.report("ICA: Amari distance", amari(unmixing, mixing))
    job.report("ICA: Amari distance of FastICA", amari(fast.components_, mixing))
    job.report("ICA: learned log Z less the exact one", float(fit.params["log_z"]) - exact)
    left.semilogy(*path.T, lw=1, label="NCE")
    left.axhline(amari(fast.components_, mixing), color="C1", ls=":", label="FastICA")
    left.set(xlabel="step", ylabel="Amari distance", title=f"ICA, {SOURCES} Laplace sources")
    left.legend()
    product = unmixing @ mixing
    shown = right.imshow(product, cmap="RdBu", vmin=-np.abs(product).max(), vmax=np.abs(product).max())
    right.set(xlabel="source", ylabel="component", title="learned unmixing · true mixing")
    right.set_xticks(range(SOURCES))
    right.set_yticks(range(SOURCES))
    right.figure.colorbar(shown, ax=right, shrink=0.8)


if __name__ == "__main__":
    raise SystemExit(main())
