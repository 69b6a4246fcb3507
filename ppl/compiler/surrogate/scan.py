"""Loops over time in an expansion: loop ops of open graphs, the forward algorithm, and carries that gain axes.

`Recurrence` makes a loop op of a body that is computed from step inputs and from anything outside. `ForwardAlgorithm`
sums the nodes of a loop out step by step (Baum & Petrie 1966; Rabiner 1989); reverse mode through the loop is the
backward algorithm. `ScanExpansion` is the part of an expansion that enters a loop when it meets its first step
input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from ppl.compiler.surrogate.elimination import EnumeratedStates, Factor, StateQuery, previous_step_axis, state_tilt
from ppl.compiler.surrogate.expectations import CostReducer
from ppl.distributions.constraints import constant_value, without_expand
from ppl.distributions.formulas import log_weighted_sum
from ppl.estimators.base import Estimator
from ppl.graph.elimination import data_arguments_of
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.ir import ops
from ppl.ir.loop import Body, Remat, make_loop, placeholder
from ppl.ir.node import Node, make, substitute, topological
from ppl.ir.types import Axis, Kind, Type, sort_axes, union_axes
from ppl.lang.loops import Scan, resolve_alias
from ppl.lang.trace import Cost
from ppl.records import dataclass

INLINED_LEAVES = frozenset(("const", "size", "scale"))
"""Leaves that stay in a body."""


@dataclass(eq=False)
class Recurrence:
    """A loop whose steps go from `carries` to `outs`, starting from `inits`; `slices` maps step inputs to stacks."""

    index: Node
    length: int
    reverse: bool
    remat: Remat
    inits: tuple[Node, ...] = ()
    carries: tuple[Node, ...] = ()
    outs: tuple[Node, ...] = ()
    slices: dict[Node, Node] = field(default_factory=dict)
    constants: dict[Node, Node] = field(default_factory=dict)

    def slice(self, stack: Node) -> Node:
        """The step input that is a slice of `stack`."""
        for known, of in self.slices.items():
            if of is stack:
                return known
        t = stack.type
        new = placeholder(Type(t.axes, t.shape[1:], t.dtype))
        self.slices[new] = stack
        return new

    def final(self, i: int) -> Node:
        """Carry number `i` after the last step."""
        return self._run([])[i]

    def stacked(self, value: Node) -> Node:
        """The values of `value` in all steps; time leads the event."""
        if not self.varying_nodes([value]):
            return ops.expand(ops.reshape(value, (1, *value.type.shape)), (), (self.length, *value.type.shape))
        return self._run([value])[-1]

    def varying_nodes(self, values: Sequence[Node]) -> set[Node]:
        """What `values` are computed from, themselves included, that changes from step to step."""
        seeds = {self.index, *self.carries, *self.slices}
        found: set[Node] = set()
        for node in topological(values):
            if node in seeds or any(a in found for a in node.args):
                found.add(node)
        return found

    def _run(self, ys: Sequence[Node]) -> list[Node]:
        outputs = [*self.outs, *ys]
        inside = self._closed(outputs)
        used = set(topological(inside))
        xs = [p for p in self.slices if p in used]
        consts = {p: outer for outer, p in self.constants.items() if p in used}
        n = len(self.carries)
        body = Body(self.index, (*self.carries, *xs, *consts), tuple(inside[:n]), tuple(inside[n:]), len(xs))
        stacks = [self.slices[p] for p in xs]
        return make_loop(body, self.inits, stacks, list(consts.values()), self.length, self.reverse, self.remat)

    def _closed(self, outputs: Sequence[Node]) -> list[Node]:
        """`outputs` with constants of the loop in place of what no step changes."""
        moving = self.varying_nodes(outputs)
        inline: set[Node] = set()
        outer: dict[Node, None] = {}
        for node in topological(outputs):
            if node in moving:
                outer.update(dict.fromkeys(a for a in node.args if a not in moving and a not in inline))
            elif node.op in INLINED_LEAVES or (node.args and all(a in inline for a in node.args)):
                inline.add(node)
        outer.update(dict.fromkeys(o for o in outputs if o not in moving and o not in inline))
        for node in outer:
            self.constants.setdefault(node, placeholder(node.type))
        mapping: Mapping[Node, Node] = {node: self.constants[node] for node in outer}
        return substitute(outputs, dict(mapping))


def sum_over_later_steps(recurrence: Recurrence, stack: Node, own: Node | None = None) -> Node:
    """For every step, the sum of `stack` over the steps that come after it, plus the step's own entry of `own`."""
    later = Recurrence(placeholder(Type((), (), "int")), recurrence.length, not recurrence.reverse, None)
    x = later.slice(stack)
    start = ops.zeros_like(x.type)
    later.inits, later.carries = (start,), (placeholder(x.type),)
    later.outs = (ops.add(later.carries[0], x),)
    y = later.carries[0]
    if own is not None:
        mine = later.slice(own)
        axes = union_axes(y.type.axes, mine.type.axes)
        y = ops.add(ops.expand(y, axes), ops.expand(mine, axes))
    return later.stacked(y)


class ForwardAlgorithm:
    """The nodes `names` of a loop, which are summed out; `now` and `then` are the axes of this step's states and of
    those before it.
    """

    def __init__(self, walk: ScanExpansion, scan: Scan, names: Sequence[str]):
        self.walk, self.scan, self.names = walk, scan, names
        nodes = [walk.graph[name] for name in names]
        laws = [walk.plan[n.name].law(n.dist) for n in nodes]
        self.now = [Axis(f"enum:{n.name}", Kind.ENUM, len(law.support_table()), n.rank)
                    for n, law in zip(nodes, laws, strict=True)]  # fmt: skip
        self.then = [previous_step_axis(axis) for axis in self.now]
        self.marginal = walk.plan[names[0]].within_cost
        terms = walk.graph.terms
        later = terms.carries_reached(scan, sum(terms.bit[name] for name in names))
        self.moves = [bool(terms.carry_bit(c) & later) for c in scan.carries]
        self.constant_carries, self.starts = self._find_constant_carries(
            [np.asarray(law.support_table()) for law in laws]
        )

    def _find_constant_carries(self, tables: Sequence[np.ndarray]) -> tuple[dict[int, Node], list[int | None]]:
        """Carries that are a node's state itself, by number, and the state that each node starts from, if any.

        They are constants, so that what a step makes of them (a table of transitions) is computed once for all steps.
        """
        found: dict[int, tuple[int, int]] = {}
        for i, (init, out) in enumerate(zip(self.scan.inits, self.scan.outs, strict=True)):
            node, start = without_expand(out), constant_value(init)
            if node.op != "sample" or node.attrs["site"].name not in self.names or start is None:
                continue
            j = self.names.index(node.attrs["site"].name)
            same = [k for k, state in enumerate(tables[j]) if np.all(state == start)]
            if same and node.type.shape == tables[j].shape[1:]:
                found[i] = j, same[0]
        starts: list[int | None] = []
        for j in range(len(tables)):
            states = {k for n, k in found.values() if n == j}
            starts.append(states.pop() if len(states) == 1 else None)
        constant_carries = {i: ops.distribute(ops.const(tables[j]), self.then[j])
                for i, (j, _) in found.items() if starts[j] is not None}  # fmt: skip
        return constant_carries, starts

    def begin(self, inits: Sequence[Node]) -> list[Node]:
        """What the carries start with, the message last."""
        found = [ops.expand(x, (*x.type.axes, *self.then)) if moves else x
                 for x, moves in zip(inits, self.moves, strict=True)]  # fmt: skip
        message = ops.const(0.0 if self.marginal else 1.0)
        for axis, state in zip(self.then, self.starts, strict=True):
            count = axis.size or 1
            first = np.full(count, 1.0 / count) if state is None else np.eye(count)[state]
            with np.errstate(divide="ignore"):
                start = ops.distribute(ops.const(np.log(first) if self.marginal else first), axis)
            message = ops.add(message, start) if self.marginal else ops.mul(message, start)
        return [*found, message, ops.const(0.0)] if self.marginal else [*found, message]

    def step(self, outs: Sequence[Node], carries: Sequence[Node]) -> list[Node]:
        """What the carries become, given those of the step before."""
        message = carries[len(outs)]
        if not self.marginal:
            for axis in self.then:
                self.walk.reducer.weights[axis] = ops.const(1.0)
            self.walk.reducer.weights[self.then[-1]] = message
        carried = [self._later(x) if moves else x for x, moves in zip(outs, self.moves, strict=True)]
        new = self._message(message)
        if not self.marginal:
            return [*carried, self._later(new)]
        top = ops.stop(make("amax", new, axes=sort_axes(a for a in self.now if a in new.type.axes), dims=()), "shift")
        top = ops.where(ops.less(ops.absolute(top), math.inf), top, 0.0)
        return [*carried, self._later(ops.sub(new, top)), ops.add(carries[-1], top)]

    def _later(self, x: Node) -> Node:
        """A value of this step's states, as one of the states before the next step.

        Given this step's states it is the same for all states before, of which one is taken.
        """
        for axis in [a for a in self.then if a in x.type.axes]:
            rest = tuple((0, n, 1) for n in x.type.shape)
            x = ops.reshape(ops.window(ops.collect(x, axis), ((0, 1, 1), *rest)), x.type.shape)
        for now, then in zip(self.now, self.then, strict=True):
            x = ops.distribute(ops.collect(ops.expand(x, (*x.type.axes, now)), now), then)
        return x

    def _message(self, message: Node) -> Node:
        walk, weight = self.walk, ops.const(1.0)
        walk.walk([walk.graph[name].node for name in self.names])  # also those that no carry reads
        if not self.marginal:
            values = [message, *(walk.reducer.weights[axis] for axis in self.now)]
            values = walk.reducer.align_states(values)
            for value in values:
                weight = ops.mul(weight, value)
            return ops.sum_axes(weight, self.then)
        moved, seen = ops.const(0.0), ops.const(0.0)
        for states in (walk.marginal[name] for name in self.names):
            if states.log_prob is not None:
                moved = ops.add(moved, states.log_prob)
            else:
                weight = ops.mul(weight, states.weight)
        for cost in walk.graph.trace.costs.values():
            if cost.scan is self.scan and cost.marginalize and cost.step is not None:
                for term in walk.walk(walk.seen(cost)):
                    seen = ops.add(seen, term)
        seen = ops.add(seen, walk.tilted(self))
        self.table = Factor(ops.add(ops.add(message, moved), seen), weight if weight.type.axes else None)
        if not weight.type.axes and not any(axis in seen.type.axes for axis in self.then):
            return self._product(message, moved, seen)
        log_density = ops.add(ops.add(message, moved), seen)
        weight, log_density = walk.reducer.align_states([weight, log_density])
        missing = [axis for axis in (*self.now, *self.then) if axis not in log_density.type.axes]
        weight, log_density = (ops.expand(x, (*x.type.axes, *missing)) for x in (weight, log_density))
        return log_weighted_sum(weight, log_density, self.then)

    def _product(self, message: Node, moved: Node, seen: Node) -> Node:
        """The message where all moves are possible, and what is seen depends on this step's states alone.

        It is a product with the probabilities of moves, which steps may share. The state before that is the most
        probable reaches all states, so that those whose probability underflows beside it are of no account.
        """
        top = ops.stop(make("amax", message, axes=tuple(self.then), dims=()), "shift")
        top = ops.where(ops.less(ops.absolute(top), math.inf), top, 0.0)
        reached = ops.sum_axes(ops.mul(ops.exp(ops.sub(message, top)), ops.exp(moved)), self.then)
        none = ops.equal(ops.stop(reached), 0.0)
        logarithm = ops.where(none, -math.inf, ops.log(ops.where(none, 1.0, reached)))
        return ops.add(ops.add(logarithm, top), seen)

    def expectation(self, traced: Node, value: Node) -> Node:
        """The expectation of a value over the states of this step and of the one before.

        What depends on them through `stop_gradient` alone does not move with their probabilities.
        """
        if self.marginal:
            return value
        terms = self.walk.graph.terms
        moved = (terms.carry_bit(c) for c, moves in zip(self.scan.carries, self.moves, strict=True) if moves)
        bits = sum(terms.bit[name] for name in self.names) + sum(moved)
        kept = [a for a in value.type.axes if a not in self.now and a not in self.then]
        return self.walk.reducer.expect_over_states(value, kept, stopped=not terms.reach(traced).direct & bits)

    def total(self, recurrence: Recurrence) -> Node:
        """Minus the logarithm of the probability of all that was observed."""
        count = len(self.scan.carries)
        last, taken = recurrence.final(count), recurrence.final(count + 1)
        return ops.neg(ops.add(taken, log_weighted_sum(ops.const(1.0), last, self.then)))


ExpansionMode = Literal["gradient", "value", "sample"]


class ScanExpansion:
    """The part of a walk that deals with loops over time."""

    graph: StochasticGraph
    plan: Mapping[str, Estimator]
    mode: ExpansionMode
    marginal: dict[str, EnumeratedStates]
    reducer: CostReducer
    recurrences: dict[Scan, Recurrence]
    chains: dict[Scan, ForwardAlgorithm]
    env: dict[int, Node]
    everywhere: tuple[Axis, ...]
    sampled: tuple[Axis, ...]

    asked: Mapping[StateQuery, Any] = MappingProxyType({})
    """Nodes whose joint posterior probabilities are asked for; in a chain, what is added to its log-density."""
    given: Mapping[str, Node] = MappingProxyType({})
    """Values of nodes that are summed out elsewhere: their draws, in a loop over time those of all steps."""

    absent: frozenset[str] = frozenset()
    """Data arguments that are not there: what is observed of them does not count."""

    def walk(self, outputs: Sequence[Node]) -> list[Node]:
        """Expand everything that `outputs` are computed from; returns what they become."""
        raise NotImplementedError

    def recurrence(self, scan: Scan) -> Recurrence:
        """What the loop `scan` has become."""
        if scan.outer is not None:
            self.recurrence(scan.outer)
        if scan not in self.recurrences:
            self.recurrences[scan] = Recurrence(placeholder(scan.index.type), scan.length, scan.reverse, scan.remat)
            self._enter(scan, self.recurrences[scan])
        return self.recurrences[scan]

    def chain(self, scan: Scan) -> ForwardAlgorithm | None:
        """The nodes of a loop that are summed out step by step, or None."""
        if self.mode == "sample":
            return None
        sites = [n.attrs["site"] for n in self.graph.samples]
        names = [s.name for s in sites if s.scan is scan and s.name in self.plan]
        names = [name for name in names if self.plan[name].enters == "summed"]
        if names and scan not in self.chains:
            self.chains[scan] = ForwardAlgorithm(self, scan, names)
        return self.chains.get(scan)

    def tilted(self, chain: ForwardAlgorithm) -> Node:
        """Zeros that stand for the states of a chain's nodes in a step, where their probabilities are asked for."""
        total, asked = ops.const(0.0), dict(self.asked)
        for query in asked:
            if set(query) <= set(chain.names):
                plates = [a for name in query for a in self.graph[name].node.type.axes]
                states = [chain.now[chain.names.index(name)] for name in query]
                asked[query] = state_tilt(query, (*plates, *states), (chain.scan.length,))
                total = ops.add(total, self.recurrence(chain.scan).slice(asked[query]))
        self.asked = asked
        return total

    def seen(self, cost: Cost) -> list[Node]:
        """The terms of the log-density that a cost sums over states, those left out that read what is not there."""
        if not self.absent and cost.step is not None:
            return [cost.step]
        return [f for f in cost.factors if self.absent.isdisjoint(data_arguments_of(f))]

    def given_value(self, rn: RandomNode) -> Node:
        """The draw that is given of a node, in a step of its loop."""
        value, scan = self.given[rn.name], rn.site.scan
        return value if scan is None else self.recurrence(scan).slice(value)

    def _stacked(self, node: Node) -> Node:
        """A value of a loop seen from outside; over the states of a chain, its expectation."""
        scan: Scan = node.attrs["scan"].leader
        recurrence, chain = self.recurrence(scan), self.chain(scan)
        value = self.env[id(node.args[0])]
        return recurrence.stacked(value if chain is None else chain.expectation(node.args[0], value))

    def _enter(self, scan: Scan, found: Recurrence) -> None:
        """Find the carries of a loop: they gain all the axes that a step gives them."""
        inits, chain = self.walk(scan.inits), self.chain(scan)
        inits = inits if chain is None else chain.begin(inits)
        while True:
            found.inits, found.carries = tuple(inits), tuple(placeholder(x.type) for x in inits)
            known = set(self.recurrences)
            outs = self.walk(scan.outs)
            outs = outs if chain is None else chain.step(outs, found.carries)
            outs = [ops.expand(o, union_axes(i.type.axes, o.type.axes)) for i, o in zip(inits, outs, strict=True)]
            if all(o.type == i.type for i, o in zip(inits, outs, strict=True)):
                found.outs = tuple(outs)
                return
            for inner in set(self.recurrences) - known:
                del self.recurrences[inner]
            inits = [ops.expand(i, o.type.axes) for i, o in zip(inits, outs, strict=True)]

    def _input(self, node: Node) -> Node:
        """What a step of a loop reads."""
        node = resolve_alias(node)
        if node.op != "step_input":
            return self.walk([node])[0]
        scan: Scan = node.attrs["scan"].leader
        found = self.recurrence(scan)
        if node is scan.index:
            return found.index
        if node in scan.slices:
            return found.slice(self.walk([scan.slices[node]])[0])
        number, chain = scan.carries.index(node), self.chain(scan)
        if chain is None or number not in chain.constant_carries:
            return found.carries[number]
        return ops.expand(ops.cast(chain.constant_carries[number], node.type.dtype), node.type.axes)

    def _inputs(self, rn: RandomNode) -> tuple[Node, ...]:
        """What a learned baseline may see of a node's row, and, in a loop, of its step: all known before the draw."""
        inputs, scan = rn.plate_inputs, rn.site.scan
        if scan is None:
            return inputs
        sliced = set(scan.slices.values())
        found = [*self.recurrence(scan).carries[: len(scan.carries)], *self.walk(list(scan.slices))]
        known = {Kind.REPEATS, Kind.PLATE, Kind.PARTICLES}
        floats = [x for x in found if x.type.dtype == "float" and all(a.kind in known for a in x.type.axes)]
        within = (*rn.node.type.axes, *self.everywhere, *self.sampled)
        return (*(n for n in inputs if n not in sliced), *(x for x in floats if set(x.type.axes) <= set(within)))

    def _final(self, node: Node) -> Node:
        """A carry of a loop after the last step."""
        scan: Scan = node.attrs["scan"]
        return self.recurrence(scan.leader).final(scan.carry_offset + node.attrs["index"])

    def _conditions(self, node: Node, known: list[Node]) -> list[Node]:
        """What is `known` of the arguments of `node`; where it is seen from outside of a loop, of all steps."""
        if node.op not in ("stacked", "final"):
            return known
        return [self._throughout(x, node.attrs["scan"].leader) for x in known]

    def _throughout(self, holds: Node, scan: Scan) -> Node:
        """Whether what may be said of a step holds in all steps, and in all states of a chain."""
        recurrence, chain = self.recurrence(scan), self.chain(scan)
        if not recurrence.varying_nodes([holds]):
            return holds
        fails = ops.cast(ops.logical_not(holds), "float")
        states = [a for a in fails.type.axes if chain is not None and a in (*chain.now, *chain.then)]
        fails = make("amax", recurrence.stacked(fails), axes=tuple(states), dims=(0,))
        return ops.less(fails, 0.5)

    def outside(self, node: Node, scan: Scan | None) -> Node:
        """What a value of a step of `scan` has become, seen from outside of all loops: times lead its event."""
        while scan is not None:
            node, scan = self.recurrence(scan).stacked(node), scan.outer
        return node
