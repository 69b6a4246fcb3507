"""The models' own figures over seeds, each beside an independent one: the rows of `docs/models/index.md`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import check
from benchmarks.zoo import Metrics, collect

SEEDS = {
    "regression": 5, "quadratic": 5, "toy": 5, "gmm": 3, "nce": 3, "skip_gram": 3, "closed_vocabulary": 3, "lda": 3,
    "bayes_logistic": 3,
}  # fmt: skip


class Figure(NamedTuple):
    """A figure of a model's main and its independent one: another figure of the same run, or a number.

    `limit` bounds their mean difference (`both`: its absolute value).
    """

    model: str
    ours: str
    independent: str | float
    limit: float
    both: bool = False


FIGURES = (
    *(
        Figure("bayes_logistic", f"negative bound, {guide}", f"negative bound, {guide}, best by quadrature", 0.05)
        for guide in ("mean-field", "full-rank")
    ),
    *(
        Figure("gmm", f"negative log-likelihood, {way}", "negative log-likelihood, scikit-learn's EM", 0.01)
        for way in ("marginal", "enumerated", "relaxed")
    ),
    Figure("lda", "held-out perplexity, bound of coordinate ascent",
           "held-out perplexity, bound of coordinate ascent, scikit-learn's topics", 0.0),
    Figure("quadratic", "spread of θ after 300 steps, pathwise", "spread of θ, pathwise, formula", 2e-3, True),
    Figure("quadratic", "spread of θ under Robbins-Monro, pathwise",
           "spread of θ under Robbins-Monro, pathwise, formula", 1e-3, True),
    Figure("quadratic", "mean of θ after 300 steps, score function", "mean of θ after 300 steps, formula", 5e-3, True),
    Figure("quadratic", "mean of θ after 300 steps, pathwise", "mean of θ after 300 steps, formula", 3e-3, True),
    Figure("regression", "negative log-likelihood", "negative log-likelihood of least squares, constant σ", 0.0),
    *(
        Figure("toy", f"above the minimum, {name}", 0.0, limit)
        for name, limit in (("exact", 1e-5), ("leave-one-out, 2 particles", 1e-4), ("DisARM", 1e-4), ("RELAX", 1e-3))
    ),
    Figure("nce", "Gaussian: largest distance from maximum likelihood", 0.0, 5.0),
    Figure("nce", "ICA: Amari distance", "ICA: Amari distance of FastICA", 0.0),
    Figure("closed_vocabulary", "NCE: mean |log Z_c|", 0.0, 0.05),
    Figure("closed_vocabulary", "NCE: KL(p || normalised scores)", 0.0, 0.005),
    Figure("closed_vocabulary", "NCE: mean |log Z_c|", "negative sampling: mean |log Z_c|", -0.05),
    Figure("skip_gram", "held-out cross-entropy, normalised", "held-out cross-entropy of word frequencies", 0.0),
)  # fmt: skip


def run(peers: list[str]) -> dict[str, Any]:
    """Run every model with its own settings; means over seeds with standard errors."""
    found = collect(SEEDS)
    rows, checks = [], []
    for figure in FIGURES:
        ours, independent = (values(found[figure.model], what) for what in (figure.ours, figure.independent))
        gap = (ours - independent).mean()
        what = f"{figure.model}: {figure.ours}" + (", distance" if figure.both else ", excess")
        checks.append(check(what, abs(gap) if figure.both else gap, figure.limit, ""))
        name = figure.independent if isinstance(figure.independent, str) else "exact"
        rows.append([figure.model, figure.ours, spread(ours), name, spread(independent), str(len(ours))])
    return {
        "title": "The models' figures beside independent ones, mean ± standard error over seeds",
        "tables": [{"columns": ["model", "figure", "ours", "independent figure", "its value", "seeds"], "rows": rows}],
        "checks": checks,
        "details": found,
        "notes": ["Every run is `ppl run NAME --seed SEED` with the options that the model's main has by itself."],
    }


def values(runs: list[Metrics], what: str | float) -> np.ndarray:
    """A figure of every run, or the same number for all."""
    return np.array([run[what] if isinstance(what, str) else what for run in runs])


def spread(x: np.ndarray) -> str:
    """Mean ± standard error of the mean, with two digits of the error; the mean alone where all are equal."""
    error = x.std(ddof=1) / np.sqrt(len(x))
    if error <= 1e-9 * np.abs(x).max():
        return f"{x.mean():.6g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{x.mean():.{digits}f} ± {error:.{digits}f}"
