"""A normal law with a full covariance, learned as a factor, a covariance or a precision, beside the closed form.

x ~ N(m, Σ) with Σ = L Lᵀ (L a lower triangle with a positive diagonal), Σ = W Wᵀ + 1 / 1000 or Σ⁻¹ = W Wᵀ + 1 / 1000.
All three have the maximum of the likelihood at the mean and the covariance of the rows, here of the wine data.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import ppl
from ppl.models import common, data, pictures

FORMS = ("scale_tril", "covariance_matrix", "precision_matrix")
FLOOR = 1e-3


@ppl.model
def full_normal(x: Any, *, form: str, d: int) -> None:
    """Rows from one normal law."""
    m = ppl.param("m", np.zeros(d))
    w = ppl.param("w", np.eye(d), constraint="lower_cholesky" if form == "scale_tril" else None)
    matrix = w if form == "scale_tril" else w @ w.T + FLOOR * np.eye(d)
    with ppl.plate("data", x) as x:
        ppl.sample("x", ppl.MultivariateNormal(m, **{form: matrix}), obs=x)


def covariance(form: str, w: np.ndarray) -> np.ndarray:
    """Σ of the learned matrix."""
    if form == "scale_tril":
        return w @ w.T
    matrix = w @ w.T + FLOOR * np.eye(len(w))
    return matrix if form == "covariance_matrix" else np.linalg.inv(matrix)


def closed_form(x: np.ndarray) -> tuple[float, np.ndarray]:
    """The least negative log-likelihood per row, and the covariance of the rows."""
    best = np.cov(x.T, bias=True)
    return float(0.5 * (np.linalg.slogdet(2 * math.pi * math.e * best)[1])), best


def main(argv: common.Arguments = None) -> int:
    """Fit the three forms and set them beside the closed form."""
    job = common.Job("full_normal", __doc__, argv, epochs=None, steps=3000, batch_size=None, lr=2e-2)
    x = data.standardised(data.sklearn("wine").data)
    least, best = closed_form(x)
    job.report("negative log-likelihood per row, closed form", least, unit="nats")
    learned = {}
    for form in FORMS:
        objective = ppl.likelihood(full_normal.bind(form=form, d=x.shape[1]))
        program = job.compile(objective, data=x, dtype="float64")
        rate = ppl.optim.Adam(ppl.optim.cosine(job.options.lr, 1e-5, job.options.steps))
        fit = job.fit(program, x, steps=job.options.steps, batch_size=None, optimizer=rate, label=form)
        learned[form] = covariance(form, fit.params["w"])
        job.report(f"negative log-likelihood per row, {form}", program.value(fit.state, x) / len(x), unit="nats")
        job.report(f"largest distance of a covariance, {form}", np.abs(learned[form] - best).max())
    job.picture(draw(learned["covariance_matrix"], best))
    return job.finish()


def draw(learned: np.ndarray, best: np.ndarray) -> Any:
    """The learned covariance, and that of the rows."""
    figure, axes = pictures.pyplot().subplots(1, 2, figsize=(8, 4))
    for ax, matrix, title in zip(axes, (learned, best), ("learned covariance", "covariance of the rows"), strict=True):
        shown = ax.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        ax.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
