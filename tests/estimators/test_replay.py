"""Every estimator on every node of every law graph that it supports: compiled equals interpreted, noise for noise.

The full matrix of which `test_compiled` replays chosen cases. Other nodes have the automatic choice.
"""

import pytest

from ppl.estimators import Relaxed, StraightThrough
from tests.estimators.test_laws import UNBIASED, nodes_of
from tests.helpers.law_graphs import LAWS
from tests.helpers.replay import Case, replay

BIASED = {
    "relaxed": (Relaxed(temperature=0.7), {}, {}),
    "relaxed-hard": (Relaxed(temperature=0.7, hard=True), {}, {}),
    "straight-through": (StraightThrough(), {}, {}),
}


def _iter_cases():
    for law, build in LAWS.items():
        graph = build()
        for node, rn in nodes_of(graph).items():
            for label, (estimator, aux, options) in {**UNBIASED, **BIASED}.items():
                if estimator.supports(rn).ok:
                    values = {f"{node}/{k}": v for k, v in aux.items()}
                    particles = options.get("particles", graph.particles)
                    case = Case(law, {node: estimator}, values, particles, graph.hyper)
                    yield pytest.param(case, label, id=f"{law}-{node}-{label}")


@pytest.mark.slow
@pytest.mark.parametrize(("case", "label"), list(_iter_cases()))
def test_float64_replays_the_interpreter(case, label, record_property):
    record_property("estimator", label)  # for the summary that benchmarks.slow_tests makes
    replay(case, "float64", 1e-9)
