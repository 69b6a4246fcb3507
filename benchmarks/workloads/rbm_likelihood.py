"""Exact held-out log-likelihood of a 64×16 binary RBM, trained as scikit-learn's `BernoulliRBM` is: PCD, plain SGD.

Both take the same number of updates with the same learning rate, batch size, number of chains (one for every row of
a batch) and one Gibbs step an update. What differs: scikit-learn starts from b = 0 and goes through the rows in order,
ours starts from the log-odds of the pixels and permutes the rows; its chains are of hidden units, ours of visible ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import BernoulliRBM

import ppl
from benchmarks.timing import check
from ppl.models import data, rbm

SEEDS = range(5)
SETTINGS = ((0.1, 10, 10), (0.1, 100, 100), (0.05, 50, 100))
"""Learning rate, batch size, epochs; the first are scikit-learn's defaults."""


def exact(theta: Any, rows: np.ndarray) -> float:
    """Mean log-likelihood of `rows`, log Z summed over the 2¹⁶ states of the hidden units."""
    theta = [np.asarray(x, np.float64) for x in theta]
    return float(-np.mean(rbm.free_energy(rows.astype(np.float64), *theta)) - rbm.log_partition(*theta))


def theirs(seed: int, lr: float, batch: int, epochs: int) -> float:
    """scikit-learn's machine."""
    rows, test = data.digits()
    made = BernoulliRBM(16, learning_rate=lr, batch_size=batch, n_iter=epochs, random_state=seed).fit(rows)
    return exact((made.components_.T, made.intercept_visible_, made.intercept_hidden_), test)


def ours(seed: int, lr: float, batch: int, epochs: int, steps: int = 1, decay: bool = False) -> float:
    """Ours, with `steps` Gibbs steps an update; `decay`: the learning rate falls linearly to 0."""
    rows, test = data.digits()
    model = rbm.persistent.bind(rates=rbm.smoothed(rows), chains=batch, steps=steps)
    rate = ppl.optim.linear(lr, 0.0, epochs * -(-len(rows) // batch)) if decay else lr
    program = ppl.compile(model, data=rows)
    settings = {"epochs": epochs, "batch_size": batch, "seed": seed, "progress": False}
    fit = ppl.fit(program, rows, optimizer=ppl.optim.SGD(rate), **settings)
    return exact(program.params(fit.state).values(), test)


def run(peers: list[str]) -> dict[str, Any]:
    """Every setting of scikit-learn's, then the settings of `ppl run rbm`."""
    checks, details, notes = [], {}, []
    for setting in SETTINGS:
        label = "learning rate {}, batches of {}, {} epochs".format(*setting)
        one, other = (np.array([train(s, *setting) for s in SEEDS]) for train in (ours, theirs))
        error = float(np.hypot(one.std(ddof=1), other.std(ddof=1)) / np.sqrt(len(one)))
        checks.append(check(f"gain on scikit-learn, {label}", one.mean() - other.mean(), 0.0, "nat", at_most=False))
        details[label] = {"ppl": one.tolist(), "scikit_learn": other.tolist()}
        notes.append(
            f"{label}: ppl {one.mean():.2f} (seeds {one.min():.2f} … {one.max():.2f}), scikit-learn {other.mean():.2f} "
            f"({other.min():.2f} … {other.max():.2f}); the difference has a standard error of {error:.2f}."
        )
    best = np.array([ours(s, 0.2, 100, 200, steps=5, decay=True) for s in SEEDS])
    details["ppl run rbm"] = {"ppl": best.tolist()}
    notes.append(f"`ppl run rbm` (PCD-5, 0.2 falling to 0, batches of 100, 200 epochs): {best.mean():.2f}.")
    return {
        "title": "RBM 64×16 on binary digits: exact held-out log-likelihood, nats per row, seeds 0-4",
        "checks": checks,
        "details": details,
        "notes": notes,
    }
