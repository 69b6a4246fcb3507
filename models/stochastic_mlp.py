"""A stochastic multilayer perceptron: digits classified through layers of binary units.

p(x¹ … xᴸ | x⁰; θ) = ∏ p(xᵏ | xᵏ⁻¹; θᵏ) with units y = 1[a + ε > 0] of logistic, normal or uniform noise ε, and a
softmax with cross-entropy on xᴸ: minimise E[-log softmax(W xᴸ + c)_label]. Straight-through backpropagates the
derivative of P(y = 1 | a): low variance, biased. The unbiased estimators evaluate the loss at true samples only.
Predictive probabilities are averaged over samples of the hidden units.

x⁰ is a grey digit with the rises and falls between its neighbouring pixels; training sees ten distorted copies of each.

Robbins & Monro 1951; Bengio, Léonard & Courville 2013; Tang & Salakhutdinov 2013; Raiko et al. 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from ppl import Categorical
from ppl.models import common, data, pictures

CLASSES, SAMPLES = 10, 100
NOISES = ("logistic", "normal", "uniform")
OPTIMIZERS = ("adam", "robbins-monro")

COMPARED = (
    ("StraightThrough", "logistic", "adam"),
    ("StraightThrough", "normal", "adam"),
    ("StraightThrough", "uniform", "adam"),
    ("StraightThrough", "logistic", "robbins-monro"),
    ("DisARM", "logistic", "adam"),
    ("ScoreFunction:leave_one_out", "logistic", "adam"),
)
"""Estimator, noise and optimizer of the runs of a main without `--estimator`."""


@ppl.model
def network(x: Any, label: Any, *, hidden: tuple[int, ...] = (200, 200), noise: str = "logistic") -> None:
    """x⁰ → binary layers → softmax."""
    with ppl.plate("data", x, label) as (x, label):
        units = [ppl.layers.BinaryUnits(n, noise=noise) for n in hidden]
        logits = ppl.dense("head", ppl.layers.chain(x, *units, name="h"), CLASSES)
        ppl.deterministic("probs", ppl.softmax(logits))
        ppl.sample("label", Categorical(logits=logits), obs=label)


def predict(program: Any, state: Any, x: np.ndarray, particles: int = SAMPLES, seed: int = 1) -> np.ndarray:
    """Class probabilities given each of `particles` samples of the hidden units: (particles, rows, 10)."""
    unknown = np.zeros(len(x), np.int32)
    return program.sample(state, x, unknown, particles=particles, sites=["probs"], seed=seed)["probs"]


def accuracy(probs: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose most probable class, on average over the samples in `probs`, is the label."""
    return float((probs.mean(0).argmax(1) == labels).mean())


def optimizer(name: str, lr: float, steps: int) -> Any:
    """Adam with `lr` falling along a cosine; or gradient descent with αₜ = 1000 lr (1 + t / 1000)^-0.75.

    The latter is a Robbins-Monro sequence: its sum diverges, that of its squares does not.
    """
    if name == "adam":
        return ppl.optim.Adam(ppl.optim.cosine(lr, lr / 50, max(steps, 1)))
    return ppl.optim.SGD(ppl.optim.robbins_monro(1000 * lr * 1000**0.75, b=1000, power=0.75))


def train(job: common.Job, run: tuple[str, str, str], x: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """(program, fit) of one (estimator, noise, optimizer)."""
    options, (name, noise, rule) = job.options, run
    hidden = tuple(int(n) for n in options.hidden.split("-"))
    objective = ppl.likelihood(network.bind(hidden=hidden, noise=noise))
    program = job.compile(objective, data=(x, labels), estimators=common.estimator(name))
    steps = options.epochs * -(-len(x) // options.batch_size)
    label = "-".join(run).replace(":", "-")
    return program, job.fit(program, x, labels, optimizer=optimizer(rule, options.lr, steps), label=label)


def main(argv: common.Arguments = None) -> int:
    """Train with straight-through and unbiased estimators, or the one named; report accuracy on held-out digits."""
    defaults = {"hidden": "200-200", "noise": NOISES, "optimizer": OPTIMIZERS, "copies": 10}
    job = common.Job("stochastic_mlp", __doc__, argv, epochs=40, lr=3e-3, particles=2, **defaults)
    options = job.options
    (x, test_x), (labels, test_labels) = data.grey_digits(), data.digit_labels()
    x = data.with_edges(data.distorted(x, options.copies, options.seed))
    labels, edges = np.tile(labels, options.copies + 1), data.with_edges(test_x)
    one = ((options.estimator, options.noise, options.optimizer),)
    found = {}
    for run in COMPARED if options.estimator == "auto" else one:
        program, fit = train(job, run, x, labels)
        probs = predict(program, fit.state, edges)
        found[", ".join(run)] = fit.history, probs
        right = accuracy(probs, test_labels)
        error = (right * (1 - right) / len(test_labels)) ** 0.5
        job.report(f"held-out accuracy, {', '.join(run)}", right, error)
        job.report(f"held-out accuracy of one sample, {', '.join(run)}", accuracy(probs[:1], test_labels))
    job.picture(draw(found, test_x, test_labels))
    return job.finish()


def draw(found: dict[str, tuple[Any, np.ndarray]], x: np.ndarray, labels: np.ndarray) -> Any:
    """Training curves, accuracy against the number of samples averaged, and the digits that the best run misses."""
    figure, axes = pictures.pyplot().subplots(1, 3, figsize=(15, 4.2))
    counts = [1, 2, 5, 10, 20, 50, SAMPLES]
    for name, (history, probs) in found.items():
        losses = np.asarray(history["loss"])
        block = max(1, len(losses) // 100)
        means = losses[: len(losses) // block * block].reshape(-1, block).mean(1)
        axes[0].semilogy(block * np.arange(len(means)), means, lw=1)
        axes[1].semilogx(counts, [100 * accuracy(probs[:n], labels) for n in counts], "o-", ms=3, lw=1, label=name)
    axes[0].set(xlabel="step", ylabel="cross-entropy (nats per row)", title="training")
    axes[1].set(xlabel="samples averaged", ylabel="% right", title="held-out digits")
    axes[1].legend(fontsize=7)
    best = max(found.values(), key=lambda entry: accuracy(entry[1], labels))[1].mean(0).argmax(1)
    wrong = np.flatnonzero(best != labels)[:24]
    pictures.show_images(axes[2], x[wrong], 6, f"{(best != labels).sum()} of {len(labels)} missed by the best run")
    said = "  ".join(f"{labels[i]}→{best[i]}" for i in wrong)
    axes[2].text(0.5, -0.03, _wrapped(said, 6), transform=axes[2].transAxes, ha="center", va="top", fontsize=7)
    figure.tight_layout()
    return figure


def _wrapped(text: str, per_line: int) -> str:
    words = text.split("  ")
    return "\n".join("  ".join(words[i : i + per_line]) for i in range(0, len(words), per_line))


if __name__ == "__main__":
    raise SystemExit(main())
