"""Which gradient estimator? See what the compiler chose and why, pin others, and measure their variance.

Two layers of binary units, 5 → 3, and a cost of both. All estimators here estimate the same gradient; they differ in
how far single estimates scatter around it, and in what they cost.

Run: python examples/choose_estimators.py
"""

import numpy as np

import ppl
from ppl import Bernoulli
from ppl.estimators import Enumerate, Rebar, ScoreFunction


@ppl.model
def network():
    """h¹ ~ Bernoulli(a), h² ~ Bernoulli(h¹ W + b); the cost is how far h² is from a target, and a product of h¹."""
    h1 = ppl.sample("h1", Bernoulli(logits=ppl.param("a", np.linspace(-1, 1, 5))))
    h2 = ppl.sample("h2", Bernoulli(logits=ppl.dense("layer", h1, 3)))
    ppl.cost("loss", np.sum((h2 - np.array([0.3, 0.5, 0.9])) ** 2) + h1[0] * h1[4])


# `estimators=` takes "auto", one estimator for every node, or a dict of node names (globs) for some of them.
CHOICES = {
    "score function": {"estimators": ScoreFunction()},
    "moving-average baseline": {"estimators": ScoreFunction("moving_average")},
    "leave-one-out, 2 particles": {"estimators": ScoreFunction("leave_one_out"), "particles": 2},
    "REBAR on h1, h2 summed exactly": {"estimators": {"h1": Rebar(), "h2": Enumerate()}},
    "summed exactly": {"estimators": Enumerate()},
}


def variance(options: dict, repeats: int = 2000) -> tuple[np.ndarray, float]:
    """Mean gradient with respect to `a` over noise seeds, and the summed variance of single estimates."""
    program = ppl.compile(network, dtype="float64", **options)
    state = program.init(seed=0)
    for _ in range(500):  # baselines and control variates adapt in `step`, which does not move parameters
        _, _, state = program.step(state)
    draws = np.array([program.value_and_grad(state, seed=s)[1]["a"] for s in range(repeats)])
    return draws.mean(0), float(draws.var(0).sum())


def main() -> dict[str, tuple[np.ndarray, float]]:
    """Print the automatic choice with its reasons, then measure the pinned ones."""
    print(ppl.compile(network).explain())
    results = {}
    for name, options in CHOICES.items():
        results[name] = mean, spread = variance(options)
        print(f"{name:32s} variance {spread:9.6f}   mean gradient {np.array2string(mean, precision=4)}")
    return results


if __name__ == "__main__":
    main()
