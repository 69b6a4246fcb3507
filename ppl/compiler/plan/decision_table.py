"""Choose a gradient estimator for every random node, and keep the reason of the choice and of every rejection.

The automatic choice goes down one documented table (`TABLE`), unbiased estimators first. Pins (`sample(estimator=)`)
come before the `estimators` argument of `ppl.compile`, and that before the table."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from ppl.arguments import mapping, shown
from ppl.compiler.plan import feasibility
from ppl.compiler.plan.closed_form_variance import (
    VarianceForm,
    antithetic_pair_variance,
    class_pair_variance,
    combined_variance,
    count_units,
    curvature_variance,
    leave_one_out_variance,
    measure_valued_variance,
    moving_average_variance,
    optimal_baseline_variance,
    pathwise_variance,
    rebar_variance,
    zero_variance,
)
from ppl.compiler.plan.feasibility import require_table_budget
from ppl.compiler.plan.plan import Candidate, Choice, Plan
from ppl.errors import EstimatorError
from ppl.estimators import (
    ARM,
    Analytic,
    BonnetPrice,
    CategoricalDisARM,
    Combine,
    DisARM,
    DoublyReparameterized,
    Enumerate,
    Implicit,
    MeasureValued,
    NotNeeded,
    Pathwise,
    Rebar,
    Relax,
    Relaxed,
    ScoreFunction,
    StickingTheLanding,
    StraightThrough,
    SumComponents,
    Vimco,
)
from ppl.estimators.base import Estimator, check_support
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.names import Named
from ppl.records import dataclass

EstimatorRequest = str | Estimator | Mapping[str, Estimator]


def require_estimators(requested: EstimatorRequest) -> None:
    """Raise unless `requested` is what `estimators=` may be."""
    if isinstance(requested, Mapping):
        for pattern, estimator in mapping("estimators", requested, "estimators", EstimatorError).items():
            _require_estimator(estimator, f"estimators[{pattern!r}]")
    elif not (isinstance(requested, Estimator) or (isinstance(requested, str) and requested == "auto")):
        raise EstimatorError(
            f'estimators must be "auto", an Estimator or a dict of node-name globs, not {shown(requested)}'
        )


def named_estimators(graph: StochasticGraph, requested: EstimatorRequest) -> dict[str, Estimator]:
    """Return the estimators that users have named, by node."""
    named: dict[str, Estimator] = {}
    require_estimators(requested)
    if isinstance(requested, Mapping):
        for pattern, estimator in requested.items():
            for name in matching_nodes(graph, pattern, "estimators"):
                named.setdefault(name, estimator)
    elif isinstance(requested, Estimator):
        named = {rn.name: requested for rn in graph.nodes.values() if rn.needs_gradient}
    for rn in graph.nodes.values():
        if rn.site.estimator is not None:
            _require_estimator(rn.site.estimator, f"sample({rn.name!r}, estimator=…)")
            named[rn.name] = rn.site.estimator
    return named


def graph_with_named(graph: StochasticGraph, named: Mapping[str, Estimator]) -> StochasticGraph:
    """Return the graph in which nodes are known not to be drawn, or to be reweighted, by the estimators named."""
    return graph.with_named(
        frozenset(name for name, estimator in named.items() if not estimator.sampled),
        frozenset(name for name, estimator in named.items() if estimator.reweights),
    )


def matching_nodes(graph: StochasticGraph, pattern: str, what: str) -> list[str]:
    """Return the random nodes of a name, or else that a glob matches; an EstimatorError where there are none."""
    hits = [pattern] if pattern in graph.nodes else fnmatch.filter(graph.nodes, pattern)
    if not hits:
        raise EstimatorError(f"{what}: {pattern!r} matches no random node; nodes: {', '.join(graph.nodes)}")
    return hits


def _require_estimator(value: Any, where: str) -> None:
    if not isinstance(value, Estimator):
        raise EstimatorError(f"{where} is {shown(value)}, not an estimator instance such as ppl.estimators.Rebar()")


Situation = Literal["no path", "rough path", "smooth path", "measured", "exact"]
"""Where `particles="auto"` tries other estimators than the table's: where the table follows no path, follows one to a
cost that moves over much or little of the node's noise, where variances are measured, and before all others."""


@dataclass(frozen=True)
class DecisionRow:
    """One line of the decision table: a candidate, the wish that ranks it, and the variance to expect of it, in words
    and, where there is one, in closed form.

    `tried` maps the situations in which `particles="auto"` tries it to its place among the estimators tried there. A
    row that is not `listed` is an option of a listed estimator: tried and measured, but never taken by rank.
    """

    estimator: Estimator
    because: str
    variance: str
    noise: VarianceForm | None = None
    tried: Mapping[Situation, int] = field(default_factory=dict)
    listed: bool = True


LEAVE_ONE_OUT, MOVING_AVERAGE = ScoreFunction("leave_one_out"), ScoreFunction("moving_average")

TABLE: tuple[DecisionRow, ...] = (
    DecisionRow(Enumerate(), "exact, no variance from this node", "none", zero_variance),
    DecisionRow(
        SumComponents(),
        "the component summed exactly, pathwise inside",
        "the cost's slope in a component",
        pathwise_variance,
    ),
    DecisionRow(Pathwise(), "low variance through the cost's slope", "the cost's slope", pathwise_variance),
    DecisionRow(
        DisARM(),
        "an antithetic pair of samples",
        "differences in a pair",
        antithetic_pair_variance,
        {"no path": 1, "measured": 1},
    ),
    DecisionRow(
        Vimco(), "the other importance samples as baseline", "one weight's share", pathwise_variance, {"measured": 15}
    ),
    DecisionRow(
        LEAVE_ONE_OUT,
        "the other particles as baseline",
        "the cost's spread",
        leave_one_out_variance,
        {"no path": 2, "rough path": 2, "measured": 2},
    ),
    DecisionRow(
        Rebar(),
        "the relaxed cost as control variate",
        "what relaxing changes",
        rebar_variance,
        {"no path": 3, "measured": 3},
    ),
    DecisionRow(
        CategoricalDisARM(),
        "an antithetic pair of samples, class by class",
        "differences in a pair",
        class_pair_variance,
        {"no path": 4, "measured": 4},
    ),
    DecisionRow(
        MOVING_AVERAGE,
        "needs only the log-density",
        "the cost's spread",
        moving_average_variance,
        {"no path": 5, "rough path": 4, "measured": 5},
    ),
    # Admissible only where a row above is: never taken here, and listed as candidates to be named.
    DecisionRow(
        Analytic(), "exact for costs up to degree 2, no variance from this node", "none", zero_variance, {"exact": 1}
    ),
    DecisionRow(
        StickingTheLanding(),
        "pathwise, without the score of its own density",
        "none at the posterior",
        pathwise_variance,
        {"measured": 13},
    ),
    DecisionRow(
        DoublyReparameterized(),
        "pathwise, with the bound's weights squared",
        "none at the posterior",
        tried={"measured": 14},
    ),
    DecisionRow(Implicit(), "pathwise through the cdf", "the cost's slope", pathwise_variance),
    DecisionRow(
        BonnetPrice(),
        "the cost's slope and curvature",
        "slope and curvature",
        curvature_variance,
        {"smooth path": 1, "measured": 9},
    ),
    DecisionRow(
        ScoreFunction("optimal"),
        "the others, weighed by their scores, as baseline",
        "the cost's spread",
        optimal_baseline_variance,
        {"no path": 7, "rough path": 3, "measured": 7},
    ),
    DecisionRow(Relax(), "a trained network as control variate", "what it cannot fit"),
    DecisionRow(
        MeasureValued(),
        "a pair of samples for every unit and parameter",
        "differences in pairs",
        measure_valued_variance,
        {"no path": 6, "measured": 6},
    ),
    DecisionRow(ARM(), "the reference that DisARM improves on", "DisARM's and more", antithetic_pair_variance),
    DecisionRow(
        Enumerate(categories=2),
        "the likely categories summed, one of the others drawn",
        "the rest's spread",
        tried={"measured": 11},
    ),
    DecisionRow(Enumerate(units=2), "the least certain units summed", "the rest's spread"),
    DecisionRow(
        Combine(Pathwise(), MOVING_AVERAGE),
        "two estimators on one sample",
        "less than either's",
        combined_variance,
        {"rough path": 1, "measured": 8},
    ),
    DecisionRow(Combine(DisARM(), LEAVE_ONE_OUT), "two estimators on one sample", "less than either's"),
    DecisionRow(Relaxed(), "relaxed sample (biased)", "the relaxed slope"),
    DecisionRow(StraightThrough(), "straight-through (biased)", "the cost's slope"),
    DecisionRow(ScoreFunction(), "needs no baseline", "the cost's size", listed=False),
    DecisionRow(
        Enumerate(units=2, baseline="leave_one_out"),
        "the least certain units summed, the other particles as baseline",
        "the rest's spread",
        tried={"measured": 10},
        listed=False,
    ),
    DecisionRow(
        Combine(Enumerate(categories=2), LEAVE_ONE_OUT),
        "two estimators on one sample",
        "less than either's",
        tried={"measured": 12},
        listed=False,
    ),
    DecisionRow(Combine(Pathwise(), LEAVE_ONE_OUT), "two estimators on one sample", "less than either's", listed=False),
)


def estimators_tried(situation: Situation) -> tuple[Estimator, ...]:
    """Return the estimators of the table that are tried in a situation, in order."""
    rows = [row for row in TABLE if situation in row.tried]
    return tuple(row.estimator for row in sorted(rows, key=lambda row: row.tried[situation]))


def choose_estimators(
    graph: StochasticGraph,
    requested: EstimatorRequest = "auto",
    allow_bias: bool = False,
    particles: int = 1,
    max_copies: int = 4,
    first: Mapping[str, Estimator] | None = None,
) -> Plan:
    """Choose an estimator for every random node of `graph`; `first` are those that come first, by node.

    Raises
    ------
    EstimatorError
        If a named estimator does not support its node, a glob matches nothing, or nothing admissible exists.
    """
    named = named_estimators(graph, requested)
    graph = graph_with_named(graph, named)
    used = _EvaluationBudget(max_copies)
    choices: dict[str, Choice] = {}
    for rn in graph.nodes.values():
        if rn.name in named:
            choices[rn.name] = _choose_named(rn, named[rn.name], particles, used)
            used.add(rn, choices[rn.name].estimator)
    for rn in graph.nodes.values():
        if rn.name not in choices:
            preferred = (first or {}).get(rn.name)
            choices[rn.name] = _choose_from_table(rn, allow_bias, particles, max_copies, used, preferred)
            used.add(rn, choices[rn.name].estimator)
    ordered = {name: choices[name] for name in graph.nodes}
    require_table_budget(graph, {name: choice.estimator for name, choice in ordered.items()})
    return Plan(Named("node", ordered), used.total(), particles)


def expected_variance(graph: StochasticGraph, plan: Mapping[str, Estimator], particles: int) -> float:
    """Return the sum of the variances to expect of the nodes' gradients; the unit is that of `plan.expected`."""
    noise = {row.estimator: row.noise for row in TABLE if row.noise is not None}
    drawn = [graph[name] for name, estimator in plan.items() if estimator.sampled]
    total = 0.0
    for rn in drawn:
        if rn.needs_gradient:
            estimator = plan[rn.name]
            form = noise.get(estimator) or (
                leave_one_out_variance if estimator.validate(1) is not None else moving_average_variance
            )
            units = count_units(rn, drawn)
            total += units.own * form(units, particles)
    return total


MOST_COUNTED_STATES = 1e15
"""Joint states from which on their number is not shown exactly."""


class _EvaluationBudget:
    """Copies spent so far: the branch axis adds up, enumerations multiply."""

    def __init__(self, max_copies: float) -> None:
        self.max_copies = max_copies
        self.sides = 0
        self.states = 1.0

    def add(self, rn: RandomNode, estimator: Estimator) -> None:
        if not estimator.within_cost:
            self.states *= feasibility.joint_states(estimator, rn)
        self.sides += estimator.side_count_over_loop(rn)

    def total_with(self, rn: RandomNode, estimator: Estimator) -> float:
        return (
            self.states
            * feasibility.joint_states(estimator, rn)
            * (1 + self.sides + estimator.side_count_over_loop(rn))
        )

    def total(self) -> int:
        return int(min(self.states, MOST_COUNTED_STATES) * (1 + self.sides))


def _count_copies(rn: RandomNode, estimator: Estimator) -> int:
    return int(min(feasibility.joint_states(estimator, rn), MOST_COUNTED_STATES)) * (
        1 + estimator.side_count_over_loop(rn)
    )


def _record_choice(rn: RandomNode, estimator: Estimator, reason: str, candidates: Sequence[Candidate] = ()) -> Choice:
    plates = tuple(a.name for a in rn.node.type.axes) + feasibility.loop_labels(rn)
    costs = tuple(c.name for c in rn.costs)
    rejected = tuple((c.estimator.label, c.verdict) for c in candidates if not c.taken)
    kind = type(rn.dist).__name__
    return Choice(
        rn.name, kind, plates, estimator, reason, rejected, costs, _count_copies(rn, estimator), tuple(candidates)
    )


def _choose_named(rn: RandomNode, estimator: Estimator, particles: int, used: _EvaluationBudget) -> Choice:
    support = check_support(estimator, rn)
    complaint = (
        support.reason
        if not support.ok
        else estimator.validate(particles) or feasibility.why_not_in_loop(estimator, rn, used.max_copies)
    )
    if complaint:
        raise EstimatorError(f"{estimator.label} cannot be used for node '{rn.name}' ({rn.site.where}): {complaint}")
    choice = _record_choice(rn, estimator, f"named by the user; {support.reason}")
    if not rn.needs_gradient or estimator.imposed:
        return choice
    others = [c for c in _assess_candidates(rn, True, particles, float("inf"), used) if c.estimator != estimator]
    variance = next((row.variance for row in TABLE if type(row.estimator) is type(estimator)), "")
    taken = Candidate(estimator, choice.copies, variance, choice.reason, taken=True)
    return replace(choice, candidates=(taken, *others))


def _choose_from_table(
    rn: RandomNode, allow_bias: bool, particles: int, max_copies: int, used: _EvaluationBudget, first: Estimator | None
) -> Choice:
    if not rn.needs_gradient:
        estimator = NotNeeded()
        return _record_choice(rn, estimator, check_support(estimator, rn).reason)
    candidates = _assess_candidates(rn, allow_bias, particles, max_copies, used, first)
    best = next((c for c in candidates if c.admissible), None)
    if best is None:
        listed = "".join(f"\n  {c.estimator.label}: {c.verdict}" for c in candidates)
        raise EstimatorError(f"no admissible estimator for node '{rn.name}' ({rn.site.where}):{listed}")
    after = f"ranked after {best.estimator.label}"
    ranked = [c if not c.admissible else replace(c, taken=c is best, verdict=c.verdict if c is best else after)
              for c in candidates]  # fmt: skip
    return _record_choice(rn, best.estimator, best.verdict, ranked)


def _assess_candidates(
    rn: RandomNode,
    allow_bias: bool,
    particles: int,
    max_copies: float,
    used: _EvaluationBudget,
    first: Estimator | None = None,
) -> list[Candidate]:
    """Return every listed row of the table with what it would cost this node, and why it cannot be or what speaks for
    it.

    `first` comes before all rows, and need not be one of them.
    """
    found = []
    preferred = [row for row in TABLE if row.estimator == first]
    if first is not None and not preferred:
        preferred = [DecisionRow(first, "no row of the table", "measured")]
    for row in (*preferred, *(row for row in TABLE if row.listed and row.estimator != first)):
        reason = _why_inadmissible(row.estimator, rn, allow_bias, particles, max_copies, used)
        supported = check_support(row.estimator, rn)
        copies = _count_copies(rn, row.estimator) if supported.ok else 0
        weighed = ("the least expected variance × time",) if row.estimator == first else ()
        because = "; ".join(dict.fromkeys((row.because, *weighed, supported.reason)))
        found.append(Candidate(row.estimator, copies, row.variance, reason or because, reason is None))
    return found


def _why_inadmissible(
    estimator: Estimator, rn: RandomNode, allow_bias: bool, particles: int, max_copies: float, used: _EvaluationBudget
) -> str | None:
    support = check_support(estimator, rn)
    if not support.ok:
        return support.reason
    complaint = estimator.validate(particles)
    if complaint:
        return complaint
    if estimator.own_path and rn.dist.through_cdf:
        return "the path of a mixture runs through its cdf, where no sample may lie: to be named"
    if estimator.biased and not allow_bias:
        return "biased; needs allow_bias=True or to be named"
    spent = used.total_with(rn, estimator)
    unrolled = feasibility.why_not_in_loop(estimator, rn, used.max_copies)
    if unrolled:
        return unrolled
    if (estimator.side_count_over_loop(rn) or estimator.enters == "summed") and spent > max_copies:
        return f"{spent:.4g} copies in all exceed max_copies={max_copies}"
    return None
