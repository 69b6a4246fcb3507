"""The network beside the sum over all 128 joint states, written with NumPy alone."""

import itertools

import numpy as np

from tests.textbook.runs import run

NAMES = ("visit to Asia", "smoker", "tuberculosis", "lung cancer", "bronchitis", "X-ray", "short breath")


def joint():
    """The probability of every state, shape (2,) * 7, in the order of NAMES."""
    found = np.empty((2,) * 7)
    for visit, smoker, tub, cancer, bronchitis, xray, breath in itertools.product((0, 1), repeat=7):
        either = tub or cancer
        yes = (0.01, 0.5, (0.01, 0.05)[visit], (0.01, 0.1)[smoker], (0.3, 0.6)[smoker], 0.98 if either else 0.05,
               ((0.1, 0.7), (0.8, 0.9))[bronchitis][either])  # fmt: skip
        state = (visit, smoker, tub, cancer, bronchitis, xray, breath)
        found[state] = np.prod([p if x else 1 - p for p, x in zip(yes, state, strict=True)])
    return found


def test_beliefs_are_those_of_enumeration():
    script = run("asia")
    whole = joint()
    np.testing.assert_allclose(whole.sum(), 1.0, rtol=1e-12)
    for known, probs in zip(script.stories, script.found, strict=True):
        given = whole[tuple(known.get(name, slice(None)) for name in NAMES)]
        left = [name for name in NAMES if name not in known]
        assert sorted(probs) == sorted(left)
        for i, name in enumerate(left):
            others = tuple(k for k in range(len(left)) if k != i)
            np.testing.assert_allclose(probs[name], (given.sum(others) / given.sum())[1], rtol=1e-9)
