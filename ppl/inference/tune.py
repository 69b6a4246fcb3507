"""`ppl.tune`: choose estimators and particles by measuring variance × time instead of by the table.

1. Node by node, the others at their current choice, all candidates race (`tuning.race`).
2. Nodes that share a cost are tried together: each pair among the best three of both.
3. What a step takes is a price so far, read off the schedule: an interpreted step of a small graph takes what calls of
   NumPy take. The best number of particles of each of the best estimators is compiled, steps of its training loop are
   timed, and gradients of compiled steps raced (`tuning.finals`); then those that may be the best by prices that these
   times correct. Variances follow the laws of `tuning.laws` where only particles differ.
4. The least variance × seconds is taken, variances one standard error up; of those within 3 % of it the program's own
   choice, else the first in the decision table. Of exact ones the fastest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ppl.arguments import checked, flag, noise_seed, number, one_of, optional, shown, within
from ppl.compiler.plan.requested import nodes_like
from ppl.errors import OptionError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.inference.tuning.bench import Bench
from ppl.inference.tuning.candidates import candidates_of
from ppl.names import keywords
from ppl.runtime.call import Call
from ppl.runtime.compiled import require_state
from ppl.runtime.prepared import require_program
from ppl.runtime.state import State

Candidates = Iterable[Estimator] | Mapping[str, Iterable[Estimator]] | None


@keywords
@checked(
    "tune",
    budget_seconds=optional(within(number, low=0, open_low=True)),
    seed=optional(noise_seed),
    allow_bias=optional(flag),
    clock=one_of("compiled", "interpreter"),
)
def tune(
    program: Any,
    state: State,
    *data: Any,
    budget_seconds: float | None = None,
    candidates: Candidates = None,
    seed: int | None = None,
    particles: int | Sequence[int] | None = None,
    total_rows: Any = None,
    rows: Any = None,
    hyper: Any = None,
    allow_bias: bool | None = None,
    clock: str = "compiled",
) -> Any:
    """A new program with the estimators and the number of particles of the least measured variance × seconds.

    Parameters
    ----------
    program : what to start from; its choices stand for the nodes that are not being measured.
    state : where to measure: variances depend on the parameters.
    budget_seconds : time for measuring; None means 5 seconds or the time of 50 steps, whichever is more. Compiling
        comes on top; `explain()` reports both. Every candidate is measured a little, even when time is up.
    candidates : estimators to consider: for all nodes, or as {node-name glob: estimators}, which are tried beside the
        nodes' own (of nodes that no glob matches, only that). None means one of each kind in the decision table and
        the registry. Those a node does not support are left out, with reasons.
    particles : a number of particles, or numbers to try; None means 1, 2, 4, 8, 16 and the program's own.
    seed, total_rows, rows, hyper : as for `program.step`. At equal times, equal seeds give equal choices.
    allow_bias : whether biased estimators compete, by their mean squared error × seconds, whose bias is measured
        against the reference of `program.check_unbiased`. None means as in `ppl.compile`.
    clock : "compiled": the last few choices are compiled and timed. "interpreter": nothing is compiled; ratios of
        times follow the number of operations.

    Returns
    -------
    Program
        With the measured tables in `explain()`; `ppl.compile(objective, **explain().as_options())` makes it again.
        Nodes pinned in the model (`sample(estimator=)`) keep their estimator.

    Raises
    ------
    EstimatorError
        A node has only biased candidates, and `allow_bias` is false; or a glob of `candidates` matches no node.
    """
    require_program("ppl.tune", program)
    require_state(state, "tune: state")
    _check_candidates(candidates)
    if isinstance(candidates, Mapping):
        candidates = _by_node(program.prepare(*data).graph, candidates)
    call = Call(state, data, None if seed is None else int(seed), None, rows, total_rows, hyper)
    return Bench(
        program,
        call,
        lambda name, own: _candidates(candidates, name, own),
        particles,
        allow_bias,
        budget_seconds,
        clock == "compiled",
    ).run()


def _check_candidates(candidates: Any) -> None:
    """Raise unless there are none, or they are estimators, or lists of them by node."""
    if candidates is None:
        return
    lists = candidates.values() if isinstance(candidates, Mapping) else [candidates]
    for listed in lists:
        if not listed and isinstance(listed, (tuple, list)):
            raise OptionError("tune: candidates: a list of estimators is empty")
        if not isinstance(listed, (tuple, list)) or not all(isinstance(e, Estimator) for e in listed):
            raise OptionError(
                "tune: candidates must be a list of estimators, or a dict of node names to such lists, not "
                f"{shown(candidates)}"
            )


def _by_node(graph: StochasticGraph, asked: Mapping[str, Iterable[Estimator]]) -> dict[str, list[Estimator]]:
    found: dict[str, list[Estimator]] = {}
    for pattern, listed in asked.items():
        for name in nodes_like(graph, pattern, "tune: candidates"):
            found.setdefault(name, list(listed))
    return found


def _candidates(asked: Candidates, name: str, own: Estimator) -> list[Estimator]:
    if isinstance(asked, Mapping):
        return list(dict.fromkeys([own, *asked.get(name, ())]))
    if asked is not None:
        return list(dict.fromkeys(asked))
    return candidates_of(own)
