"""Models whose Python loops unroll to long chains: what is asked of them grows with their length, not its square."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.graph.smoothness import PathOrders
from ppl.ir import node
from ppl.ir.op_facts import SMOOTH
from ppl.ir.traversal import Readers
from tests.compiler.checked import cases
from tests.helpers.replay import program_of


def chain(steps: int):
    """A state that decays, seen with noise; its guide looks at the state before."""

    @ppl.model
    def model(x):
        decay = ppl.param("decay", 0.5)
        with ppl.plate("data", x) as x:
            z = ppl.sample("z0", Normal(0.0, 1.0))
            for t in range(1, steps):
                z = ppl.sample(f"z{t}", Normal(decay * z, np.exp(ppl.param("s", 0.0, shared=True))))
                ppl.sample(f"x{t}", Normal(z, 1.0), obs=x[t])

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z0", Normal(ppl.param("m0", 0.0), 1.0))
            for t in range(1, steps):
                a, b = (ppl.param(name, 0.1, shared=True) for name in "ab")
                loc = ppl.param(f"m{t}", 0.0) + a * z + b * x[t]
                z = ppl.sample(f"z{t}", Normal(loc, np.exp(ppl.param(f"s{t}", 0.0))))

    return ppl.compile(ppl.elbo(model, guide), data=ppl.spec((None, steps), np.float32))


def test_source_grows_with_the_length():
    """Two ways lead to every step of the gradient's sums, so that walks along them end only if they look once."""
    short, long = (len(chain(steps).source) for steps in (15, 60))
    assert long < 4.6 * short


def visits(steps: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Nodes that are walked through while a chain is traced and planned."""
    counted = 0
    after, topological = Readers.after, node.topological

    def count_after(self, *arguments):
        nonlocal counted
        for found in after(self, *arguments):
            counted += 1
            yield found

    def count_topological(*arguments):
        nonlocal counted
        found = topological(*arguments)
        counted += len(found)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Readers, "after", count_after)
        for module in [m for name, m in sys.modules.items() if name.startswith("ppl.")]:
            if getattr(module, "topological", None) is topological:
                patched.setattr(module, "topological", count_topological)
        chain(steps)
    return counted


def test_walks_of_the_plan_grow_with_the_length(monkeypatch):
    """Every node asks for what lies between it and the next, and not for all that comes after."""
    few, many = (visits(steps, monkeypatch) for steps in (12, 48))
    assert few > 12
    assert many < 4.4 * few


def test_what_lies_downstream_is_what_a_walk_finds():
    """What is asked along bits finds the costs and nodes that a walk along the arguments finds."""
    graph = chain(9).prepare(np.zeros((5, 9), np.float32)).graph
    for random in graph.nodes.values():
        reached = PathOrders(random.node, graph.readers, lambda sample: SMOOTH, graph.ranges)
        assert random.costs == [c for c in graph.trace.costs.values() if c.node in reached]
        assert random.children == [n for n in graph.nodes.values() if n is not random and n.node in reached]


@pytest.mark.parametrize(("name", "case"), [(n, c) for i, (n, c, _) in enumerate(cases()) if i % 40 == 7])
def test_any_number_of_particles_has_the_same_variables(name, case):
    """Auxiliary variables, their order and hyper parameters are those of the compiled-in number of particles."""
    graph, program = program_of(case, "float64")
    compiled = program.prepare(*graph.data)
    free = compiled.variant("gradient")
    assert tuple((k, slot.shape) for k, slot in free.aux_slots.items()) == compiled.aux_layout.shapes
    assert list(free.hypers.items()) == list(compiled.gradient.hypers.items())
