"""Loops over time in a walk: what each has become, entered when the first of its step inputs is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from ppl.compiler.surrogate.chain import Chain
from ppl.compiler.surrogate.enumeration import States
from ppl.compiler.surrogate.posterior.tilts import Query, tilt
from ppl.compiler.surrogate.recurrence import Recurrence
from ppl.compiler.surrogate.reductions import Reducer
from ppl.estimators.base import Auxiliary, Estimator
from ppl.graph.random.node import RandomNode
from ppl.graph.stochastic import StochasticGraph
from ppl.graph.summed.scopes import inputs_of
from ppl.ir import ops
from ppl.ir.loop import placeholder
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind, union_axes
from ppl.lang.time.record import Scan, resolved
from ppl.lang.trace import Cost
from ppl.records import dataclass

Mode = Literal["gradient", "value", "sample"]


@dataclass(eq=False)
class AuxVariable:
    """An auxiliary variable in the expanded program: leaf, its value in a step, declaration, its node."""

    leaf: Node
    step: Node
    spec: Auxiliary
    owner: str


class Loops:
    """The part of a walk that deals with loops over time."""

    graph: StochasticGraph
    plan: Mapping[str, Estimator]
    mode: Mode
    marginal: dict[str, States]
    reducer: Reducer
    recurrences: dict[Scan, Recurrence]
    chains: dict[Scan, Chain]
    env: dict[int, Node]
    everywhere: tuple[Axis, ...]
    sampled: tuple[Axis, ...]

    asked: Mapping[Query, Any] = MappingProxyType({})
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

    def chain(self, scan: Scan) -> Chain | None:
        """The nodes of a loop that are summed out step by step, or None."""
        if self.mode == "sample":
            return None
        sites = [n.attrs["site"] for n in self.graph.samples]
        names = [s.name for s in sites if s.scan is scan and s.name in self.plan]
        names = [name for name in names if self.plan[name].enters == "summed"]
        if names and scan not in self.chains:
            self.chains[scan] = Chain(self, scan, names)
        return self.chains.get(scan)

    def tilted(self, chain: Chain) -> Node:
        """Zeros that stand for the states of a chain's nodes in a step, where their probabilities are asked for."""
        total, asked = ops.const(0.0), dict(self.asked)
        for query in asked:
            if set(query) <= set(chain.names):
                plates = [a for name in query for a in self.graph[name].node.type.axes]
                states = [chain.now[chain.names.index(name)] for name in query]
                asked[query] = tilt(query, (*plates, *states), (chain.scan.length,))
                total = ops.add(total, self.recurrence(chain.scan).slice(asked[query]))
        self.asked = asked
        return total

    def seen(self, cost: Cost) -> list[Node]:
        """The terms of the log-density that a cost sums over states, those left out that read what is not there."""
        if not self.absent and cost.step is not None:
            return [cost.step]
        return [f for f in cost.factors if self.absent.isdisjoint(inputs_of(f))]

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
        node = resolved(node)
        if node.op != "step_input":
            return self.walk([node])[0]
        scan: Scan = node.attrs["scan"].leader
        found = self.recurrence(scan)
        if node is scan.index:
            return found.index
        if node in scan.slices:
            return found.slice(self.walk([scan.slices[node]])[0])
        number, chain = scan.carries.index(node), self.chain(scan)
        if chain is None or number not in chain.held:
            return found.carries[number]
        return ops.expand(ops.cast(chain.held[number], node.type.dtype), node.type.axes)

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
        return self.recurrence(scan.leader).final(scan.offset + node.attrs["index"])

    def _conditions(self, node: Node, known: list[Node]) -> list[Node]:
        """What is `known` of the arguments of `node`; where it is seen from outside of a loop, of all steps."""
        if node.op not in ("stacked", "final"):
            return known
        return [self._throughout(x, node.attrs["scan"].leader) for x in known]

    def _throughout(self, holds: Node, scan: Scan) -> Node:
        """Whether what may be said of a step holds in all steps, and in all states of a chain."""
        recurrence, chain = self.recurrence(scan), self.chain(scan)
        if not recurrence.moves([holds]):
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
