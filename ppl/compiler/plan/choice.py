"""Selection: which gradient estimator each random node gets, and why.

The automatic choice goes down one documented table (`TABLE`), unbiased estimators first, and keeps the reason of the
choice and of every rejection. Pins (`sample(estimator=)`) come before the `estimators` argument, that before the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ppl.compiler.plan import expected, loops
from ppl.compiler.plan.expected import Noise, units_of
from ppl.compiler.plan.loops import naming_loops
from ppl.compiler.plan.plan import Candidate, Choice, Plan
from ppl.compiler.plan.requested import Requested, named_estimators
from ppl.compiler.plan.tables import require_tables
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
from ppl.estimators.base import Estimator
from ppl.graph.lost_paths import require_no_lost_path
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.names import Named
from ppl.records import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the decision table: a candidate, the wish that ranks it, and the variance to expect of it, in words
    and, where there is one, in closed form.
    """

    estimator: Estimator
    because: str
    variance: str
    noise: Noise | None = None


AVERAGE = ScoreFunction(baseline="moving_average")

TABLE: tuple[Row, ...] = (
    Row(Enumerate(), "exact, no variance from this node", "none", expected.none),
    Row(
        SumComponents(),
        "the component summed exactly, pathwise inside",
        "the cost's slope in a component",
        expected.path,
    ),
    Row(Pathwise(), "low variance through the cost's slope", "the cost's slope", expected.path),
    Row(DisARM(), "an antithetic pair of samples", "differences in a pair", expected.pair),
    Row(Vimco(), "the other importance samples as baseline", "one weight's share", expected.path),
    Row(
        ScoreFunction(baseline="leave_one_out"), "the other particles as baseline", "the cost's spread", expected.others
    ),
    Row(Rebar(), "the relaxed cost as control variate", "what relaxing changes", expected.relaxed),
    Row(
        CategoricalDisARM(),
        "an antithetic pair of samples, class by class",
        "differences in a pair",
        expected.class_pair,
    ),
    Row(AVERAGE, "needs only the log-density", "the cost's spread", expected.constant),
    # Admissible only where a row above is: never taken here, and listed as candidates to be named.
    Row(Analytic(), "exact for costs up to degree 2, no variance from this node", "none", expected.none),
    Row(StickingTheLanding(), "pathwise, without the score of its own density", "none at the posterior", expected.path),
    Row(DoublyReparameterized(), "pathwise, with the bound's weights squared", "none at the posterior"),
    Row(Implicit(), "pathwise through the cdf", "the cost's slope", expected.path),
    Row(BonnetPrice(), "the cost's slope and curvature", "slope and curvature", expected.curvature),
    Row(
        ScoreFunction("optimal"),
        "the others, weighed by their scores, as baseline",
        "the cost's spread",
        expected.weighted,
    ),
    Row(Relax(), "a trained network as control variate", "what it cannot fit"),
    Row(MeasureValued(), "a pair of samples for every unit and parameter", "differences in pairs", expected.difference),
    Row(ARM(), "the reference that DisARM improves on", "DisARM's and more", expected.pair),
    Row(Enumerate(categories=2), "the likely categories summed, one of the others drawn", "the rest's spread"),
    Row(Enumerate(units=2), "the least certain units summed", "the rest's spread"),
    Row(
        Combine(Pathwise(), ScoreFunction("moving_average")),
        "two estimators on one sample",
        "less than either's",
        expected.path_and_score,
    ),
    Row(Combine(DisARM(), ScoreFunction("leave_one_out")), "two estimators on one sample", "less than either's"),
    Row(Relaxed(), "relaxed sample (biased)", "the relaxed slope"),
    Row(StraightThrough(), "straight-through (biased)", "the cost's slope"),
)


def make_plan(
    graph: StochasticGraph,
    requested: Requested = "auto",
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
    with naming_loops():
        require_no_lost_path(graph.sketch or graph)
    named = named_estimators(graph, requested)
    graph.enumerated = frozenset(name for name, estimator in named.items() if not estimator.sampled)
    graph.reweighted = {name for name, estimator in named.items() if estimator.reweights}
    if graph.sketch is not None:
        graph.share_plan()
    used = _Budget(max_copies)
    choices: dict[str, Choice] = {}
    for rn in graph.nodes.values():
        if rn.name in named:
            choices[rn.name] = _check_named(rn, named[rn.name], particles, used)
            used.add(rn, choices[rn.name].estimator)
    for rn in graph.nodes.values():
        if rn.name not in choices:
            ahead = (first or {}).get(rn.name)
            choices[rn.name] = _choose(rn, allow_bias, particles, max_copies, used, ahead)
            used.add(rn, choices[rn.name].estimator)
    ordered = {name: choices[name] for name in graph.nodes}
    require_tables(graph, {name: choice.estimator for name, choice in ordered.items()})
    return Plan(Named("node", ordered), used.total(), particles)


def expected_variance(graph: StochasticGraph, plan: Mapping[str, Estimator], particles: int) -> float:
    """The sum of the variances to expect of the nodes' gradients; the unit is that of `plan.expected`."""
    noise = {row.estimator: row.noise for row in TABLE if row.noise is not None}
    drawn = [graph[name] for name, estimator in plan.items() if estimator.sampled]
    total = 0.0
    for rn in drawn:
        if rn.needs_gradient:
            estimator = plan[rn.name]
            form = noise.get(estimator) or (expected.others if estimator.validate(1) is not None else expected.constant)
            units = units_of(rn, drawn)
            total += units.own * form(units, particles)
    return total


MOST = 1e15
"""Joint states from which on their number is not shown exactly."""


class _Budget:
    """Copies spent so far: the branch axis adds up, enumerations multiply."""

    def __init__(self, max_copies: float) -> None:
        self.max_copies = max_copies
        self.sides = 0
        self.states = 1.0

    def add(self, rn: RandomNode, estimator: Estimator) -> None:
        if not estimator.within_cost:
            self.states *= loops.states(estimator, rn)
        self.sides += estimator.all_sides(rn)

    def with_(self, rn: RandomNode, estimator: Estimator) -> float:
        return self.states * loops.states(estimator, rn) * (1 + self.sides + estimator.all_sides(rn))

    def total(self) -> int:
        return int(min(self.states, MOST) * (1 + self.sides))


def _copies(rn: RandomNode, estimator: Estimator) -> int:
    return int(min(loops.states(estimator, rn), MOST)) * (1 + estimator.all_sides(rn))


def _choice(rn: RandomNode, estimator: Estimator, reason: str, candidates: Sequence[Candidate] = ()) -> Choice:
    plates = tuple(a.name for a in rn.node.type.axes) + loops.places(rn)
    costs = tuple(c.name for c in rn.costs)
    rejected = tuple((c.estimator.label, c.verdict) for c in candidates if not c.taken)
    kind = type(rn.dist).__name__
    return Choice(rn.name, kind, plates, estimator, reason, rejected, costs, _copies(rn, estimator), tuple(candidates))


def _check_named(rn: RandomNode, estimator: Estimator, particles: int, used: _Budget) -> Choice:
    support = estimator.supports(rn)
    complaint = (
        support.reason if not support.ok else estimator.validate(particles) or loops.refusal(estimator, rn, used)
    )
    if complaint:
        raise EstimatorError(f"{estimator.label} cannot be used for node '{rn.name}' ({rn.site.where}): {complaint}")
    choice = _choice(rn, estimator, f"named by the user; {support.reason}")
    if not rn.needs_gradient or estimator.imposed:
        return choice
    others = [c for c in _candidates(rn, True, particles, float("inf"), used) if c.estimator != estimator]
    variance = next((row.variance for row in TABLE if type(row.estimator) is type(estimator)), "")
    taken = Candidate(estimator, choice.copies, variance, choice.reason, taken=True)
    return replace(choice, candidates=(taken, *others))


def _choose(
    rn: RandomNode, allow_bias: bool, particles: int, max_copies: int, used: _Budget, first: Estimator | None
) -> Choice:
    if not rn.needs_gradient:
        estimator = NotNeeded()
        return _choice(rn, estimator, estimator.supports(rn).reason)
    candidates = _candidates(rn, allow_bias, particles, max_copies, used, first)
    best = next((c for c in candidates if c.admissible), None)
    if best is None:
        listed = "".join(f"\n  {c.estimator.label}: {c.verdict}" for c in candidates)
        raise EstimatorError(f"no admissible estimator for node '{rn.name}' ({rn.site.where}):{listed}")
    after = f"ranked after {best.estimator.label}"
    ranked = [c if not c.admissible else replace(c, taken=c is best, verdict=c.verdict if c is best else after)
              for c in candidates]  # fmt: skip
    return _choice(rn, best.estimator, best.verdict, ranked)


def _candidates(
    rn: RandomNode,
    allow_bias: bool,
    particles: int,
    max_copies: float,
    used: _Budget,
    first: Estimator | None = None,
) -> list[Candidate]:
    """Every row of the table with what it would cost this node, and why it cannot be or what speaks for it.

    `first` comes before all rows, and need not be one of them.
    """
    found = []
    ahead = [row for row in TABLE if row.estimator == first]
    if first is not None and not ahead:
        ahead = [Row(first, "no row of the table", "measured")]
    for row in (*ahead, *(row for row in TABLE if row.estimator != first)):
        reason = _refusal(row.estimator, rn, allow_bias, particles, max_copies, used)
        supported = row.estimator.supports(rn)
        copies = _copies(rn, row.estimator) if supported.ok else 0
        weighed = ("the least expected variance × time",) if row.estimator == first else ()
        because = "; ".join(dict.fromkeys((row.because, *weighed, supported.reason)))
        found.append(Candidate(row.estimator, copies, row.variance, reason or because, reason is None))
    return found


def _refusal(
    estimator: Estimator, rn: RandomNode, allow_bias: bool, particles: int, max_copies: float, used: _Budget
) -> str | None:
    support = estimator.supports(rn)
    if not support.ok:
        return support.reason
    complaint = estimator.validate(particles)
    if complaint:
        return complaint
    if estimator.own_path and rn.dist.through_cdf:
        return "the path of a mixture runs through its cdf, where no sample may lie: to be named"
    if estimator.biased and not allow_bias:
        return "biased; needs allow_bias=True or to be named"
    spent = used.with_(rn, estimator)
    unrolled = loops.refusal(estimator, rn, used)
    if unrolled:
        return unrolled
    if (estimator.all_sides(rn) or estimator.enters == "summed") and spent > max_copies:
        return f"{spent:.4g} copies in all exceed max_copies={max_copies}"
    return None
