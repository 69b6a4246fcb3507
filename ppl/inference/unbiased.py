"""Check that a gradient is right on average: the mean of many estimates against a reference, in standard errors.

The reference is exact where it can be: every random node is summed over its finite support or integrated on a grid,
as an enumeration axis whose weights carry the derivative. Otherwise it is the mean of a large sample of
leave-one-out score functions, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import shown
from ppl.compiler.surrogate.expansion import Expansion
from ppl.compiler.surrogate.traces import expand_plan_to_steps
from ppl.compiler.surrogate.variants import ProgramVariant, build_gradient
from ppl.distributions.base import Distribution
from ppl.errors import EstimatorError, OptionError
from ppl.estimators import Enumerate, NotNeeded, Pathwise, ScoreFunction
from ppl.estimators.base import Estimator, check_support
from ppl.estimators.exact_sum import ExactSum
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.inference.gradient_samples import GradientSamples
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Axis, Kind
from ppl.lazy import special
from ppl.names import Named
from ppl.records import dataclass
from ppl.runtime.call import BoundCall, Call, bind_call
from ppl.text_table import format_number, render_table

MOST_ENTRIES = 200_000
"""Joint states times rows that an exact reference may take."""

FINEST_GRID, COARSEST_GRID = 2001, 24
"""Grid points per continuous unit, at most and at least."""

GRID_TOLERANCE = 1e-3
"""Largest relative difference between a grid and one of three quarters as many points."""

SCORE_PARTICLES = 8


class ReferenceGradient(NamedTuple):
    """Expected gradient per parameter, its standard error (of a quadrature: its error), and how it was found."""

    grads: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    method: str


@dataclass(frozen=True)
class Quadrature(ExactSum):
    """The node integrated on a grid: sampling path at u = Φ(s), s equidistant, weights φ(s) (trapezoid rule).

    For smooth costs this converges faster than any power. The grid is held fixed and the derivative is that of the
    density, so that jumps need no smoothness; where the support moves, or a cost has the node both directly and
    stopped, the grid moves along the path instead.
    """

    points: int = 64
    moves: bool = False

    def grid(self, units: int) -> tuple[np.ndarray, np.ndarray]:
        """Uniforms (states, units) and their weights (states,)."""
        s = np.linspace(-8.0, 8.0, self.points)
        weight = np.exp(-(s**2) / 2)
        index = np.indices((self.points,) * units).reshape(units, -1).T
        return special.ndtr(s)[index], np.prod((weight / weight.sum())[index], axis=1)


class _GridExpansion(Expansion):
    """An expansion in which nodes may be integrated on a grid."""

    def __init__(self, graph: StochasticGraph, plan: Mapping[str, Estimator], grids: Mapping[str, Quadrature]):
        super().__init__(graph, {**plan, **grids}, "gradient", particles=1)
        self.grids = grids

    def _enumerate(self, rn: RandomNode, dist: Distribution) -> Node:
        if rn.name not in self.grids:
            return super()._enumerate(rn, dist)
        rule = self.grids[rn.name]
        u, weight = rule.grid(math.prod(dist.event_shape))
        axis = Axis(f"enum:{rn.name}", Kind.ENUM, len(u), depth=rn.rank)
        path = dist.draw(ops.distribute(ops.const(u.reshape(-1, *dist.event_shape)), axis))
        weights = ops.distribute(ops.const(weight), axis)
        if not rule.moves:
            path = ops.stop(path)
            log_prob = dist.node_log_prob(path)
            weights = ops.mul(weights, ops.exp(ops.sub(log_prob, ops.stop(log_prob))))
        self.reducer.weights[axis] = weights
        self.enumerated[rn.name] = axis
        return path


def find_reference_gradient(program: Any, call: Call, repeats: int, how: str) -> ReferenceGradient:
    """Return the exact gradient where `how` allows and it is feasible, else one by leave-one-out score functions."""
    bound = bind_call(program, call)
    compiled = bound.compiled
    why = "named"
    if how in ("auto", "exact"):
        try:
            return _exact_reference(bound)
        except EstimatorError as error:
            if how == "exact":
                raise
            why = str(error)
    plan = {
        rn.name: _score_estimator(rn, compiled.plan.choices[rn.name].estimator) for rn in compiled.graph.nodes.values()
    }
    variant = build_gradient(compiled.graph, plan, repeats=True)
    moments = GradientSamples(
        program, replace(call, particles=SCORE_PARTICLES), variant=variant, dtype=np.float64
    ).moments(repeats)
    found = {name: moments.gradient(f"grad {name}") for name in moments.parameters}
    method = f"{repeats} × {SCORE_PARTICLES} score functions (leave-one-out); no exact reference: {why}"
    return ReferenceGradient(
        {k: g.mean for k, g in found.items()}, {k: g.standard_error for k, g in found.items()}, method
    )


def _score_estimator(rn: RandomNode, chosen: Estimator) -> Estimator:
    if chosen.imposed:
        return chosen
    for estimator in (ScoreFunction("leave_one_out"), Pathwise()):
        if check_support(estimator, rn).ok:
            return estimator
    raise EstimatorError(f"no reference for node '{rn.name}': neither a score function nor a pathwise gradient applies")


def _exact_reference(bound: BoundCall) -> ReferenceGradient:
    compiled = bound.compiled
    graph = StochasticGraph(compiled.flat.trace)
    chosen = expand_plan_to_steps(graph, compiled.plan.estimators)
    fixed = [math.prod(a.size or 1 for a in rn.node.type.axes) for rn in graph.nodes.values()]
    rows = math.prod(bound.data.rows.values()) * max(fixed, default=1)
    summed, integrated = _split_nodes(graph, chosen)
    states = math.prod(rn.joint_support() for rn in summed)
    if states * rows > MOST_ENTRIES:
        raise EstimatorError(f"{states:.3g} joint states in {rows} rows are too many to sum over")
    units = sum(math.prod(rn.dist.event_shape) for rn in integrated)
    points = int(min(FINEST_GRID, (MOST_ENTRIES / (rows * states)) ** (1 / units))) if units else 0
    if units and points < COARSEST_GRID:
        raise EstimatorError(f"{units} continuous units are too many to integrate on a grid")
    marginalized = {n: e for n, e in chosen.items() if e.within_cost}

    def evaluated(points: int) -> dict[str, np.ndarray]:
        plan: dict[str, Estimator] = {name: NotNeeded() for name in graph.nodes}
        plan |= {rn.name: Enumerate(budget=MOST_ENTRIES) for rn in summed}
        grids = {rn.name: Quadrature(points=points, moves=_grid_moves(rn)) for rn in integrated}
        expanded = _GridExpansion(graph, {**plan, **marginalized}, grids).run()
        nodes = gradient(expanded.surrogate, list(expanded.wrt.values()))
        env = bound.environment(ProgramVariant(hypers=expanded.hypers), sizes={"particles": 1}, dtype=np.float64)
        return dict(zip(expanded.wrt, evaluate(simplify(erase_markers(nodes)), env), strict=True))

    fine = evaluated(points)
    if not units:
        return ReferenceGradient(
            fine, {k: np.zeros_like(g) for k, g in fine.items()}, f"exact: {states:.0f} joint states"
        )
    coarse = evaluated(3 * points // 4)
    errors = {k: abs(fine[k] - coarse[k]) for k in fine}
    norm = math.sqrt(sum(float((g**2).sum()) for g in fine.values()))
    worst = max((float(e.max(initial=0)) for e in errors.values()), default=0.0)
    if not worst <= GRID_TOLERANCE * norm:
        raise EstimatorError(f"the grid of {points} points per unit has not converged")
    over = f", {states:.0f} joint states" if summed else ""
    return ReferenceGradient(fine, errors, f"quadrature: {points} points per continuous unit{over}")


def _split_nodes(graph: StochasticGraph, plan: dict[str, Estimator]) -> tuple[list[RandomNode], list[RandomNode]]:
    """Return the nodes with a cost downstream: those to sum over, and those to integrate."""
    summed, integrated = [], []
    for rn in graph.nodes.values():
        if not rn.costs or plan[rn.name].within_cost:
            continue
        if rn.dist.support_size() < float("inf"):
            summed.append(rn)
        elif rn.dist.discrete or not rn.dist.reparameterized or rn.dist.uniforms() != (rn.dist.event_shape,):
            raise EstimatorError(f"node '{rn.name}' ({type(rn.dist).__name__}) can be neither summed nor integrated")
        elif rn.coupled_plates:
            raise EstimatorError(f"the rows of node '{rn.name}' are coupled")
        elif _grid_moves(rn) and not check_support(Pathwise(), rn).ok:
            raise EstimatorError(f"node '{rn.name}' must move along its path, which is not smooth")
        else:
            integrated.append(rn)
    return summed, integrated


def _grid_moves(rn: RandomNode) -> bool:
    """Return whether the grid moves: with the support, and where only a path leaves a stopped value as it is."""
    return bool(rn.moving_support()) or rn.tangled is not None


ROUNDING_TOLERANCE = {"float32": 2e-5, "float64": 1e-9}
"""Difference that rounding may make, relative to the gradient's norm."""

REFERENCE_SEED_OFFSET = 0x9E3779B9
"""Added to the seed for the reference's own sample."""


@dataclass(frozen=True)
class UnbiasednessReport:
    """Mean gradient against a reference: prints as a table.

    Attributes
    ----------
    mean, standard_error : parameter name to the mean estimate and its standard error.
    reference, reference_error : the same of the reference (the error is 0 where it was enumerated).
    bias : mean − reference, per parameter; of an unbiased estimator it is noise.
    deviation : |bias| in standard errors of both together, rounding allowed for.
    biased : nodes whose estimator is declared biased.
    method : how the reference was found.
    width : deviation that counts as agreement.
    """

    mean: dict[str, np.ndarray]
    standard_error: dict[str, np.ndarray]
    reference: dict[str, np.ndarray]
    reference_error: dict[str, np.ndarray]
    biased: tuple[str, ...]
    method: str
    repeats: int
    rounding: float
    width: float = 5.0

    @property
    def bias(self) -> dict[str, np.ndarray]:
        """Mean − reference."""
        return Named("parameter", {k: self.mean[k] - self.reference[k] for k in self.mean})

    @property
    def norm(self) -> float:
        """Norm of the reference gradient."""
        return float(np.sqrt(sum((g**2).sum() for g in self.reference.values())))

    @property
    def deviation(self) -> dict[str, np.ndarray]:
        """|bias| in standard errors."""
        floor = self.rounding * self.norm + 1e-30
        both = {k: self.standard_error[k] ** 2 + self.reference_error[k] ** 2 + floor**2 for k in self.mean}
        return Named("parameter", {k: abs(b) / np.sqrt(both[k]) for k, b in self.bias.items()})

    @property
    def power(self) -> float:
        """Largest standard error relative to the norm of the gradient: smaller biases cannot be seen."""
        largest = max((float(e.max(initial=0)) for e in self.standard_error.values()), default=0.0)
        return largest / self.norm if self.norm else float("inf")

    @property
    def ok(self) -> bool:
        """Whether every entry agrees within `width` standard errors."""
        return all(bool(np.all(d <= self.width)) for d in self.deviation.values())

    def __str__(self) -> str:
        rows = []
        for name, d in self.deviation.items():
            at = np.unravel_index(int(np.argmax(d)), d.shape) if d.size else ()
            values = (self.mean[name], self.reference[name], self.bias[name], self.standard_error[name])
            entry = name if not d.shape else f"{name}[{', '.join(str(i) for i in at)}]"
            rows.append((entry, *(format_number(float(v[at])) for v in values), f"{float(d[at]):.2f}"))
        columns = ("largest deviation", "mean", "reference", "bias", "standard error", "deviation")
        verdict = "agrees" if self.ok else "DEVIATES"
        notes = [f"{verdict}: within {self.width:g} standard errors? {'yes' if self.ok else 'no'}; {self.repeats} "
                 f"repeats; biases under {self.power:.2g} of the gradient's norm cannot be seen"]  # fmt: skip
        notes.append(f"reference: {self.method}")
        if self.biased:
            notes.append(f"declared biased: {', '.join(self.biased)}")
        return render_table(columns, rows, notes)

    __repr__ = __str__


def check_unbiased(
    program: Any, call: Call, repeats: int, reference: str, width: float, backend: str
) -> UnbiasednessReport:
    """Check that a gradient is right on average: see `Program.check_unbiased`."""
    if reference not in ("auto", "exact", "score"):
        raise OptionError(f'reference must be "auto", "exact" or "score", not {shown(reference)}')
    source = GradientSamples(program, call, backend)
    moments = source.moments(repeats)
    found = {name: moments.gradient(f"grad {name}") for name in moments.parameters}
    against: ReferenceGradient = find_reference_gradient(
        program, replace(call, seed=(source.bound.seed + REFERENCE_SEED_OFFSET) % 2**64), 2 * repeats, reference
    )
    choices = source.compiled.plan.choices
    return UnbiasednessReport(
        Named("parameter", {k: g.mean for k, g in found.items()}),
        Named("parameter", {k: g.standard_error for k, g in found.items()}),
        Named("parameter", against.grads),
        Named("parameter", against.errors),
        tuple(name for name, c in choices.items() if c.biased),
        against.method,
        repeats,
        ROUNDING_TOLERANCE[program.settings.dtype],
        width,
    )
