"""Generalised linear models as maximum likelihood of exponential families: logistic, softmax, Poisson, Gaussian.

Each has a linear predictor η = Bᵀx in the natural parameter of its family, so that the negative log-likelihood is
convex in B with gradient Xᵀ(E[u(y)] - u(y)) and Hessian Xᵀ Var[u(y)] X: the Fisher information, observed or expected.
A few Newton steps, the Hessian column by column from `program.hvp`, reach the optimum; its inverse gives the standard
errors. Logistic and softmax regression have a Gaussian prior with variance 1 (ridge), as their data are separable.
Nelder & Wedderburn 1972; McCullagh & Nelder 1989.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl import Bernoulli, Categorical, Normal, Poisson
from ppl.models import common, data, pictures


def _ridge(weights: Any) -> None:
    """The cost of a standard normal prior."""
    ppl.cost("ridge", 0.5 * np.sum(weights**2))


@ppl.model
def logistic(x: Any, y: Any) -> None:
    """y ~ Bernoulli(σ(wᵀx)), w ~ N(0, I)."""
    w = ppl.param("w", 0.0, shape=x.shape[1])
    _ridge(w)
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Bernoulli(logits=w @ x), obs=y)


@ppl.model
def softmax(x: Any, y: Any) -> None:
    """y ~ Categorical(softmax(xᵀW)), W ~ N(0, I): three classes."""
    w = ppl.param("w", 0.0, shape=(x.shape[1], 3))
    _ridge(w)
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Categorical(logits=x @ w), obs=y)


@ppl.model
def poisson(x: Any, y: Any) -> None:
    """y ~ Poisson(exp(wᵀx))."""
    w = ppl.param("w", 0.0, shape=x.shape[1])
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Poisson(np.exp(w @ x)), obs=y)


@ppl.model
def gaussian(x: Any, y: Any) -> None:
    """y ~ N(wᵀx, σ²); σ is a parameter too."""
    w = ppl.param("w", 0.0, shape=x.shape[1])
    sigma = ppl.param("sigma", 1.0, constraint="positive")
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Normal(w @ x, sigma), obs=y)


def with_constant(x: np.ndarray) -> np.ndarray:
    """Standardised features and a column of ones."""
    return np.column_stack([data.standardised(np.asarray(x, np.float64)), np.ones(len(x))])


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Benign or malignant from 30 features."""
    x, y = data.breast_cancer()
    return with_constant(x), y


def wine() -> tuple[np.ndarray, np.ndarray]:
    """One of three cultivars from 13 features."""
    loaded = data.sklearn("wine")
    return with_constant(loaded.data), loaded.target.astype(np.int32)


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Ink in one block of the digits, a count of 0 … 16 set pixels, from the logarithms of its 8 neighbours' counts."""
    counts = data.sklearn("digits").data.reshape(-1, 8, 8)
    around = [(r, c) for r in (2, 3, 4) for c in (3, 4, 5) if (r, c) != (3, 4)]
    return with_constant(np.log1p(np.stack([counts[:, r, c] for r, c in around], 1))), counts[:, 3, 4].astype(np.int32)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Progression of diabetes, standardised, from 10 features."""
    x, y = data.diabetes()
    return with_constant(x), y


def fit_logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """scikit-learn's logistic or softmax regression with the prior N(0, 1) on every weight."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=20_000).fit(x, y).coef_
    return found[0] if len(found) == 1 else found.T


def fit_poisson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """scikit-learn's Poisson regression."""
    from sklearn.linear_model import PoissonRegressor

    unpenalised = PoissonRegressor(alpha=0, fit_intercept=False, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    return unpenalised.fit(x, y).coef_


def fit_least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares."""
    return np.linalg.lstsq(x, y, rcond=None)[0]


def _softmax_information(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    p = ppl.softmax(x @ w)
    variance = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
    joint = np.einsum("ni,nab,nj->iajb", x, variance, x).reshape(w.size, w.size)
    return joint + np.eye(w.size)


def _gaussian_information(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x.T @ x / np.mean((y - x @ w) ** 2)


def _logistic_information(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    p = ppl.sigmoid(x @ w)
    return (x.T * (p * (1 - p))) @ x + np.eye(len(w))


class Regression(NamedTuple):
    """A regression: model, data, an independent fit of `w`, and its Fisher information from the formula Xᵀ Var[y] X."""

    model: Any
    rows: Callable[[], tuple[np.ndarray, np.ndarray]]
    reference: Callable[[np.ndarray, np.ndarray], np.ndarray]
    information: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


REGRESSIONS = {
    "logistic": Regression(logistic, breast_cancer, fit_logistic, lambda x, w, y: _logistic_information(x, w)),
    "softmax": Regression(softmax, wine, fit_logistic, lambda x, w, y: _softmax_information(x, w)),
    "poisson": Regression(poisson, blocks, fit_poisson, lambda x, w, y: (x.T * np.exp(x @ w)) @ x),
    "gaussian": Regression(gaussian, diabetes, fit_least_squares, _gaussian_information),
}


def hessian(program: Any, state: Any, *rows: np.ndarray) -> np.ndarray:
    """The Hessian in `program.ravel` order, one `program.hvp` per column."""
    size = program.ravel(state).size
    columns = [program.hvp(state, unit, *rows) for unit in np.eye(size)]
    return np.stack([np.concatenate([np.ravel(c[k]) for k in state.params]) for c in columns])


def newton(program: Any, state: Any, *rows: np.ndarray, most: int = 50) -> tuple[Any, list[float]]:
    """The optimum by Newton's method with step halving, and the loss after every step.

    The Hessian's eigenvalues enter by their absolute value, so that steps descend where σ makes it indefinite.
    """
    losses = [program.value(state, *rows)]
    for _ in range(most):
        _, grads = program.value_and_grad(state, *rows)
        gradient = np.concatenate([np.ravel(grads[k]) for k in state.params])
        values, vectors = np.linalg.eigh(hessian(program, state, *rows))
        step, at = vectors @ (vectors.T @ gradient / np.abs(values)), program.ravel(state)
        if gradient @ step < 1e-16 * abs(losses[0]):  # what it changes of the loss is lost in rounding
            return state.replace(params=program.unravel(at - step)), losses
        for halvings in range(30):
            trial = state.replace(params=program.unravel(at - step / 2**halvings))
            value = program.value(trial, *rows)
            if value <= losses[-1]:
                state = trial
                break
        losses.append(program.value(state, *rows))
    return state, losses


def main(argv: common.Arguments = None) -> int:
    """Fit the four regressions by Newton's method, compare with independent fits, draw weights with standard errors."""
    job = common.Job("glm", __doc__, argv, epochs=None, batch_size=None, lr=None, steps=50)
    figure, axes = pictures.pyplot().subplots(1, 4, figsize=(16, 3.8))
    for i, (name, case) in enumerate(REGRESSIONS.items()):
        x, y = case.rows()
        program = job.compile(ppl.likelihood(case.model), dtype="float64", data=(x, y))
        state = program.init(job.options.seed, x, y, params=job.kept(name))
        state, losses = newton(program, state, x, y, most=job.options.steps)
        job.keep(name, **program.params(state))
        w = program.params(state)["w"]
        errors = np.sqrt(np.diag(np.linalg.inv(hessian(program, state, x, y))))
        errors = program.unravel(errors)["w"] if "sigma" in state.params else errors.reshape(w.shape)
        reference = case.reference(x, y)
        formula = np.sqrt(np.diag(np.linalg.inv(case.information(x, reference, y)))).reshape(w.shape)
        job.report(f"{name}: negative log-likelihood after {len(losses) - 1} Newton steps", losses[-1], unit="nats")
        other = program.value(state.replace(params={**state.params, "w": reference}), x, y)
        job.report(f"{name}: negative log-likelihood at the independent fit", other, unit="nats")
        apart, ratio = 1e6 * np.abs((w - reference) / errors).max(), 1e6 * np.abs(errors / formula - 1).max()
        job.report(f"{name}: largest difference of weights", apart, unit="millionths of a standard error")
        job.report(f"{name}: largest difference of standard errors", ratio, unit="millionths")
        draw(axes[i], name, w, errors, reference)
    figure.tight_layout()
    job.picture(figure)
    return job.finish()


def draw(ax: Any, name: str, w: np.ndarray, errors: np.ndarray, reference: np.ndarray) -> None:
    """Weights with two standard errors, and the independent fit as dots."""
    at = np.arange(w.size)
    ax.errorbar(at, w.ravel(), 2 * errors.ravel(), fmt="C0_", lw=1, label="weights ± 2 standard errors")
    ax.plot(at, reference.ravel(), "k.", ms=4, label="independent fit")
    ax.axhline(0, color="0.7", lw=0.6)
    ax.set(xlabel="weight", title=f"{name} regression")
    if name == "logistic":
        ax.legend(fontsize=7, loc="lower left")


if __name__ == "__main__":
    raise SystemExit(main())
