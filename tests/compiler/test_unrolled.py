"""Models whose Python loops unroll to long chains: what is asked of them grows with their length, not its square."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl import Normal
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


@pytest.mark.parametrize(("name", "case"), [(n, c) for i, (n, c, _) in enumerate(cases()) if i % 40 == 7])
def test_any_number_of_particles_has_the_same_variables(name, case):
    """Auxiliary variables, their order and hyper parameters are those of the compiled-in number of particles."""
    graph, program = program_of(case, "float64")
    compiled = program.prepare(*graph.data)
    free = compiled.variant("gradient")
    assert tuple((k, slot.shape) for k, slot in free.aux_slots.items()) == compiled.aux_layout.shapes
    assert list(free.hypers.items()) == list(compiled.gradient.hypers.items())
