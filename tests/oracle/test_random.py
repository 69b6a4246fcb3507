"""Random graphs and hand-written ones: every estimate within its error of the oracle's gradient.

A failing graph prints a program that reproduces it. `python -m tests.oracle` runs more of them.
"""

from __future__ import annotations

from collections import Counter

import pytest

from ppl.errors import EstimatorError
from tests.oracle.check import admissible
from tests.oracle.estimators import CHOICES
from tests.oracle.graphs import WRITTEN
from tests.oracle.graphs.generate import random_graph
from tests.oracle.graphs.loops import random_loop
from tests.oracle.graphs.source import program
from tests.oracle.run import run

FAST = 200
CHUNK = 20
LOOPS, LOOPS_COMPILED = 100, (9, 17, 23)
COMPILED = (163, 181, 68, 13, 22, 82, 171, 108, 21, 192, 153, 7)
FLOOR, REFUSED = 357, 1  # pairs that seeds 0 to 39 admit, and graphs among them that are refused as a whole


def _held(records):
    """All verdicts agree, or were too noisy to tell; the counts show in pytest's captured output."""
    states = Counter(r.state for r in records)
    outcomes = sum((r.outcomes for r in records), Counter())
    print(dict(states), dict(Counter({o: sum(n for (_, k), n in outcomes.items() if k == o) for _, o in outcomes})))
    wrong = [r.report() for r in records if r.wrong]
    assert not wrong, "\n".join(wrong)
    return states, outcomes


@pytest.mark.parametrize(
    "first", [pytest.param(i, marks=pytest.mark.slow if i >= 6 * CHUNK else ()) for i in range(0, FAST, CHUNK)]
)
def test_random_graphs_interpreted(first):
    states, outcomes = _held([run(f"seed {i}", random_graph(i), seed=i) for i in range(first, first + CHUNK)])
    assert states["checked"] >= 0.7 * CHUNK
    assert sum(n for (_, o), n in outcomes.items() if o == "agrees") >= 0.5 * sum(outcomes.values())


@pytest.mark.parametrize("seed", COMPILED)
def test_random_graphs_compiled(seed):
    _held([run(f"seed {seed}", random_graph(seed), seed=seed, compiled=1)])


@pytest.mark.parametrize(
    "first", [pytest.param(i, marks=pytest.mark.slow if i >= 2 * CHUNK else ()) for i in range(0, LOOPS, CHUNK)]
)
def test_random_loops_interpreted(first):
    states, outcomes = _held([run(f"loop {i}", random_loop(i), seed=i) for i in range(first, first + CHUNK)])
    assert states["checked"] >= 0.7 * CHUNK
    assert sum(n for (_, o), n in outcomes.items() if o == "agrees") >= 0.5 * sum(outcomes.values())


@pytest.mark.parametrize("seed", LOOPS_COMPILED)
def test_random_loops_compiled(seed):
    _held([run(f"loop {seed}", random_loop(seed), seed=seed, compiled=1)])


@pytest.mark.parametrize("name", WRITTEN)
def test_graphs_that_went_wrong_before(name):
    _held([run(name, WRITTEN[name], seed=1)])


def test_estimators_admit_as_many_nodes_as_before():
    pairs, refused = Counter(), 0
    for seed in range(40):
        try:
            found = admissible(program(f"seed {seed}", random_graph(seed)))
        except EstimatorError:
            refused += 1
            continue
        for names in found.values():
            pairs.update(names)
    assert sum(pairs.values()) >= FLOOR and refused <= REFUSED, (refused, dict(pairs))


def test_every_estimator_is_drawn():
    from ppl.estimators import REGISTRY

    assert {type(c.estimator).__name__ for c in CHOICES.values()} == {n for n, e in REGISTRY.items() if not e.biased}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1000, CHUNK))
def test_random_graphs_under_every_plan(first):
    _held([run(f"seed {i}", random_graph(i), True, i, 20_000) for i in range(first, first + CHUNK)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 400))
def test_more_random_graphs_compiled(seed):
    _held([run(f"seed {seed}", random_graph(seed), seed=seed, compiled=2)])


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_written_graphs_under_every_plan(name):
    _held([run(name, WRITTEN[name], True, most=20_000)])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 400, CHUNK))
def test_random_loops_under_every_plan(first):
    _held([run(f"loop {i}", random_loop(i), True, i, 20_000) for i in range(first, first + CHUNK)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_more_random_loops_compiled(seed):
    _held([run(f"loop {seed}", random_loop(seed), seed=seed, compiled=2)])
