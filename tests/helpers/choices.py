"""The one list of estimators that tests run over, with their options and auxiliary values away from where they start.

A registered estimator that is not named here is tested with its defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from ppl.estimators import (
    REGISTRY,
    BonnetPrice,
    CategoricalDisARM,
    Combine,
    DisARM,
    Enumerate,
    Pathwise,
    Rebar,
    Relax,
    Relaxed,
    ScoreFunction,
)
from ppl.estimators.base import Estimator, check_support
from ppl.estimators.not_needed import NotNeeded
from ppl.graph import RandomNode
from tests.helpers.laws import Graph


class Choice(NamedTuple):
    """An estimator, its auxiliary values by suffix, and the particles it needs."""

    estimator: Estimator
    aux: Mapping[str, float] = MappingProxyType({})
    particles: int = 1

    @property
    def text(self) -> str:
        """The estimator as source text."""
        return re.sub(r"\b([A-Z]\w*)\(", r"ppl.estimators.\1(", repr(self.estimator))

    @property
    def options(self) -> dict[str, int]:
        """What `ppl.compile` is to be told besides."""
        return {"particles": self.particles} if self.particles > 1 else {}

    def values(self, *nodes: str) -> dict[str, float]:
        """The auxiliary values by name, where `nodes` have this estimator."""
        return {f"{node}/{k}": v for node in nodes for k, v in self.aux.items()}


OPTIONS = {
    "Enumerate": {
        "enumerate": Choice(Enumerate()),
        "enumerate-units": Choice(Enumerate(units=1), {"baseline": 0.3}),
        "enumerate-two-units": Choice(Enumerate(units=2, baseline="leave_one_out"), particles=2),
        "enumerate-category": Choice(Enumerate(categories=1)),
        "enumerate-categories": Choice(Enumerate(categories=2)),
    },
    "Combine": {
        "combine": Choice(Combine(DisARM(), ScoreFunction("moving_average")), {"2.weight.*": 0.35, "2.baseline": 0.4}),
        "combine-paths": Choice(Combine(Pathwise(), ScoreFunction(0.3)), {"2.weight.*": 0.4}),
        "combine-relaxed": Choice(Combine(Rebar(), DisARM(), per="entry"), {"2.weight.*": 0.3, "1.eta": 0.7}),
        "combine-learned": Choice(
            Combine(Relax(width=3), ScoreFunction("learned", width=3)), {"2.weight.*": 0.6, "2.network.output": 0.2}
        ),
        "combine-categories": Choice(
            Combine(CategoricalDisARM(), ScoreFunction("leave_one_out")), {"2.weight.*": 0.6}, particles=2
        ),
        "combine-curvature": Choice(
            Combine(BonnetPrice(), Pathwise(), ScoreFunction()), {"2.weight.*": 0.5, "3.weight.*": -0.3}
        ),
    },
    "Rebar": {
        "rebar": Choice(Rebar(), {"eta": 0.6}),
        "rebar-sharp": Choice(Rebar(temperature=0.35, eta=0.8, adapt_eta=False)),
        "rebar-temperature": Choice(Rebar(adapt_temperature=True), {"eta": 0.7, "log_temperature": -0.3}),
    },
    "Relax": {
        "relax": Choice(Relax(width=3), {"network.output": 0.3}),
        "relax-temperature": Choice(
            Relax(width=2, adapt_temperature=True), {"network.output": -0.2, "log_temperature": 0.2}
        ),
    },
    "ScoreFunction": {
        "score": Choice(ScoreFunction()),
        "score-constant": Choice(ScoreFunction(0.7)),
        "score-moving-average": Choice(ScoreFunction("moving_average"), {"baseline": 0.37}),
        "score-learned": Choice(ScoreFunction("learned", width=3), {"network.output": 0.4, "baseline": 0.2}),
        "score-leave-one-out": Choice(ScoreFunction("leave_one_out"), particles=2),
        "score-optimal": Choice(ScoreFunction("optimal"), particles=4),
    },
    "Relaxed": {
        "relaxed": Choice(Relaxed(temperature=0.7)),
        "relaxed-hard": Choice(Relaxed(temperature=0.7, hard=True)),
    },
}


def _label(name: str) -> str:
    """ "MeasureValued" as "measure-valued", "DisARM" as "disarm"."""
    return re.sub("(?<=[a-z])(?=[A-Z][a-z])|(?<=[a-z])(?=DisARM)", "-", name).lower()


def _choices(biased: bool) -> dict[str, Choice]:
    kinds = {name: kind for name, kind in REGISTRY.items() if kind.biased == biased}
    return {
        label: choice
        for name, kind in kinds.items()
        for label, choice in (OPTIONS.get(name) or {_label(name): Choice(kind())}).items()
    }


UNBIASED = _choices(False)

BIASED = _choices(True)

COSTLY = tuple(label for label in UNBIASED if label.startswith(("combine", "enumerate-")))
"""Estimators made of others: every law graph is run under them in the slow tests alone."""


@cache
def nodes_of(graph: Graph) -> dict[str, RandomNode]:
    """The nodes of a law graph that may be given an estimator."""
    compiled = graph.compile().prepare()
    return {
        name: compiled.graph[name]
        for name, estimator in compiled.plan.estimators.items()
        if not isinstance(estimator, NotNeeded) and compiled.trace.sites[name].estimator is None
    }


def admitted(graph: Graph, choices: Mapping[str, Choice] = UNBIASED) -> Iterator[tuple[str, str, Choice]]:
    """Node, label and choice for every choice that a node of the graph admits."""
    for node, random_node in nodes_of(graph).items():
        for label, choice in choices.items():
            if check_support(choice.estimator, random_node).ok:
                yield node, label, choice
