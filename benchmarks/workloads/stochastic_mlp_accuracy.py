"""Held-out accuracy of the stochastic perceptron; scikit-learn's: `benchmarks/peers/digits_sklearn.py`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import RESULTS, check
from ppl.models import common, data
from ppl.models import stochastic_mlp as model

SEEDS, EPOCHS, BATCH, RATE, COPIES = 5, 40, 100, 3e-3, 10


def held_out(run: tuple[str, str, str], seed: int) -> float:
    """Share of the last 297 digits, after the training of the model's main."""
    name, noise, rule = run
    (x, test_x), (labels, test_labels) = data.grey_digits(), data.digit_labels()
    x, labels = data.with_edges(data.distorted(x, COPIES, seed)), np.tile(labels, COPIES + 1)
    objective = ppl.likelihood(model.network.bind(noise=noise))
    program = ppl.compile(objective, common.estimator(name), particles=2, data=(x, labels))
    optimizer = model.optimizer(rule, RATE, EPOCHS * -(-len(x) // BATCH))
    fit = ppl.fit(program, x, labels, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, seed=seed, progress=False)
    return model.accuracy(model.predict(program, fit.state, data.with_edges(test_x)), test_labels)


def run(peers: list[str]) -> dict[str, Any]:
    """Five seeds of every run of the model's main."""
    sklearn = json.loads((RESULTS / "digits_sklearn.json").read_text())
    checks, notes, details = [], [], {}
    for entry in model.COMPARED:
        label = ", ".join(entry)
        found = np.array([held_out(entry, seed) for seed in range(SEEDS)])
        if entry[0] == "StraightThrough":
            checks.append(check(label, 100 * found.mean(), 95, "%", at_most=False))
        notes.append(f"{label}: {100 * found.mean():.2f} %, standard error {100 * found.std(ddof=1) / SEEDS**0.5:.2f}.")
        details[label] = found.tolist()
    mlp, svm = sklearn["MLP 200-200"]["mean"], sklearn["support vector machine, C=10"]
    notes.append(f"scikit-learn on the pixels: MLP 200-200 {100 * mlp:.2f} %, SVM {100 * svm:.2f} %.")
    mlp, svm = sklearn["MLP 200-200, same inputs"]["mean"], sklearn["support vector machine, C=10, same inputs"]
    notes.append(f"scikit-learn on the same inputs: MLP 200-200 {100 * mlp:.2f} %, SVM {100 * svm:.2f} %.")
    return {
        "title": "Stochastic perceptron 200-200, accuracy on the last 297 digits, 100 samples averaged",
        "checks": checks,
        "details": details,
        "notes": notes,
    }
