"""Small models that the program tests share; every program is compiled once per process."""

from functools import cache

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.estimators import Enumerate, Pathwise, Rebar, Relaxed, ScoreFunction

ROWS = 11
RTOL = {"float32": 2e-5, "float64": 1e-12}


def data(rows: int = ROWS) -> np.ndarray:
    """Rows of three features."""
    return np.random.default_rng(3).normal(size=(rows, 3))


@ppl.model
def mixed(x):
    """A global normal, a row's binary units and normal below them; costs inside and outside the plate."""
    shift = ppl.sample("shift", Normal(ppl.param("loc", 0.2), 0.5))
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.dense("up", x, 3)))
        z = ppl.sample("z", Normal(ppl.dense("down", b, 2) + shift, 1.0))
        ppl.deterministic("total", np.sum(z))
        ppl.cost("fit", np.sum((z - x[:2]) ** 2))
    ppl.cost("size", shift**2)


@cache
def mixed_program(dtype: str = "float64") -> ppl.Program:
    """`mixed` with leave-one-out and pathwise gradients, two particles."""
    estimators = {"b": ScoreFunction("leave_one_out"), "*": Pathwise()}
    return ppl.compile(mixed, estimators, particles=2, dtype=dtype, data=ppl.spec((None, 3)))


@ppl.model
def units(x):
    """Three binary units a row, and a cost of all of them."""
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.dense("up", x, 3)))
        ppl.cost("fit", (np.sum(b * ppl.param("w", np.array([1.0, -2.0, 0.5]))) - x[0]) ** 2)


UNITS = {
    "score": (ScoreFunction(), 1),
    "moving average": (ScoreFunction("moving_average"), 1),
    "leave one out": (ScoreFunction("leave_one_out"), 3),
    "rebar": (Rebar(), 1),
    "enumerate": (Enumerate(), 1),
    "relaxed": (Relaxed(temperature=ppl.hyper("temperature", 0.5)), 1),
}


@cache
def units_program(name: str, dtype: str = "float64") -> ppl.Program:
    """`units` with one of `UNITS`."""
    estimator, particles = UNITS[name]
    return ppl.compile(units, estimator, particles=particles, dtype=dtype, data=ppl.spec((None, 3)))


@ppl.model
def toy():
    """One binary unit, no data."""
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
    ppl.cost("loss", (b - 0.499) ** 2)


@cache
def toy_program(dtype: str = "float64") -> ppl.Program:
    """`toy` by REBAR, whose η adapts."""
    return ppl.compile(toy, Rebar(), dtype=dtype)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two dicts of arrays have the same bits."""
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


def assert_close(a: dict[str, np.ndarray], b: dict[str, np.ndarray], rtol: float) -> None:
    """Entries agree within `rtol` of the largest entry of all."""
    scale = max(np.abs(v).max() for v in b.values())
    for name in b:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=rtol * scale, err_msg=name)
