"""Bayesian logistic regression by variational inference: mean-field and full-rank Gaussian guides on breast cancer.

    w ~ N(0, I),  y | x, w ~ Bernoulli(σ(wᵀx)),  q(w) = N(μ, diag σ²) or N(μ, LLᵀ)

The weights are global: they stand outside the data plate, whose rows come in minibatches that are scaled up to the
whole. As wᵀx is Gaussian under q, the bound is a sum of one-dimensional integrals; their quadrature, maximised by
SciPy, is the figure that stochastic optimisation is held against, with pathwise, score-function and Bonnet-Price
gradients. Jaakkola & Jordan 2000; Rezende, Mohamed & Wierstra 2014; Kucukelbir et al. 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, MultivariateNormal, Normal
from ppl.errors import PplError
from ppl.models import common, data, pictures

NODES = np.linspace(-9, 9, 361)
WEIGHTS = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()


@ppl.model
def generative(x: Any, y: Any) -> None:
    """w → y."""
    w = ppl.sample("w", Normal(np.zeros(x.shape[1]), 1.0))
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Bernoulli(logits=w @ x), obs=y)


@ppl.model
def mean_field(x: Any, y: Any) -> None:
    """Independent weights."""
    scale = ppl.param("scale", 0.3, shape=x.shape[1], constraint="positive")
    ppl.sample("w", Normal(ppl.param("loc", 0.0, shape=x.shape[1]), scale))


@ppl.model
def full_rank(x: Any, y: Any) -> None:
    """Correlated weights."""
    tril = ppl.param("tril", 0.3 * np.eye(x.shape[1]), constraint="lower_cholesky")
    ppl.sample("w", MultivariateNormal(ppl.param("loc", 0.0, shape=x.shape[1]), scale_tril=tril))


GUIDES = {"mean-field": mean_field, "full-rank": full_rank}


def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """400 training rows of 30 standardised features and a constant with labels 0.0 or 1.0, and 169 held-out ones."""
    x, y = data.breast_cancer()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = np.column_stack([x, np.ones(len(x))])[order], y[order]
    return x[:400], y[:400], x[400:], y[400:]


def quadrature(loc: np.ndarray, factor: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, Any, Any]:
    """The negative bound of N(loc, LLᵀ) without noise, and its gradients in loc and L (also those above the diagonal).

    The loss of a row has mean E[log(1 + exp(-t))], t = ±wᵀx Gaussian: trapezoid rule, whose error
    exp(-2π²/(0.05 s)) for a standard deviation s of t is negligible up to s = 20.
    """
    sign = 2 * y - 1
    spread = x @ factor
    t = (sign * (x @ loc))[:, None] + np.sqrt((spread**2).sum(1))[:, None] * NODES
    p = 1 / (1 + np.exp(np.clip(t, -700, 700)))
    fit = np.logaddexp(0, -t) @ WEIGHTS
    slope, curvature = -(p @ WEIGHTS) * sign, (p * (1 - p)) @ WEIGHTS
    diagonal = np.diag(factor)
    kl = 0.5 * ((factor**2).sum() + loc @ loc - len(loc)) - np.log(diagonal).sum()
    d_factor = (x * curvature[:, None]).T @ spread + factor - np.diag(1 / diagonal)
    return float(fit.sum() + kl), x.T @ slope + loc, d_factor


def optimum(name: str, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The least negative bound of a guide by quadrature and L-BFGS, and its loc and L."""
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise PplError(data.MISSING) from None
    d = x.shape[1]
    free = np.eye(d, dtype=bool) if name == "mean-field" else np.tril(np.ones((d, d), bool))

    def unpack(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor = np.zeros((d, d))
        factor[free] = flat[d:]
        return flat[:d], np.where(np.eye(d), np.exp(np.clip(factor, -20, 20)), factor)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loc, factor = unpack(flat)
        value, d_loc, d_factor = quadrature(loc, factor, x, y)
        return value, np.concatenate([d_loc, np.where(np.eye(d), d_factor * factor, d_factor)[free]])

    start = np.concatenate([np.zeros(d), np.diag(np.full(d, -1.0))[free]])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-13})
    return float(found.fun), *unpack(found.x)


def posterior(program: Any, state: Any) -> tuple[np.ndarray, np.ndarray]:
    """loc and L of a trained guide."""
    params = program.params(state)
    factor = np.diag(params["scale"]) if "scale" in params else params["tril"]
    return params["loc"].astype(np.float64), factor.astype(np.float64)


def predict(loc: np.ndarray, factor: np.ndarray, x: np.ndarray) -> np.ndarray:
    """P(y = 1 | x) averaged over the posterior, by quadrature."""
    t = (x @ loc)[:, None] + np.sqrt(((x @ factor) ** 2).sum(1))[:, None] * NODES
    return (1 / (1 + np.exp(-t))) @ WEIGHTS


def gradient_variances(name: str, x: np.ndarray, y: np.ndarray, params: Any, repeats: int = 200) -> dict[str, float]:
    """Variance, summed over parameters, of the two-sample gradient on all rows under three estimators."""
    baseline = ppl.estimators.ScoreFunction("leave_one_out")
    found = {}
    for estimator in (ppl.estimators.Pathwise(), ppl.estimators.BonnetPrice(), baseline):
        objective = ppl.elbo(generative, GUIDES[name])
        program = ppl.compile(objective, estimators=estimator, particles=2, data=(x, y))
        state = program.init(0, x, y, params=params)
        measured = program.diagnose(state, x, y, repeats=repeats, timing=False, backend="interpreter")
        found[estimator.label] = measured.total.trace
    return found


def main(argv: common.Arguments = None) -> int:
    """Train both guides; compare bound, posterior and predictions with quadrature and scikit-learn."""
    job = common.Job("bayes_logistic", __doc__, argv, epochs=1500, lr=2e-2, particles=16)
    x, y, test_x, test_y = rows()
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(14, 4))
    for i, (name, guide) in enumerate(GUIDES.items()):
        program = job.compile(ppl.elbo(generative, guide), data=(x, y))
        steps = job.options.epochs * -(-len(x) // job.options.batch_size)
        rate = ppl.optim.exponential(job.options.lr, 0.003 ** (1 / steps))
        fit = job.fit(program, x, y, label=name, optimizer=ppl.optim.Adam(rate))
        loc, factor = posterior(program, fit.state)
        best, best_loc, best_factor = optimum(name, x, y)
        job.report(f"negative bound, {name}", quadrature(loc, factor, x, y)[0], unit="nats")
        job.report(f"negative bound, {name}, best by quadrature", best, unit="nats")
        report_predictions(job, name, predict(loc, factor, test_x), test_y)
        for label, variance in gradient_variances(name, x, y, fit.params).items():
            job.report(f"gradient variance, {name}, {label}", variance)
        pictures.show_training(axes[0], fit.history, "negative bound (nats per row)", f"C{i}", name)
        axes[0].axhline(best / len(x), color="k", lw=0.8, ls="-:"[i], label=f"{name}, best by quadrature")
        draw(axes[1 + i], f"C{i}", name, (loc, factor), (best_loc, best_factor))
    axes[0].set(title="training on minibatches", ylim=(0.05, 0.35))
    axes[0].legend(fontsize=8)
    axes[2].set(ylabel="")
    from sklearn.linear_model import LogisticRegression

    reference = LogisticRegression(C=1.0, fit_intercept=False, max_iter=5000).fit(x, y)
    report_predictions(job, "scikit-learn's posterior mode", reference.predict_proba(test_x)[:, 1], test_y)
    figure.tight_layout()
    job.picture(figure)
    return job.finish()


def report_predictions(job: common.Job, name: str, p: np.ndarray, y: np.ndarray) -> None:
    """Accuracy and log-loss of probabilities on held-out rows."""
    p = np.clip(p, 1e-15, 1 - 1e-15)
    job.report(f"held-out accuracy, {name}", np.mean((p > 0.5) == y))
    job.report(f"held-out log-loss, {name}", -np.mean(np.where(y > 0, np.log(p), np.log1p(-p))), unit="nats per row")


def draw(ax: Any, color: str, name: str, found: Any, best: Any) -> None:
    """Posterior means and standard deviations of the weights against those of the best guide."""
    (loc, factor), (best_loc, best_factor) = found, best
    deviation, best_deviation = (np.sqrt((f**2).sum(1)) for f in (factor, best_factor))
    at = np.arange(len(loc))
    ax.errorbar(at, loc, deviation, fmt=f"{color}o", ms=3, lw=1, label="trained")
    ax.errorbar(at + 0.4, best_loc, best_deviation, fmt="k.", ms=2, lw=0.7, label="quadrature")
    ax.set(xlabel="weight", ylabel="mean ± standard deviation", title=f"posterior, {name}")
    ax.legend(fontsize=8)


if __name__ == "__main__":
    raise SystemExit(main())
