"""The runs that faults are injected into: every loop of `ppl.fit`, with and without minibatches and validation.

A run is a function of the checkpoint's option; called again with the same file it goes on where that ends.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.estimators import ScoreFunction
from ppl.training.optim import SGD, AdaGrad, Adam, Momentum


@ppl.model
def mixed(x):
    """A binary layer with moving-average baselines, and a normal unit, per row."""
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.dense("up", x, 2)), estimator=ScoreFunction("moving_average"))
        z = ppl.sample("z", Normal(ppl.param("shift", 0.3), 1.0))
        ppl.cost("fit", (z + np.sum(b) - x[0]) ** 2)


@ppl.model
def alone():
    """No rows: one unit with a moving-average baseline."""
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.1)), estimator=ScoreFunction("moving_average"))
    ppl.cost("loss", ppl.hyper("k", 1.0) * (b - 0.499) ** 2)


@ppl.model
def factors(left, right, y):
    """Two tables, read through indices only."""
    u, v = ppl.param("u", ppl.init.normal(0.1), shape=(800, 8)), ppl.param("v", ppl.init.normal(0.1), shape=(900, 8))
    with ppl.plate("data", left, right, y) as (left, right, y):
        ppl.cost("fit", (np.sum(u[left] * v[right]) - y) ** 2)


X = np.random.default_rng(0).normal(size=(60, 3))


@cache
def program(model: Any, *data: Any) -> ppl.Program:
    """A model in float64, compiled once a process."""
    return ppl.compile(model, dtype="float64")


def pairs() -> tuple[np.ndarray, ...]:
    """Rows of `factors`."""
    random = np.random.default_rng(1)
    return random.integers(0, 800, 500), random.integers(0, 900, 500), random.normal(size=500)


class Trace(NamedTuple):
    """The state of `LikeOptax`."""

    count: np.ndarray
    trace: dict[str, np.ndarray]


class LikeOptax:
    """Momentum with optax's contract: nested named tuples of dicts."""

    def init(self, params: Any) -> Any:
        return (Trace(np.zeros((), np.int32), {k: np.zeros_like(v) for k, v in params.items()}), ())

    def update(self, grads: Any, state: Any, params: Any = None) -> Any:
        trace = {k: grads[k] + 0.9 * state[0].trace[k] for k in grads}
        return {k: -0.01 * v for k, v in trace.items()}, (Trace(state[0].count + 1, trace), ())


def rate(step: int) -> float:
    """A schedule in Python."""
    return 0.01 / (1.0 + 1e-3 * step)


def in_place(checkpoint: Any, **options: Any) -> ppl.Fit:
    """Minibatches and validation, many steps a call."""
    return ppl.fit(program(mixed), X, epochs=800, batch_size=7, optimizer=Adam(rate), validation=X[:5],
                   checkpoint=(checkpoint, 331), **options)  # fmt: skip


def without_rows(checkpoint: Any, **options: Any) -> ppl.Fit:
    """Blocks of thousands of steps; the time alone says when the checkpoint is written."""
    return ppl.fit(program(alone), steps=60_000, optimizer=Momentum(rate), checkpoint=(checkpoint, 7000), **options)


def tables(checkpoint: Any, **options: Any) -> ppl.Fit:
    """Sparse gradients."""
    return ppl.fit(program(factors), *pairs(), epochs=300, batch_size=90, optimizer=AdaGrad(0.05),
                   checkpoint=(checkpoint, 150), **options)  # fmt: skip


def step_by_step(checkpoint: Any, **options: Any) -> ppl.Fit:
    """An optimizer with clipping, which compiled code does not know."""
    return ppl.fit(program(mixed), X, epochs=150, batch_size=7, optimizer=Adam(rate, clip_norm=9.0),
                   validation=X[:5], checkpoint=(checkpoint, 100), **options)  # fmt: skip


def groups(checkpoint: Any, **options: Any) -> ppl.Fit:
    """Groups, one of them with an optimizer of the user's."""
    optimizer = {"up*": LikeOptax(), "*": SGD(rate)}
    return ppl.fit(program(mixed), X, epochs=80, batch_size=7, optimizer=optimizer, validation=X[:5],
                   checkpoint=(checkpoint, 50), **options)  # fmt: skip


def stream(checkpoint: Any, **options: Any) -> ppl.Fit:
    """Batches from the user."""
    batches = [X[i : i + 12] for i in range(0, 60, 12)]
    return ppl.fit(program(mixed), batches=lambda: iter(batches), epochs=300, optimizer=Adam(rate), total_rows=60,
                   validation=lambda state: float(state.params["shift"]), checkpoint=(checkpoint, 100),
                   **options)  # fmt: skip


def called_back(checkpoint: Any, **options: Any) -> ppl.Fit:
    """A callback, so that every block is one step."""
    return ppl.fit(program(mixed), X, epochs=200, batch_size=7, optimizer=Adam(rate), validation=X[:5],
                   callback=lambda step, state, metrics: None, checkpoint=(checkpoint, 100), **options)  # fmt: skip


RUNS: dict[str, Callable[..., ppl.Fit]] = {
    run.__name__: run for run in (in_place, without_rows, tables, step_by_step, groups, stream, called_back)
}
