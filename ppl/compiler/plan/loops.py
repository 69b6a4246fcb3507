"""Estimators of nodes in loops over time: which of them keep the loop, and which have it unrolled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ppl.estimators.base import Estimator
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.tuning import UNROLLED_STEPS


class Budget(Protocol):
    """Copies that may be spent."""

    max_copies: float


def unrolls(estimator: Estimator, rn: RandomNode) -> bool:
    """Whether the loops of a program are unrolled for the sake of a node's estimator."""
    if rn.site.scan is not None:
        return not estimator.in_loops and rn.needs_gradient
    return not estimator.before_loops and rn.enters_loops and rn.needs_gradient


def refusal(estimator: Estimator, rn: RandomNode, used: Budget) -> str | None:
    """Why an estimator has no place in a loop over time, or None."""
    if not unrolls(estimator, rn):
        return None
    steps, most = rn.graph.all_steps, used.max_copies
    copies = estimator.all_states(rn) * (1 + estimator.all_sides(rn))
    if copies > most and rn.site.scan is not None:
        return (
            f"in a loop of {rn.steps} steps it takes branches or states of its own for every step, {copies:.4g} copies "
            f"in all, over max_copies={most:g}; ScoreFunction takes none, nor do paths and relaxations"
        )
    if steps > UNROLLED_STEPS:
        return f"the loop would be unrolled for it, and {steps} steps are more than {UNROLLED_STEPS}"
    return None


def unrolled(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> bool:
    """Whether a plan needs the program without loops."""
    return any(unrolls(estimator, graph[name]) for name, estimator in plan.items())
