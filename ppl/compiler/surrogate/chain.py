"""Summing out the nodes of a loop step by step: the forward algorithm.

The states of a step run along an axis, those of the step before along another one. A carry that depends on a summed
node has a value for each state of the step before. One more carry, the *message*, says how probable these are: their
probabilities, for expectations of costs, or, inside a likelihood, the logarithms of their probabilities together with
all that was observed up to then. Of the latter the largest is taken off in every step, and another carry adds these
up, so that messages keep their digits. The first step has states before it that are all the same.

References: Baum & Petrie 1966; Rabiner 1989. Reverse mode through the loop is the backward algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ppl.compiler.surrogate.enumeration import before
from ppl.compiler.surrogate.recurrence import Recurrence
from ppl.compiler.surrogate.summed.factors import Factor
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.conditions import unexpanded
from ppl.distributions.parts.probabilities import log_total
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind, sort_axes
from ppl.lang.time.record import Scan

if TYPE_CHECKING:
    from ppl.compiler.surrogate.loops import Loops


class Chain:
    """The nodes `names` of a loop, which are summed out; `now` and `then` are the axes of this step's states and of
    those before it.
    """

    def __init__(self, walk: Loops, scan: Scan, names: Sequence[str]):
        self.walk, self.scan, self.names = walk, scan, names
        nodes = [walk.graph[name] for name in names]
        laws = [walk.plan[n.name].law(n.dist) for n in nodes]
        self.now = [Axis(f"enum:{n.name}", Kind.ENUM, len(law.support_table()), n.rank)
                    for n, law in zip(nodes, laws, strict=True)]  # fmt: skip
        self.then = [before(axis) for axis in self.now]
        self.marginal = walk.plan[names[0]].within_cost
        terms = walk.graph.terms
        later = terms.later(scan, sum(terms.bit[name] for name in names))
        self.moves = [bool(terms.carry_bit(c) & later) for c in scan.carries]
        self.held, self.starts = self._held([np.asarray(law.support_table()) for law in laws])

    def _held(self, tables: Sequence[np.ndarray]) -> tuple[dict[int, Node], list[int | None]]:
        """Carries that are a node's state itself, by number, and the state that each node starts from, if any.

        They are constants, so that what a step makes of them (a table of transitions) is computed once for all steps.
        """
        found: dict[int, tuple[int, int]] = {}
        for i, (init, out) in enumerate(zip(self.scan.inits, self.scan.outs, strict=True)):
            node, start = unexpanded(out), constant_value(init)
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
        held = {i: ops.distribute(ops.const(tables[j]), self.then[j])
                for i, (j, _) in found.items() if starts[j] is not None}  # fmt: skip
        return held, starts

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
            values = walk.reducer.meet(values)
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
        weight, log_density = walk.reducer.meet([weight, log_density])
        missing = [axis for axis in (*self.now, *self.then) if axis not in log_density.type.axes]
        weight, log_density = (ops.expand(x, (*x.type.axes, *missing)) for x in (weight, log_density))
        return log_total(weight, log_density, self.then)

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
        return self.walk.reducer.fold(value, kept, stopped=not terms.reach(traced).direct & bits)

    def total(self, recurrence: Recurrence) -> Node:
        """Minus the logarithm of the probability of all that was observed."""
        count = len(self.scan.carries)
        last, taken = recurrence.final(count), recurrence.final(count + 1)
        return ops.neg(ops.add(taken, log_total(ops.const(1.0), last, self.then)))
