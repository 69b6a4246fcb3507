"""Programs that users' own code calls in the tests: several kinds, with the data of each."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

import ppl
from ppl import Bernoulli, Categorical, Gamma, Normal
from ppl.estimators import Pathwise, ScoreFunction
from tests.program.programs import UNITS, mixed, mixed_program, toy_program, units_program


@ppl.model
def shift():
    """A model without rows, with a hyper parameter and 40 entries."""
    z = ppl.sample("z", Normal(ppl.param("m", np.linspace(-1, 1, 40)), ppl.param("s", 0.5, constraint="positive")))
    ppl.cost("c", np.sum((z - 1.0) ** 2) * ppl.hyper("weight", 0.5))


@ppl.model
def table(x, k):
    """Rows with a whole number each, a table of constants, draws by rejection."""
    levels = ppl.constant(np.linspace(0.5, 2.0, 30).reshape(5, 6))
    with ppl.plate("data", x, k) as (x, k):
        g = ppl.sample("g", Gamma(ppl.param("a", 1.5, constraint="positive"), 2.0))
        c = ppl.sample("c", Categorical(logits=ppl.dense("up", x, 6)))
        ppl.cost("fit", (g - levels[k, c]) ** 2)


@ppl.model
def wide(x):
    """Rows of matrix products, whose gradient is shared among slabs."""
    with ppl.plate("data", x) as x:
        h = ppl.sample("h", Bernoulli(logits=ppl.dense("up", x, 600)))
        z = ppl.sample("z", Normal(ppl.dense("down", h, 20), 1.0))
        ppl.cost("fit", np.sum((z - np.sum(x)) ** 2))


@ppl.model
def two_plates(x, y):
    """Two run-time plates side by side."""
    w = ppl.param("w", 0.3)
    with ppl.plate("left", x) as x:
        ppl.cost("a", (ppl.sample("u", Normal(w * x, 1.0)) - 1.0) ** 2)
    with ppl.plate("right", y) as y:
        ppl.cost("b", (ppl.sample("v", Normal(w * np.sum(y), 1.0)) + 1.0) ** 2)


@ppl.model
def seen(x, flag, m):
    """A likelihood of rows, a bool each, with an argument that is no rows, carried state and a constraint."""
    with ppl.plate("data", x, flag) as (x, flag):
        k = ppl.sample("k", Bernoulli(logits=ppl.param("l", 0.2)))
        ppl.sample("x", Normal(np.where(k == 1, np.sum(m), 0.0), ppl.param("s", 0.5, constraint="positive")), obs=x)
        ppl.cost("f", np.where(flag, 1.0, 0.0) * k)


@ppl.model
def walk(x):
    """A loop over time a row, with a node a step."""
    with ppl.plate("data", x) as x:

        def step(carry, _):
            z = ppl.sample("z", Normal(carry * ppl.param("w", 0.7), 0.5))
            ppl.cost("c", (z - x[0]) ** 2)
            return z, None

        ppl.scan(step, x[1], length=6)


def rows(n: int, width: int = 3) -> np.ndarray:
    """Rows of features."""
    return np.random.default_rng(n).normal(size=(n, width))


Case = tuple[Callable[[str], ppl.Program], Callable[[int], tuple[np.ndarray, ...]]]

NOTHING: Callable[[int], tuple[np.ndarray, ...]] = lambda n: ()  # noqa: E731
KINDS: dict[str, Case] = {
    "toy": (toy_program, NOTHING),
    "shift": (lambda dtype: ppl.compile(shift, dtype=dtype), NOTHING),
    "shift, 5 particles": (lambda dtype: ppl.compile(shift, Pathwise(), particles=5, dtype=dtype), NOTHING),
    **{f"units, {name}": (lambda dtype, name=name: units_program(name, dtype), lambda n: (rows(n),)) for name in UNITS},
    "mixed": (mixed_program, lambda n: (rows(n),)),
    "mixed, 1 particle": (
        lambda dtype: ppl.compile(mixed, {"b": ScoreFunction(), "*": Pathwise()}, dtype=dtype, data=rows(5)),
        lambda n: (rows(n),),
    ),
    "table": (
        lambda dtype: ppl.compile(table, {"c": ScoreFunction()}, dtype=dtype, data=(rows(5), np.zeros(5, int))),
        lambda n: (rows(n), np.arange(n) % 5),
    ),
    "wide": (
        lambda dtype: ppl.compile(wide, {"h": ScoreFunction()}, dtype=dtype, data=rows(5, 64)),
        lambda n: (rows(n, 64),),
    ),
    "walk": (lambda dtype: ppl.compile(walk, dtype=dtype, data=rows(5)), lambda n: (rows(n),)),
    "two plates": (
        lambda dtype: ppl.compile(two_plates, dtype=dtype, data=(ppl.spec((None,)), ppl.spec((None, 2)))),
        lambda n: (rows(n, 1)[:, 0], rows(2 * n + 1, 2)),
    ),
    "seen": (
        lambda dtype: ppl.compile(
            ppl.elbo(seen, guess, kl="sampled"), dtype=dtype, data=(ppl.spec((None,)), np.zeros(5, bool), np.zeros(4))
        ),
        lambda n: (rows(n, 1)[:, 0], np.arange(n) % 2 == 0, np.linspace(0, 1, 4)),
    ),
}


@ppl.model
def guess(x):
    """The guide of `seen`."""
    with ppl.plate("data", x) as x:
        ppl.sample("k", Bernoulli(logits=ppl.param("q", 0.1) * x))


@cache
def program_of(name: str, dtype: str) -> ppl.Program:
    """The program of a kind, compiled once per process."""
    return KINDS[name][0](dtype)


def given(name: str, dtype: str, n: int) -> tuple[np.ndarray, ...]:
    """Data of `n` rows for a kind, in the types that compiled code reads."""
    arrays = KINDS[name][1](n)
    return tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays)


def counts(program: ppl.Program, data: tuple[np.ndarray, ...]) -> list[int]:
    """Numbers of rows, one for each run-time plate."""
    found = {i.plate.name: len(a) for i, a in zip(program.prepare().binder.inputs, data, strict=True) if i.plate}
    return list(found.values())


class FromC:
    """A program's C function, called through ctypes with arrays of its own."""

    def __init__(self, program: ppl.Program, state: ppl.State, data: tuple[np.ndarray, ...], kind: str = "gradient"):
        self.program, self.data, self.function = program, data, program.cfunc(kind)
        self.params, self.grad, self.aux, self.hyper = program.arrays(state)
        self.rows = counts(program, data)
        self.bytes = self.function.work_len(*self.rows)
        self.memory = np.full(self.bytes + 64, 0xFF, np.uint8)
        self.loss = ctypes.c_double(np.nan)
        if kind == "sample":
            self.grad, self.views = program.sample_buffer(self.rows[0] if self.rows else 1)

    def __call__(self, seed: int, step: int, row0: int = 0, scale: float = 1.0, **changes: Any) -> int:
        """The status of a call; `changes` are other arguments."""
        names = ("params", "grad", "aux", "hyper")
        at = {n: getattr(self, n).ctypes.data for n in names} | {"work": self.memory.ctypes.data, "len": self.bytes}
        at |= {f"data{i}": a.ctypes.data for i, a in enumerate(self.data)} | {"rows": self.rows} | changes
        data = [at[f"data{i}"] for i in range(len(self.data))]
        head = [*(at[n] for n in names), seed, step, row0, scale, at["work"], at["len"]]
        return self.function.ctypes(*head, *at["rows"], *data, at.get("loss", ctypes.byref(self.loss)))


def nopython(program: ppl.Program, count: int, kind: str = "njit") -> Any:
    """A user's compiled function that calls `program.njit` with `count` data arguments and returns the loss."""
    step_fn = getattr(program, kind)
    if count == 0:
        return numba.njit(lambda p, g, a, h, s, t, r, c, w: step_fn(p, g, a, h, s, t, r, c, w))
    if count == 1:
        return numba.njit(lambda p, g, a, h, s, t, r, c, w, x: step_fn(p, g, a, h, s, t, r, c, w, x))
    if count == 2:
        return numba.njit(lambda p, g, a, h, s, t, r, c, w, x, y: step_fn(p, g, a, h, s, t, r, c, w, x, y))
    return numba.njit(lambda p, g, a, h, s, t, r, c, w, x, y, z: step_fn(p, g, a, h, s, t, r, c, w, x, y, z))
