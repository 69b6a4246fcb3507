"""Users' functions on CUDA and on the CPU: the cases `users` of `tests.compiler.simulated`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import PplError
from tests.compiler.calls import X, compared

LARGE = 2**53 + 1
"""An integer that no float of 64 bits holds."""


@numba.njit
def table(key: Any, m: Any, w: Any) -> Any:
    """Of a matrix, with noise: a vector."""
    out = np.empty(2)
    for i in range(2):
        out[i] = m[i, 0] * w + m[i, 1] * ppl.random.uniform(key, i)
    return out


@numba.njit
def summary(x: Any, w: Any) -> Any:
    """Several results of several dtypes."""
    n = np.int64(x[0] > x[1])
    return w * x * x, x[n] * w, np.array([n, -n]) * LARGE, x[0] > 0


@numba.njit
def summary_gradient(x: Any, w: Any, squares: Any, best: Any) -> Any:
    """Its cotangents."""
    slopes = 2 * w * x * squares
    n = np.int64(x[0] > x[1])
    slopes[n] += best * w
    return slopes, np.sum(x * x * squares) + best * x[n]


@numba.njit
def waiting(key: Any, rate: Any) -> Any:
    """A waiting time and its score."""
    x = -np.log(ppl.random.uniform(key, 0)) / rate
    return x, 1 / rate - x


@numba.njit
def strict(x: Any, w: Any) -> Any:
    """Raises an exception in some rows."""
    if x > 1.0:
        raise ValueError("too large")
    return w * x


@numba.njit
def loose(x: Any, w: Any) -> Any:
    """Returns NaN in some rows."""
    return np.sqrt(1.0 - x) * w


def modelled(cost: Callable[[Any, Any], Any]) -> Any:
    """A model with a parameter and a cost of every row."""

    @ppl.model
    def model(x: Any) -> None:
        w = ppl.param("w", 0.7)
        with ppl.plate("data", x) as x:
            ppl.cost("c", cost(x, w))

    return model


def noisy(x: Any, w: Any) -> Any:
    """A matrix and a key."""
    b = ppl.sample("b", Bernoulli(logits=w * x[:2]))
    made = ppl.external(table, np.stack([x[:2], b]), ppl.stop_gradient(w), shape=2, key=True, name="table")
    return np.sum(made**2)


def several(x: Any, w: Any) -> Any:
    """Packed results, and cotangents."""
    outputs = {"squares": ppl.spec((3,)), "best": ppl.spec(()), "places": ppl.spec((2,), np.int64),
               "above": ppl.spec((), bool)}  # fmt: skip
    found = ppl.external(summary, x * w, w, outputs=outputs, gradient=summary_gradient)
    ppl.deterministic("places", found["places"])
    return np.sum(np.sin(found["squares"])) + found["best"] ** 2 * found["above"].astype(float)


def scored(x: Any, w: Any) -> Any:
    """A simulator with its score."""
    return ppl.external(waiting, ppl.softplus(w * x[0]) + 0.5, key=True, score=True, name="total") ** 2


def looped(x: Any, w: Any) -> Any:
    """Calls in the steps of a loop."""

    def step(carry: Any, xt: Any) -> Any:
        b = ppl.sample("b", Bernoulli(logits=w * carry))
        return ppl.external(loose, b - 0.5, xt, on_error="nan", name="loose") + carry, b

    last, _ = ppl.scan(step, 0.1, x)
    return last**2


def gone(x: Any, w: Any) -> Any:
    """NaN in place of exceptions, which is replaced."""
    z = ppl.sample("z", Normal(w, 1.0))
    found = ppl.external(strict, x[2] + 0.1 * z, 1.0, on_error="nan", name="strict")
    return np.where(found == found, 0.3, 1.0) * z**2


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    f.__name__: f for f in (noisy, several, scored, looped, gone)
} | {
    "raising": lambda x, w: ppl.sample("z", Normal(w, 1.0)) * ppl.external(strict, x[2], 1.0, name="strict"),
    "without a number": lambda x, w: ppl.sample("b", Bernoulli(logits=w)) * ppl.external(loose, x[2], 1.0),
    "python": lambda x, w: ppl.external(lambda a: a + 1, x[0], python=True, name="in Python"),
}  # fmt: skip
REFUSED = {"raising": "row 5", "without a number": "row 5", "python": "'in Python' runs in Python, not on cuda"}
"""Words of errors of CUDA programs."""


def answers(model: Any, dtype: str, target: str) -> Any:
    """Value, gradient, draws and training; the error where there is one."""
    try:
        program = ppl.compile(model, dtype=dtype, target=target, data=X, particles=2)
        state = program.init(1, X)
        asked = program.value(state, X, particles=3), program.value_and_grad(state, X), program.sample(state, X)
        return asked, ppl.fit(program, X, steps=3, optimizer=ppl.optim.Adam(0.05), progress=False).state.params
    except PplError as error:
        return f"{type(error).__name__}: {error}"


def cases(tolerance: dict[str, float]) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Every model."""

    def check(name: str, dtype: str) -> None:
        model = modelled(MODELS[name])
        found = answers(model, dtype, "cuda")
        if name in REFUSED:
            assert isinstance(found, str) and REFUSED[name] in found, found
        else:
            compared(found, answers(model, dtype, "cpu"), tolerance[dtype], name)

    for name in MODELS:
        yield name, partial(check, name)
