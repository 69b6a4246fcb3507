"""Models whose best estimator changes while they are trained, and families without measured times."""

from dataclasses import replace

import numpy as np

import ppl
from ppl import Bernoulli, Normal
from ppl.choosing import tuner
from ppl.choosing.tuner import configuration_of
from ppl.estimators import ScoreFunction

X = np.random.default_rng(0).normal(size=(103, 3)) + 1.0


@ppl.model
def well():
    """A wide bowl with a narrow well at its bottom: a path is best outside, a score function at the well."""
    x = ppl.sample("x", Normal(ppl.param("mu", 2.0), 0.3))
    ppl.cost("c", 0.5 * x**2 - 5 * np.exp(-200 * x**2))


@ppl.model
def rows(x):
    """A well for every row, a coin beside it, and a parameter that is not one of the nodes."""
    w = ppl.param("w", ppl.init.normal(0.3), shape=(3,))
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.sum(x * w) + 2.0, 0.3))
        b = ppl.sample("b", Bernoulli(logits=np.sum(x) * ppl.param("a", 0.5)))
        ppl.cost("c", 0.5 * z**2 - 5 * np.exp(-200 * z**2) + b * z)


@ppl.model
def table(i, y):
    """Few rows of a table for every row of data; a path or a score function."""
    loc = ppl.param("loc", ppl.init.normal(0.5), shape=(5000,))
    with ppl.plate("data", i, y) as (i, y):
        z = ppl.sample("z", Normal(loc[i], 0.5))
        ppl.cost("square", (y - z) ** 2)


@ppl.model
def walker():
    """The next step begins where a sample of this one was."""
    at = ppl.sample("z", Normal(0.9 * ppl.carried("last", 1.0) + ppl.param("drift", 0.1), 0.5))
    ppl.carry("last", at)
    ppl.cost("far", at**2)


@ppl.model
def exact():
    """Nothing is random."""
    ppl.cost("c", (ppl.param("mu", 2.0) - 1.0) ** 2)


AVERAGE = ScoreFunction("moving_average")

MEMBERS = {
    "x": ({"x": ScoreFunction()}, {"x": AVERAGE}),
    "z": ({"z": AVERAGE}, {"z": ScoreFunction()}),
}
"""Estimators of the other members of a family, by a node of the model."""


def family_of(program, members, particles=None):
    """The program's own choice, and others."""
    own = configuration_of(program.prepare())
    return [own, *(replace(own.having(**m), particles=particles or own.particles) for m in members)]


def given(monkeypatch, members=None, seconds=None, probing=0.0, least=40):
    """Families are given, and the seconds of their steps (1): what follows is a function of the seed."""

    def found(program, *rest):
        own = configuration_of(program.prepare())
        node = next(name for name, _ in own.estimators)
        return family_of(program, members or MEMBERS[node])

    monkeypatch.setattr(tuner, "find_family", found)
    monkeypatch.setattr(tuner, "time_steps", lambda steppers: seconds or [1.0] * len(steppers))
    monkeypatch.setattr(tuner, "gradient_seconds", lambda *_: probing)
    monkeypatch.setattr(tuner, "LEAST_SPACING", least)


def nothing_is_measured(monkeypatch):
    """Measuring is an error."""

    def refuse(*_):
        raise AssertionError("a replay measures nothing")

    for name in ("find_family", "time_steps", "gradient_seconds", "measure_errors"):
        monkeypatch.setattr(tuner, name, refuse)


def same(a, b):
    """Two results with the same bits."""
    assert a.state._flat.tobytes() == b.state._flat.tobytes()
    assert a.state._aux.tobytes() == b.state._aux.tobytes()
    assert a.state.step == b.state.step and a.state.estimators == b.state.estimators
    assert {k: v.tolist() for k, v in a.history.items()} == {k: v.tolist() for k, v in b.history.items()}
    assert a.choices == b.choices
