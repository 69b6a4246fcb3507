"""Loops over time: walks, control, policies, epidemics, guides of chains."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks.regret.graphs.graph import Graph, graph
from ppl import Categorical, Normal
from ppl.models import control, hmm, policy, sir, state_space, walk


@graph
def random_walk() -> Graph:
    """A walk whose steps are coins."""
    return Graph("random walk of 50 steps, 100 walks", walk.walk.bind(walks=100))


@graph
def mass() -> Graph:
    """Linear-quadratic control."""
    return Graph("control of a mass, 50 steps, 20 places", control.control.bind(environments=20, steps=50))


@graph
def river() -> Graph:
    """A policy of actions in a table."""
    return Graph("policy in a river, 20 steps", policy.trajectory)


@graph
def epidemic() -> Graph:
    """Binomial draws."""
    cases = (2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 2.0, 1.0)
    return Graph("epidemic of 8 days", sir.epidemic.bind(cases=cases))


@graph
def chain_guide() -> Graph:
    """A hidden Markov model with a guide that draws its states."""
    y, _ = hmm.sequences(20, 20)

    @ppl.model
    def guide(y: Any) -> None:
        w, v = ppl.param("before", np.eye(3)), ppl.param("slope", np.array([-1.0, 0.0, 1.0]))
        with ppl.plate("data", y) as y:

            def step(z: Any, now: Any) -> tuple[Any, None]:
                return ppl.sample("z", Categorical(logits=w[z] + v * now)), None

            ppl.scan(step, 0, y)

    return Graph("hidden Markov model, 20 × 20, a guide that draws", ppl.elbo(hmm.hidden, guide), (y,))


@graph
def filtered() -> Graph:
    """A linear-Gaussian chain with a Normal guide."""
    y = state_space.series(10, 20)

    @ppl.model
    def guide(y: Any) -> None:
        a, b, s = ppl.param("keep", 0.5), ppl.param("take", 0.3), ppl.param("log_scale", 0.0)
        with ppl.plate("data", y) as y:

            def step(z: Any, now: Any) -> tuple[Any, None]:
                return ppl.sample("z", Normal(a * z + b * now, np.exp(s))), None

            ppl.scan(step, 0.0, y)

    return Graph("state space, 10 × 20, a Normal guide", ppl.elbo(state_space.linear, guide), (y,))
