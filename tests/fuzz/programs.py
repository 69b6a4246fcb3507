"""What the fuzzed calls share: the record of a call, small models, programs that are compiled once, a folder."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import ppl
from ppl.estimators import Enumerate, Rebar

X = np.array([0.5, -1.0, 2.0, 0.1, 0.3])
K = np.array([0, 2, 1, 2, 0])


class Call(NamedTuple):
    """A function of keyword arguments and right values of them.

    `raises` are its other errors by contract; `kept` names arguments that are not replaced, since a large right value
    takes the time that it asks for.
    """

    function: Callable[..., Any]
    good: dict[str, Any]
    raises: tuple[type[BaseException], ...] = ()
    kept: tuple[str, ...] = ()


@ppl.model
def toy() -> None:
    """One binary unit."""
    b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", 0.3)))
    ppl.cost("loss", (b - 0.499) ** 2 * ppl.hyper("weight", 1.0))


@ppl.model
def rows(x: Any, k: Any) -> None:
    """Rows with an observation of each kind."""
    with ppl.plate("data", x, k) as (x, k):
        z = ppl.sample("z", ppl.Bernoulli(logits=ppl.param("w", 0.2) * x))
        ppl.sample("x", ppl.Normal(z, 1.0), obs=x)
        ppl.sample("k", ppl.Poisson(np.exp(ppl.param("r", 0.1))), obs=k)


@ppl.model
def guide(x: Any, k: Any) -> None:
    """A guide of `rows`."""
    with ppl.plate("data", x) as x:
        ppl.sample("z", ppl.Bernoulli(logits=ppl.param("g", 0.2) * x))


@functools.cache
def toy_program() -> ppl.Program:
    """`toy` by REBAR."""
    return ppl.compile(toy, Rebar(), dtype="float64")


@functools.cache
def rows_program() -> ppl.Program:
    """The ELBO of `rows`, enumerated."""
    return ppl.compile(ppl.elbo(rows, guide), Enumerate(), dtype="float64", data=(X, K))


@functools.cache
def folder() -> str:
    """Where files go."""
    return tempfile.mkdtemp()


def saved() -> str:
    """A file of a state."""
    path = os.path.join(folder(), "state.npz")
    toy_program().init(0).save(path)
    return path


def states() -> tuple[ppl.State, ppl.State]:
    """A state of each program."""
    return toy_program().init(0), rows_program().init(0)


def relative(path: Any) -> Any:
    """A path in the folder, where it is one."""
    return os.path.join(folder(), path) if isinstance(path, str) and path and "\0" not in path else path


def drawn_to(program: Any, path: Any, ax: Any) -> Any:
    """A picture, in a file of the folder where a path is relative."""
    return ppl.draw(program, relative(path), ax)


def traced(function: Callable[..., Any], **extra: Any) -> Callable[..., Any]:
    """A call inside a model, which is traced and planned."""

    def call(**arguments: Any) -> Any:
        @ppl.model
        def inside() -> None:
            with ppl.plate("plate", 3):
                function(**extra, **arguments)
            ppl.cost("last", ppl.param("last", 0.5) ** 2)

        return ppl.compile(inside)

    return call
