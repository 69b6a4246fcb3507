"""The walk of an expansion: every node of the traced graph on arguments that may have gained axes.

Plain ops are rebuilt (particles, enumerations and the branch axis may be new); random nodes become the branches of
their estimator. `expansion` assembles the costs and the score terms.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ppl.compiler.surrogate.chain import Chain
from ppl.compiler.surrogate.enumeration import States, drawable, states_of
from ppl.compiler.surrogate.loops import AuxVariable, Loops, Mode
from ppl.compiler.surrogate.moments import Averaged
from ppl.compiler.surrogate.posterior.redrawn import Redraw, replaced
from ppl.compiler.surrogate.recurrence import Recurrence
from ppl.compiler.surrogate.reductions import Reducer
from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.conditions import Edge
from ppl.estimators.base import CONDITIONAL, Auxiliary, Branches, Estimator, Hyper, NodeContext, Option
from ppl.estimators.parts.not_needed import NotNeeded
from ppl.estimators.pathwise import Pathwise
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.op_facts import JUMP
from ppl.ir.types import PARTICLES, REPEATS, TRUNK, Axis, Copy, Kind, branch_axis, sort_axes, union_axes
from ppl.lang.time.record import Scan, base_name
from ppl.lang.trace import Bound, Site, SiteKind


class Walk(Loops):
    """One expansion of `graph` under `plan` (site name → estimator).

    `particles` fixes the number of particles (one particle needs no axis); None leaves it to run time. What `redraw`
    names of observations are draws, here and in all that is computed from them: entries that a mask drops, or all.
    """

    def __init__(
        self,
        graph: StochasticGraph,
        plan: Mapping[str, Estimator],
        mode: Mode,
        repeats: bool = False,
        particles: int | None = None,
        redraw: Redraw = "",
    ):
        self.graph, self.plan, self.mode = graph, plan, mode
        self.everywhere: tuple[Axis, ...] = (REPEATS,) if repeats else ()
        self.particles = replace(PARTICLES, size=particles)
        self.sampled: tuple[Axis, ...] = () if particles == 1 else (self.particles,)
        self.reducer = Reducer()
        self.env: dict[int, Node] = {}
        self.drawn: dict[int, Node] = {}
        self.leaves_support = mode == "gradient" and any(e.leaves_support for e in plan.values())
        self.branches: dict[str, Branches] = {}
        self.own: dict[str, tuple[Node, ...]] = {}
        self.aux: dict[str, AuxVariable] = {}
        self.hypers: dict[str, float] = dict(graph.trace.hypers)
        self.wrt: dict[str, Node] = {}
        self.marginal: dict[str, States] = {}
        self.enumerated: dict[str, Axis] = {}
        self.importance: dict[str, Node] = {}
        self.averaged: list[Averaged] = []
        self.redraw, self.redrawn = redraw, replaced(graph.trace, redraw)
        self.edges: dict[tuple[str, str], tuple[RandomNode, Edge]] = {}
        self.crossings: dict[str, tuple[RandomNode, Node]] = {}
        self.recurrences: dict[Scan, Recurrence] = {}
        self.chains: dict[Scan, Chain] = {}

    def _walk(self) -> None:
        reweighted = [n for n, e in self.plan.items() if e.reweights]
        if self.mode == "gradient" and reweighted:
            self.importance = self._importance(reweighted)
        self.walk(self.graph.outputs if self.mode != "gradient" else [*self.graph.outputs, *self.graph.terms.split])

    def walk(self, outputs: Sequence[Node]) -> list[Node]:
        """Expand everything that `outputs` are computed from; returns what they become."""
        for node in topological(outputs):
            made = self.env[id(node)] = self._visit(node)
            assert set(node.type.axes) <= set(made.type.axes), f"{node.op} lost a plate"
            if self.reducer.possible or self.leaves_support:
                self._note_draws(node)
        return [self.env[id(node)] for node in outputs]

    def _note_draws(self, node: Node) -> None:
        """Remember where `node` comes from a discrete draw whose parameters are no numbers: it is one all the same.

        Only states that nothing reaches have such parameters and a finite loss.
        """
        known = self._conditions(node, [self.drawn[id(a)] for a in node.args if id(a) in self.drawn])
        if node.op == "sample" and node.attrs["site"].dist.discrete:
            named = zip(node.attrs["site"].dist.params, node.args, strict=True)
            found = ((name, self.env[id(a)]) for name, a in named)
            known += [drawable(name, x) for name, x in found if self.reducer.doubtful(x)]
        if known:
            self.drawn[id(node)] = functools.reduce(ops.logical_and, dict.fromkeys(known))

    def _meant(self, node: Node, value: Node) -> Node:
        """`value`, what `node` became, but NaN where it comes from draws that mean nothing."""
        return ops.where(self.drawn[id(node)], value, math.nan) if id(node) in self.drawn else value

    def _importance(self, names: list[str]) -> dict[str, Node]:
        """Normalised weights of the bounds downstream of `names`, from a walk of its own on the same noise.

        Its values are those of this walk, so that no code is emitted for them twice.
        """
        plan = {n: Pathwise() if e.reweights else e for n, e in self.plan.items()}
        first = Walk(self.graph, plan, self.mode, bool(self.everywhere), self.particles.size)
        first._walk()
        found = {}
        for name in names:
            for cost in self.graph[name].costs:
                if cost.bound is not None:
                    log_weights, axis = first._bound(cost.bound)
                    weights = ops.softmax(ops.collect(ops.stop(log_weights), axis))
                    found[name] = ops.distribute(ops.stop(weights), axis)
        return found

    def _bound(self, bound: Bound) -> tuple[Node, Axis]:
        return ops.pick(self.env[id(bound.log_weights)]), bound.axis

    def _visit(self, node: Node) -> Node:
        if id(node) in self.redrawn:
            return self.walk([self.redrawn[id(node)]])[0]
        if node.op == "sample":
            site = node.attrs["site"]
            drawn = self._redraw(node, site) if site.kind is SiteKind.OBSERVED else self._sample(self.graph[site.name])
            return ops.expand(drawn, node.type.axes)
        if node.op == "own_density":
            return self._own_density(node)
        if node.op == "param":
            leaf = ops.expand(node, self.everywhere)
            self.wrt[node.attrs["name"]] = leaf
            return leaf
        if node.op == "rowkey":
            axes = (*node.attrs["axes"], *self.sampled, *self.everywhere)
            return ops.row_key(node.attrs["name"], axes, [self.env[id(t)] for t in node.args])
        if node.op == "step_input":
            return self._input(node)
        if not node.args:
            return node
        if node.op in ("stacked", "final"):
            return self._stacked(node) if node.op == "stacked" else self._final(node)
        args = [self.env[id(a)] for a in node.args]
        if node.op == "expand":
            return ops.expand(args[0], node.attrs["axes"], node.type.shape)
        args = self.reducer.meet(args)
        attrs = {**node.attrs, "axes": args[0].type.axes} if node.op == "external" else node.attrs
        return make(node.op, *args, **attrs)

    # --- random nodes ------------------------------------------------------------------------------------------------

    def _sample(self, rn: RandomNode) -> Node:
        if rn.name in self.given:
            return self.given_value(rn)
        params = [self.env[id(a)] for a in rn.node.args]
        params = self.reducer.meet(params) if self.reducer.possible else params
        axes = union_axes(*(p.type.axes for p in params))
        dist = rn.dist.with_params(tuple(ops.expand(p, [a for a in axes if a.kind is Kind.BRANCH]) for p in params))
        dist.event_mask = None  # a mask drops units from costs, but all of them are drawn, so all of them score
        estimator = self.plan.get(rn.name, NotNeeded())
        if self.mode != "sample" and estimator.enters == "summed":
            return self._enumerate(rn, dist)
        plates = sort_axes((*rn.node.type.axes, *self.everywhere))
        if self.mode != "sample" and estimator.enters == "averaged":
            self.averaged.append(Averaged.make(rn, dist, plates))
            return self.averaged[-1].mean
        uniforms = self._uniforms(rn.site, plates, dist.uniforms(), 0)
        if self.mode != "gradient":
            return dist.draw(*uniforms)
        return self._branch(rn, dist, estimator, plates, uniforms)

    def _redraw(self, node: Node, site: Site) -> Node:
        """A draw of an observed node."""
        assert site.dist is not None
        dist = site.dist.with_params(tuple(self.env[id(a)] for a in node.args))
        return dist.draw(*self._uniforms(site, sort_axes((*node.type.axes, *self.everywhere)), dist.uniforms(), 0))

    def _uniforms(
        self, site: Site, plates: tuple[Axis, ...], shapes: tuple[tuple[int, ...] | None, ...], purpose: int
    ) -> tuple[Node, ...]:
        axes, name, times = (*plates, *self.sampled), base_name(site.name), self.walk(site.times)
        return tuple(
            ops.row_key(name, axes, times) if s is KEY else ops.noise(name, purpose + i, axes, s, times)
            for i, s in enumerate(shapes)
        )

    def _branch(
        self,
        rn: RandomNode,
        dist: Distribution,
        estimator: Estimator,
        plates: tuple[Axis, ...],
        uniforms: tuple[Node, ...],
    ) -> Node:
        own = tuple(ops.expand(ops.pick(p), plates) for p in dist.params.values())
        self.own[rn.name] = own
        ctx = NodeContext(
            rn.name,
            dist.with_params(own),
            uniforms,
            fresh=lambda shapes: self._uniforms(rn.site, plates, shapes, CONDITIONAL),
            aux=lambda key, spec: self._aux(rn.name, key, spec),
            option=self._option,
            particles=self.particles,
            learnable=rn.learnable,
            inputs=self._inputs(rn),
            relaxes=lambda: rn.soft_order()[0] > JUMP,
            importance=self.importance.get(rn.name),
        )
        made = estimator.expand(ctx)
        if estimator.own_path and rn.dist.through_cdf:
            names, spread = ctx.dist.crossing()
            if spread is not None and names & set(rn.learnable):
                self.crossings[rn.name] = rn, spread
        if estimator.drawn_only:
            self.edges |= {(rn.name, e.name): (rn, e) for e in ctx.dist.edges() if e.name in rn.learnable}
        inherited = [c for p in dist.params.values() if p.type.branch for c in p.type.branch.copies if c != TRUNK]
        if not made.sides and not inherited:
            value = made.trunk
        elif not made.sides and made.trunk is ctx.draw():
            value = dist.draw(*uniforms)
        else:
            value = self._assemble(rn, dist, estimator, made, inherited, uniforms)
        self.branches[rn.name] = made
        return value

    def _assemble(
        self,
        rn: RandomNode,
        dist: Distribution,
        estimator: Estimator,
        made: Branches,
        inherited: list[Copy],
        uniforms: tuple[Node, ...],
    ) -> Node:
        pieces: dict[Copy, Node] = {TRUNK: made.trunk}
        for copy in dict.fromkeys(inherited):
            at = dist.with_params(tuple(ops.pick(p, copy) for p in dist.params.values()))
            pieces[copy] = self._follow(at, copy, uniforms)
        for i, side in enumerate(made.sides, 1):
            value = side.value if side.weight is None else ops.scale_grad(side.value, side.weight)
            pieces[Copy(rn.rank, rn.name, i, side.live, side.soft)] = value
        return ops.assemble(pieces, branch_axis(tuple(pieces)))

    def _follow(self, dist: Distribution, copy: Copy, uniforms: tuple[Node, ...]) -> Node:
        """Rule 4: a node's value in an earlier node's side branch, on the trunk's noise; relaxed where that is soft."""
        if copy.soft and dist.discrete:
            temperature = self.branches[copy.node].temperature
            assert temperature is not None
            return dist.relax(temperature, *uniforms)
        return dist.draw(*uniforms)

    def _aux(self, site: str, key: str, spec: Auxiliary) -> Node:
        name = f"{site}/{key}"
        scan = self.graph[site].site.scan
        scans = scan.chain if spec.per_step and scan is not None else ()
        leaf = value = make("aux", name=name, shape=(*(s.length for s in scans), *spec.shape))
        for each in scans:
            value = self.recurrence(each).slice(value)
        self.aux[name] = AuxVariable(leaf, value, spec, site)
        return value

    def _option(self, option: Option) -> Node:
        if isinstance(option, Hyper):
            self.hypers.setdefault(option.name, option.default)
            return make("hyper", name=option.name)
        return ops.const(float(option))

    def _enumerate(self, rn: RandomNode, dist: Distribution) -> Node:
        rule = self.plan[rn.name]
        states = states_of(rule.law(dist), rn)
        if states.log_prob is None and rn.site.scan is None:
            self.reducer.possible[states.axis] = ops.less(0.0, ops.stop(states.weight))
        if rule.within_cost:
            self.marginal[rn.name] = states
        else:
            self.reducer.weights[states.axis] = states.weight
            self.enumerated[rn.name] = states.axis
        plates = sort_axes((*rn.node.type.axes, *self.everywhere))
        return rule.value(dist, states.value, self._uniforms(rn.site, plates, dist.uniforms(), 0))

    def _own_density(self, node: Node) -> Node:
        rn = self.graph[node.attrs["name"]]
        if self.mode != "gradient" or rn.name not in self.plan or not self.plan[rn.name].stops_density:
            return self.env[id(node.args[0])]
        dist = rn.dist.with_params(tuple(ops.stop(self.env[id(a)]) for a in rn.node.args))
        return ops.expand(dist.node_log_prob(self.env[id(rn.node)]), node.type.axes)
