"""All that a program can be asked, on CUDA and on the CPU: the cases `calls` of `tests.compiler.simulated`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import ppl
from ppl import Bernoulli, Beta, Categorical, Normal, OneHotCategorical
from ppl.errors import EstimatorError, ModelError

X = np.linspace(-1.2, 1.5, 21).reshape(7, 3)
Y = X @ np.array([0.4, -1.0, 0.3]) + 0.1


@ppl.model
def regression(x: Any, y: Any) -> None:
    """Bayesian linear regression."""
    w = ppl.sample("w", Normal(np.zeros(3), 1.0))
    scale = ppl.param("scale", 0.5, constraint="positive")
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", Normal(x @ w, scale), obs=y)


@ppl.model
def regression_guide(x: Any, y: Any) -> None:
    """Independent normals."""
    loc, scale = ppl.param("loc", np.zeros(3)), ppl.param("spread", np.full(3, 0.3), constraint="positive")
    ppl.sample("w", Normal(loc, scale))


@ppl.model
def belief_net(x: Any) -> None:
    """Two binary layers."""
    w, v = ppl.param("w", 0.3 * np.ones((2, 3))), ppl.param("v", np.array([0.2, -0.4]))
    with ppl.plate("data", x) as x:
        h = ppl.sample("h", Bernoulli(logits=v + x @ np.ones((3, 2)) * 0.1))
        b = ppl.sample("b", Bernoulli(logits=h @ w))
        ppl.cost("loss", np.sum((b - x) ** 2) + h[0] * b[1])


@ppl.model
def scanned(x: Any) -> None:
    """A random walk with jumps."""
    a = ppl.param("a", 0.7)
    with ppl.plate("data", x) as x:

        def step(carry: Any, xt: Any) -> Any:
            b = ppl.sample("b", Bernoulli(logits=carry - xt))
            z = ppl.sample("z", Normal(a * carry + b, 0.3))
            ppl.cost("inside", (z - xt) ** 2)
            return z, z

        last, _ = ppl.scan(step, 0.1, x)
        ppl.cost("last", last**2)


@ppl.model
def mixture(x: Any) -> None:
    """Classes, one-hot vectors and shares."""
    logits, rate = ppl.param("logits", np.array([0.2, -0.1, 0.4])), ppl.param("rate", 1.5, constraint="positive")
    share = ppl.sample("share", Beta(rate, 2.0))
    with ppl.plate("data", x) as x:
        k = ppl.sample("k", Categorical(logits=logits))
        u = ppl.sample("u", OneHotCategorical(logits=logits * x[0]))
        z = ppl.sample("z", Normal(ppl.constant(np.array([-1.0, 0.0, 2.0]))[k] + u[1], 0.5))
        ppl.cost("loss", (z - share * x[1]) ** 2)


MODELS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "regression": (lambda: ppl.elbo(regression, regression_guide), (X, Y)),
    "belief net": (lambda: belief_net, ((X > 0).astype(float),)),
    "scan": (lambda: scanned, (X,)),
    "mixture": (lambda: mixture, (X,)),
}
"""Objectives and data."""

BATCH = {"rows": np.array([4, 0, 9, 11, 3, 30, 22]), "total_rows": 40}


def _asked(program: Any, data: tuple[Any, ...]) -> dict[str, Callable[[Any], Any]]:
    """What is asked of a program at a state, by name."""
    return {
        "value": lambda s: program.value(s, *data, seed=3),
        "value of particles": lambda s: program.value(s, *data, particles=5, **BATCH),
        "per row": lambda s: program.value(s, *data, per_row=True, particles=2),
        "gradient": lambda s: program.value_and_grad(s, *data, **BATCH),
        "gradient of particles": lambda s: program.value_and_grad(s, *data, particles=3),
        "sample": lambda s: program.sample(s, *data, seed=5),
        "sample of particles": lambda s: program.sample(s, *data, seed=5, particles=3),
        "hvp": lambda s: program.hvp(s, np.linspace(-1, 1, program.ravel(s).size), *data, particles=2),
        "diagnose": lambda s: _numbers(program.diagnose(s, *data, repeats=20, timing=False, backend="compiled")),
        "steps": lambda s: _stepped(program, s, data),
    }


def _answer(question: Callable[[Any], Any], state: Any) -> Any:
    """What is answered: numbers, or why it is refused."""
    try:
        return question(state)
    except (EstimatorError, ModelError) as error:
        return f"{error}"


def _numbers(found: Any) -> Any:
    return {name: (g.mean, g.variance) for name, g in found.items()}, found.loss, found.loss_error


def _stepped(program: Any, state: Any, data: tuple[Any, ...]) -> Any:
    optimizer, losses = ppl.optim.Adam(0.05), []
    for _ in range(3):
        state, found = program.update(state, *data, optimizer=optimizer)
        losses.append(found)
    return state.params, state.aux


def compared(a: Any, b: Any, tolerance: float, name: str) -> None:
    """The same numbers up to a tolerance, whole ones the same."""
    if isinstance(a, str):
        assert a == b, name
    elif isinstance(a, dict):
        assert list(a) == list(b), name
        for k in a:
            compared(a[k], b[k], tolerance, f"{name} {k}")
    elif isinstance(a, tuple | list):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            compared(x, y, tolerance, f"{name} {i}")
    elif a is not None:
        expected, found = np.asarray(b), np.asarray(a)
        whole = expected.dtype.kind != "f" or bool(np.all(expected == np.round(expected)))
        scale = 0.0 if whole else tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))
        np.testing.assert_allclose(found, expected, rtol=0.0 if whole else tolerance, atol=scale, err_msg=name)


def cases(tolerance: dict[str, float]) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Every question to every model."""

    def check(model: str, question: str, dtype: str) -> None:
        (objective, data), found = MODELS[model], []
        for target in ("cuda", "cpu"):
            program = ppl.compile(objective(), dtype=dtype, target=target, data=data, particles=2)
            found.append(_answer(_asked(program, data)[question], program.init(1, *data)))
        compared(*found, tolerance[dtype], question)

    for model in MODELS:
        for question in _asked(None, ()):
            yield f"{question}, {model}", partial(check, model, question)
