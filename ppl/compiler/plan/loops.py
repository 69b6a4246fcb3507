"""Estimators of nodes in loops over time: which of them keep the loop, and which have it unrolled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from ppl.errors import PplError
from ppl.estimators.base import Estimator
from ppl.graph.chains import broken_chain
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.lang.time.record import base_name
from ppl.tuning import UNROLLED_STEPS


class Budget(Protocol):
    """Copies that may be spent."""

    max_copies: float


def unrolls(estimator: Estimator, rn: RandomNode, summed: Collection[str] = ()) -> bool:
    """Whether the loops of a program are unrolled for the sake of a node's estimator; those of `summed` sum theirs."""
    if rn.site.scan is not None:
        kept = estimator.in_loops or (estimator.enters == "summed" and broken_chain(rn, summed) is None)
        return not kept and (rn.needs_gradient or estimator.enters == "summed")
    return not estimator.before_loops and rn.enters_loops and rn.needs_gradient


def refusal(estimator: Estimator, rn: RandomNode, used: Budget) -> str | None:
    """Why an estimator has no place in a loop over time, or None."""
    if not unrolls(estimator, rn):
        return None
    steps, most = rn.graph.all_steps, used.max_copies
    if rn.site.scan is not None and estimator.enters == "summed":
        if steps > UNROLLED_STEPS:
            return f"{broken_chain(rn, ())}, and its {steps} steps, more than {UNROLLED_STEPS}, are not written out"
    elif rn.site.scan is not None and 1 + estimator.all_sides(rn) > most:
        return (
            f"in a loop of {rn.steps} steps it takes {estimator.all_sides(rn)} branches, over max_copies={most:g}; "
            "ScoreFunction takes none, nor do paths and relaxations"
        )
    if steps > UNROLLED_STEPS:
        return f"the loop would be unrolled for it, and {steps} steps are more than {UNROLLED_STEPS}"
    return None


def unrolled(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> bool:
    """Whether a plan needs the program without loops."""
    summed = [name for name, estimator in plan.items() if estimator.enters == "summed"]
    return any(unrolls(estimator, graph[name], summed) for name, estimator in plan.items())


def chained(estimator: Estimator, rn: RandomNode) -> bool:
    """Whether a node of a loop is summed out step by step."""
    return rn.site.scan is not None and estimator.enters == "summed" and broken_chain(rn, ()) is None


def states(estimator: Estimator, rn: RandomNode) -> float:
    """Joint states that a node is summed over: in a chain those of two steps in turn, else those of all steps."""
    return estimator.states(rn.alone) ** 2 if chained(estimator, rn) else estimator.all_states(rn)


def places(rn: RandomNode) -> tuple[str, ...]:
    """The loops that a node stands in, for the column of plates."""
    return () if rn.site.scan is None else tuple(f"{s.name} ({s.length} steps)" for s in rn.site.scan.chain)


@contextmanager
def naming_loops() -> Iterator[None]:
    """Errors about a sketch name nodes as the model does, without numbers of steps."""
    try:
        yield
    except PplError as error:
        if base_name(str(error)) == str(error):
            raise
        raise type(error)(base_name(str(error))).with_traceback(error.__traceback__) from None
