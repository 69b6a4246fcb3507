"""Classifiers of scikit-learn on the digits that ``ppl.models.stochastic_mlp`` classifies.

The first 1500 digits for training, the last 297 held out, grey values over 16: logistic regression, a support vector
machine and perceptrons of two hidden layers of 200 rectified units (`MLPClassifier`), on the digits themselves; means
over seeds where there are any. It needs scikit-learn and numpy, and nothing of ppl::

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
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC


def main(argv: Sequence[str] | None = None) -> int:
    """Print the record as JSON, and write it to ``--out`` if given."""
    parser = argparse.ArgumentParser(description="Held-out accuracy of scikit-learn's classifiers on the digits.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args(argv)
    digits = load_digits()
    x, y = digits.data / 16, digits.target
    rows, labels, test, truth = x[:1500], y[:1500], x[-297:], y[-297:]
    mlps = [
        MLPClassifier((200, 200), max_iter=300, random_state=seed).fit(rows, labels).score(test, truth)
        for seed in options.seeds
    ]
    record = {
        "name": "digits_sklearn",
        "date": datetime.date.today().isoformat(),
        "unit": "share of the last 297 digits",
        "logistic regression": LogisticRegression(max_iter=1000).fit(rows, labels).score(test, truth),
        "support vector machine": SVC().fit(rows, labels).score(test, truth),
        "support vector machine, C=10": SVC(C=10).fit(rows, labels).score(test, truth),
        "MLP 64-200-200-10": {"mean": float(np.mean(mlps)), "seeds": mlps},
        "versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    }
    text = json.dumps(record, indent=2) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
