"""Every estimator on every node of every law graph that it supports: compiled equals interpreted, noise for noise.

The full matrix of which `test_compiled` replays chosen cases. Other nodes have the automatic choice.
"""

from collections.abc import Iterator

import pytest

from tests.helpers.choices import BIASED, UNBIASED, Choice, admitted
from tests.helpers.law_graphs import LAWS
from tests.helpers.replay import Case, replay

CHOICES = {**UNBIASED, **BIASED}


def cases(choices: dict[str, Choice] = CHOICES) -> Iterator[tuple[str, Case]]:
    """Name and case of every choice on every node of every law graph that admits it."""
    for law, build in LAWS.items():
        graph = build()
        for node, label, choice in admitted(graph, choices):
            particles = choice.options.get("particles", graph.particles)
            yield (
                f"{law}-{node}-{label}",
                Case(law, {node: choice.estimator}, choice.values(node), particles, graph.hyper),
            )


@pytest.mark.slow
@pytest.mark.parametrize("label", CHOICES)
def test_float64_replays_the_interpreter(label, record_property, subtests):
    found = dict(cases({label: CHOICES[label]}))
    record_property("estimator", label)  # for the summary that benchmarks.slow_tests makes
    record_property("cases", len(found))
    passed = 0
    for name, case in found.items():
        with subtests.test(name):
            replay(case, "float64", 1e-9)
            passed += 1
    record_property("passed", passed)
