"""`ppl.tune`: choose each node's estimator by measuring variance × time instead of by the table.

Nodes are taken one after another, the others at their current choice. For every unbiased candidate that supports the
node, gradients with independent noise give the trace of the variance, in the interpreter, so that nothing has to be
compiled for it; on large data, on some of the rows. Seconds per step are those of compiled steps if compiling all
candidates fits into the budget at the pace of the first, else of the interpreter on all the data, whose
ratios follow the number of operations. Candidates within 10 % (or two standard errors) of the least variance × time
count as equal, and the one that the decision table ranks first is taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ppl.arguments import MANY, checked, integer, noise_seed, number, optional, shown, within
from ppl.compiler.plan.choice import TABLE
from ppl.compiler.plan.measured import Measured
from ppl.compiler.plan.plan import Choice
from ppl.errors import EstimatorError, OptionError
from ppl.estimators import REGISTRY
from ppl.estimators.base import Estimator
from ppl.estimators.score_function import ScoreFunction
from ppl.inference.diagnose import held, state_for, warmed
from ppl.inference.repeats import Moments, Repeats, seconds_per_step, step
from ppl.ir.reference.interpret import evaluate
from ppl.names import keywords
from ppl.runtime.call import BoundCall, Call, bind
from ppl.runtime.compiled import require_state
from ppl.runtime.prepared import require_program
from ppl.runtime.state import State
from ppl.tuning import INTERPRETED_ENTRIES

MAX_COPIES = 64
"""Evaluations of the downstream computation that a candidate may take, to be measured at all."""
PILOT_ENTRIES = 200_000
"""Entries of the largest intermediate value per repeat, above which variance is measured on some of the rows."""
PILOT_ROWS = 64
WARMUP = 200
PRECISE = 0.02
"""Relative standard error of the variance at which a measurement stops early."""
TIE = 0.1

Candidates = Iterable[Estimator] | Mapping[str, Iterable[Estimator]] | None


@keywords
@checked(
    "tune",
    budget_seconds=within(number, low=0, open_low=True),
    seed=optional(noise_seed),
    particles=optional(within(integer, low=1, high=MANY)),
)
def tune(
    program: Any,
    state: State,
    *data: Any,
    budget_seconds: float = 5.0,
    candidates: Candidates = None,
    seed: int | None = None,
    particles: int | None = None,
    total_rows: Any = None,
    rows: Any = None,
    hyper: Any = None,
) -> Any:
    """A new program whose estimators have the least measured variance × seconds, node by node.

    Parameters
    ----------
    program : what to start from; its choices stand for the nodes that are not being measured.
    state : where to measure: variances depend on the parameters.
    budget_seconds : time for measuring in all. Tracing the candidates comes on top, and so does one compilation.
    candidates : estimators to consider, for all nodes or as {node name: estimators}; None means one of each kind in
        the decision table and the registry. Biased ones and those a node does not support are left out, with reasons.
    seed, particles, total_rows, rows, hyper : as for `program.step`.

    Returns
    -------
    Program
        With the measured table in `explain()`; `explain().as_dict()` can be pasted as `estimators=`. Nodes pinned in
        the model (`sample(estimator=)`) keep their estimator.
    """
    require_program("ppl.tune", program)
    require_state(state, "tune: state")
    _check_candidates(candidates)
    call = Call(state, data, None if seed is None else int(seed), particles, rows, total_rows, hyper)
    plan = program.prepare(*data).plan
    graph = program.prepare(*data).graph
    chosen = dict(plan.as_dict())
    nodes = [n for n, c in plan.choices.items() if _tunable(c) and graph[n].site.estimator is None]
    lists = {name: _candidates(candidates, name, plan.choices[name]) for name in nodes}
    total = max(1, sum(not e.biased and e.supports(graph[n]).ok for n, listed in lists.items() for e in listed))
    pilot = _Pilot(call, budget_seconds, total)
    measured: dict[str, tuple[Measured, ...]] = {}
    for name in nodes:
        found = []
        for candidate in lists[name]:
            trial = _program(program, {**chosen, name: candidate}, {}, data)
            found.append(pilot.measure(candidate, trial))
        measured[name] = tuple(found)
        best = _best(found)
        chosen[name] = chosen[name] if best is None else best.estimator
    return _program(program, chosen, measured, data)


def _check_candidates(candidates: Any) -> None:
    """Raise unless there are none, or they are estimators, or lists of them by node."""
    if candidates is None:
        return
    lists = candidates.values() if isinstance(candidates, Mapping) else [candidates]
    for listed in lists:
        if not isinstance(listed, (tuple, list)) or not all(isinstance(e, Estimator) for e in listed):
            raise OptionError(
                "tune: candidates must be a list of estimators, or a dict of node names to such lists, not "
                f"{shown(candidates)}"
            )


def _tunable(choice: Choice) -> bool:
    return not choice.estimator.imposed


def _candidates(asked: Candidates, name: str, choice: Choice) -> list[Estimator]:
    if isinstance(asked, Mapping):
        return list(dict.fromkeys([choice.estimator, *asked.get(name, ())]))
    if asked is not None:
        return list(dict.fromkeys(asked))
    known = [*(row.estimator for row in TABLE), ScoreFunction()]
    kinds = {type(e) for e in known}
    return list(dict.fromkeys([*known, *(e() for e in REGISTRY.values() if e not in kinds), choice.estimator]))


def _program(program: Any, estimators: dict[str, Estimator], measured: Any, data: Sequence[Any]) -> Any:
    """`program` with other estimators, or the reason why there is no such program."""
    try:
        made = type(program)(program.objective, replace(program.settings, estimators=estimators, measured=measured))
        made.prepare(*data)
        return made
    except EstimatorError as error:
        return str(error)


def _best(found: Sequence[Measured]) -> Measured | None:
    """The first candidate that is not clearly worse than the least variance × time."""
    able = [m for m in found if not m.rejected]
    if not able:
        return None
    least = min(able, key=lambda m: (m.cost, m.seconds))
    slack = max(TIE * least.cost, 2 * least.cost_error)
    ties = [m for m in able if m.cost <= slack + least.cost]
    if least.cost == 0:
        ties = [m for m in ties if m.seconds <= (1 + TIE) * least.seconds]
    return ties[0]


@dataclass
class _Pilot:
    """Measures candidates; decides at the first one which clock to use."""

    call: Call
    budget: float
    total: int
    clock: str = ""

    def measure(self, candidate: Estimator, trial: Any) -> Measured:
        """Variance and seconds of the whole program with `candidate` in place."""
        if isinstance(trial, str):
            return Measured(candidate, rejected=trial.partition("): ")[2] or trial)
        if candidate.biased:
            return Measured(candidate, rejected="biased")
        plan = trial.prepare(*self.call.data).plan
        if plan.copies > MAX_COPIES:
            return Measured(candidate, rejected=f"{plan.copies} copies exceed {MAX_COPIES}, too many to try")
        call = replace(self.call, state=state_for(trial, self.call.state, self.call.data))
        share = self.budget / self.total
        if not self.clock:
            began = time.perf_counter()
            step(trial, call)
            self.clock = "compiled" if (time.perf_counter() - began) * self.total <= self.budget else "interpreter"
        if self.clock == "compiled":
            state = warmed(trial, call, WARMUP)
            seconds = seconds_per_step(trial, replace(call, state=state), budget=min(0.2, 0.3 * share))
        else:
            state, seconds = self._interpreted(trial, call, 0.4 * share)
        variance, error, repeats = self._variance(trial, replace(call, state=state), 0.6 * share)
        return Measured(candidate, variance, error, seconds, repeats, self.clock)

    def _variance(self, trial: Any, call: Call, seconds: float) -> tuple[float, float, int]:
        source = Repeats(trial, call, backend="interpreter")
        if source.chunk < INTERPRETED_ENTRIES // PILOT_ENTRIES and source.bound.data.rows:
            source = Repeats(trial, _some_rows(call, source.bound), backend="interpreter")
        source.chunk = max(1, min(1000, source.chunk * PILOT_ENTRIES // INTERPRETED_ENTRIES))
        moments, until = Moments(), time.perf_counter() + seconds
        for chunk in source(100_000):
            moments.add(chunk)
            total = moments.total()
            if moments.count >= 2 and time.perf_counter() > until:
                break
            if moments.count >= 2000 and total.trace_error <= PRECISE * total.trace:
                break
        total = moments.total()
        floor = 1e-12 * float((total.mean**2).sum())  # rounding, where there is no variance at all
        return (total.trace if total.trace > floor else 0.0), total.trace_error, moments.count

    def _interpreted(self, trial: Any, call: Call, budget: float) -> tuple[State, float]:
        """Seconds of one interpreted step, and the state with auxiliaries moved on by the steps taken."""
        bound = bind(trial, call)
        variant = bound.compiled.variant("gradient")
        nodes = [variant.scalars["loss"], *variant.grads.values(), *variant.aux.values()]
        taken: list[float] = []
        moved = call.state
        until = time.perf_counter() + budget
        while len(taken) < 2 or (time.perf_counter() < until and len(taken) < WARMUP):
            env = replace(bound, state=moved).environment(variant, step=len(taken))
            began = time.perf_counter()
            found = evaluate(nodes, env)
            taken.append(time.perf_counter() - began)
            moved = moved.replace(aux=dict(zip(variant.aux, found[len(found) - len(variant.aux) :], strict=True)))
        return held(trial, moved, call.state, call.data), min(taken)


def _some_rows(call: Call, bound: BoundCall) -> Call:
    """The call on the first rows of the data that the outermost plate opens, scaled to all of them."""
    binder = bound.compiled.binder
    first = binder.plates[0].name
    opened = {i.name for i in binder.inputs if i.plate is not None and i.plate.name == first}
    data = [x[:PILOT_ROWS] if k in opened else x for k, x in zip(binder.arguments, call.data, strict=True)]
    total = bound.data.rows[first] if call.total_rows is None else call.total_rows
    return replace(call, data=data, rows=None, total_rows=total)
