"""Classifiers of scikit-learn on the digits that ``ppl.models.stochastic_mlp`` classifies.

The first 1500 digits for training, the last 297 held out, grey values over 16: logistic regression, a support vector
machine and perceptrons of two hidden layers of 200 rectified units (`MLPClassifier`), on the pixels; and the latter two
on what the stochastic perceptron sees, pixels with the rises and falls between neighbours, ten distorted copies of
every training digit included. It needs scikit-learn, SciPy and numpy, and nothing of ppl::

    python benchmarks/peers/digits_sklearn.py --out benchmarks/results/digits_sklearn.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

SIDE, MIDDLE = 8, 3.5


def with_edges(rows: np.ndarray) -> np.ndarray:
    """Return pixels, then how much they darken and lighten downwards and rightwards."""
    images = rows.reshape(-1, SIDE, SIDE)
    steps = [np.diff(images, axis=axis).reshape(len(rows), -1) for axis in (1, 2)]
    return np.concatenate([rows, *(np.maximum(sign * step, 0) for step in steps for sign in (1, -1))], axis=1)


def distorted(rows: np.ndarray, copies: int, seed: int) -> np.ndarray:
    """Return the rows and copies turned by up to 0.2, sheared and stretched by up to 0.15, moved by up to a pixel."""
    rng = np.random.default_rng(seed)
    parts = [rows]
    for _ in range(copies):
        for row in rows:
            angle, (a, b), shear = rng.uniform(-0.2, 0.2), 1 + rng.uniform(-0.15, 0.15, 2), rng.uniform(-0.15, 0.15)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            linear = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([a, b])
            grid = np.indices((SIDE, SIDE)).reshape(2, -1) - MIDDLE
            places = linear @ grid + rng.uniform(-1, 1, (2, 1)) + MIDDLE
            parts.append(map_coordinates(row.reshape(SIDE, SIDE), places, order=1)[None])
    return np.concatenate(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the record as JSON, and write it to ``--out`` if given."""
    parser = argparse.ArgumentParser(description="Held-out accuracy of scikit-learn's classifiers on the digits.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--copies", type=int, default=10, help="distorted copies of every training digit")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(argv)
    digits = load_digits()
    x, y = digits.data / 16, digits.target
    rows, labels, test, truth = x[:1500], y[:1500], x[-297:], y[-297:]
    more, twice = with_edges(distorted(rows, options.copies, 0)), np.tile(labels, options.copies + 1)
    edges = with_edges(test)

    def perceptrons(x: np.ndarray, y: np.ndarray, seen: np.ndarray, epochs: int) -> dict[str, object]:
        found = [
            MLPClassifier((200, 200), max_iter=epochs, random_state=seed).fit(x, y).score(seen, truth)
            for seed in options.seeds
        ]
        return {"mean": float(np.mean(found)), "seeds": found}

    record = {
        "name": "digits_sklearn",
        "date": datetime.date.today().isoformat(),
        "unit": "share of the last 297 digits",
        "logistic regression": LogisticRegression(max_iter=1000).fit(rows, labels).score(test, truth),
        "support vector machine": SVC().fit(rows, labels).score(test, truth),
        "support vector machine, C=10": SVC(C=10).fit(rows, labels).score(test, truth),
        "support vector machine, C=10, same inputs": SVC(C=10).fit(more, twice).score(edges, truth),
        "MLP 200-200": perceptrons(rows, labels, test, 300),
        "MLP 200-200, same inputs": perceptrons(more, twice, edges, 40),
        "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    }
    text = json.dumps(record, indent=2) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
