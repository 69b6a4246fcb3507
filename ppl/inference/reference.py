"""Reference gradients that the estimators of a plan are checked against.

Exact: every random node is summed over its finite support or integrated on a grid, as an enumeration axis whose
weights carry the derivative. Otherwise: a large sample of leave-one-out score functions, with its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.expansion import Expansion
from ppl.compiler.surrogate.unrolled import step_plan
from ppl.compiler.surrogate.variants import Variant, build_gradient
from ppl.distributions.base import Distribution
from ppl.errors import EstimatorError
from ppl.estimators import Enumerate, NotNeeded, Pathwise, ScoreFunction
from ppl.estimators.base import Estimator
from ppl.estimators.parts.summed import Summed
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.inference.repeats import Repeats
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Axis, Kind
from ppl.lazy import special
from ppl.records import dataclass
from ppl.runtime.call import BoundCall, Call, bind

ENTRIES = 200_000
"""Joint states times rows that an exact reference may take."""
FINEST, COARSEST = 2001, 24
"""Grid points per continuous unit, at most and at least."""
CONVERGED = 1e-3
"""Largest relative difference between a grid and one of three quarters as many points."""
PARTICLES = 8


class Reference(NamedTuple):
    """Expected gradient per parameter, its standard error (of a quadrature: its error), and how it was found."""

    grads: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    method: str


@dataclass(frozen=True)
class Quadrature(Summed):
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


class _Integration(Expansion):
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


def find_reference(program: Any, call: Call, repeats: int, how: str) -> Reference:
    """The exact gradient where `how` allows and it is feasible, else one by leave-one-out score functions."""
    bound = bind(program, call)
    compiled = bound.compiled
    why = "named"
    if how in ("auto", "exact"):
        try:
            return _exact(bound)
        except EstimatorError as error:
            if how == "exact":
                raise
            why = str(error)
    plan = {rn.name: _scored(rn, compiled.plan.choices[rn.name].estimator) for rn in compiled.graph.nodes.values()}
    variant = build_gradient(compiled.graph, plan, repeats=True)
    moments = Repeats(program, replace(call, particles=PARTICLES), variant=variant, dtype=np.float64).moments(repeats)
    found = {name: moments.gradient(f"grad {name}") for name in moments.parameters}
    method = f"{repeats} × {PARTICLES} score functions (leave-one-out); no exact reference: {why}"
    return Reference({k: g.mean for k, g in found.items()}, {k: g.standard_error for k, g in found.items()}, method)


def _scored(rn: RandomNode, chosen: Estimator) -> Estimator:
    if chosen.imposed:
        return chosen
    for estimator in (ScoreFunction("leave_one_out"), Pathwise()):
        if estimator.supports(rn).ok:
            return estimator
    raise EstimatorError(f"no reference for node '{rn.name}': neither a score function nor a pathwise gradient applies")


def _exact(bound: BoundCall) -> Reference:
    compiled = bound.compiled
    graph = StochasticGraph(compiled.flat.trace)
    chosen = step_plan(graph, compiled.plan.estimators)
    fixed = [math.prod(a.size or 1 for a in rn.node.type.axes) for rn in graph.nodes.values()]
    rows = math.prod(bound.data.rows.values()) * max(fixed, default=1)
    summed, integrated = _split(graph, chosen)
    states = math.prod(rn.joint_support() for rn in summed)
    if states * rows > ENTRIES:
        raise EstimatorError(f"{states:.3g} joint states in {rows} rows are too many to sum over")
    units = sum(math.prod(rn.dist.event_shape) for rn in integrated)
    points = int(min(FINEST, (ENTRIES / (rows * states)) ** (1 / units))) if units else 0
    if units and points < COARSEST:
        raise EstimatorError(f"{units} continuous units are too many to integrate on a grid")
    marginalized = {n: e for n, e in chosen.items() if e.within_cost}

    def evaluated(points: int) -> dict[str, np.ndarray]:
        plan: dict[str, Estimator] = {name: NotNeeded() for name in graph.nodes}
        plan |= {rn.name: Enumerate(budget=ENTRIES) for rn in summed}
        grids = {rn.name: Quadrature(points=points, moves=_moves(rn)) for rn in integrated}
        expanded = _Integration(graph, {**plan, **marginalized}, grids).run()
        nodes = gradient(expanded.surrogate, list(expanded.wrt.values()))
        env = bound.environment(Variant(hypers=expanded.hypers), sizes={"particles": 1}, dtype=np.float64)
        return dict(zip(expanded.wrt, evaluate(simplify(erase_markers(nodes)), env), strict=True))

    fine = evaluated(points)
    if not units:
        return Reference(fine, {k: np.zeros_like(g) for k, g in fine.items()}, f"exact: {states:.0f} joint states")
    coarse = evaluated(3 * points // 4)
    errors = {k: abs(fine[k] - coarse[k]) for k in fine}
    norm = math.sqrt(sum(float((g**2).sum()) for g in fine.values()))
    worst = max((float(e.max(initial=0)) for e in errors.values()), default=0.0)
    if not worst <= CONVERGED * norm:
        raise EstimatorError(f"the grid of {points} points per unit has not converged")
    over = f", {states:.0f} joint states" if summed else ""
    return Reference(fine, errors, f"quadrature: {points} points per continuous unit{over}")


def _split(graph: StochasticGraph, plan: dict[str, Estimator]) -> tuple[list[RandomNode], list[RandomNode]]:
    """Nodes with a cost downstream: those to sum over, and those to integrate."""
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
        elif _moves(rn) and not Pathwise().supports(rn).ok:
            raise EstimatorError(f"node '{rn.name}' must move along its path, which is not smooth")
        else:
            integrated.append(rn)
    return summed, integrated


def _moves(rn: RandomNode) -> bool:
    """Whether the grid moves: with the support, and where only a path leaves a stopped value as it is."""
    return bool(rn.moving_support()) or rn.tangled is not None
