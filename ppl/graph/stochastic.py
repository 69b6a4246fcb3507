"""The stochastic computation graph of a trace, and the questions that estimators and the plan ask of it.

Nodes of the networkx graph are parameters, inputs, deterministic, random, observed and cost nodes; an edge says that
one is computed directly from the other. Random nodes are looked at through `RandomNode`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from ppl.graph.ends import End, cost_end
from ppl.graph.moved import by_noise
from ppl.graph.named import named_graph
from ppl.graph.random.node import MIXES, RandomNode
from ppl.graph.random.repeated import RepeatedNode
from ppl.graph.ranges import Ranges, Requirements, requirements
from ppl.graph.smoothness import ENDS
from ppl.graph.terms import Terms
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis, Kind
from ppl.ir.walks.readers import Readers
from ppl.ir.walks.upstream import Upstream
from ppl.lang.time.record import base_name
from ppl.lang.trace import Cost, SiteKind, Trace

if TYPE_CHECKING:
    import networkx as nx

T = TypeVar("T")


class StochasticGraph:
    """The analysed graph of one trace.

    Where a trace has loops over time, `sketch` is the graph of the same model with a few steps of every loop written
    out, each of which stands for any step: that is what analyses read, and a node here has copies there.
    """

    def __init__(self, trace: Trace, sketch: StochasticGraph | None = None):
        self.trace, self.sketch = trace, sketch
        self.outputs: list[Node] = [c.node for c in trace.costs.values()]
        self.outputs += [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
        self.outputs += [s.node for s in trace.sites.values() if s.node is not None]
        self.outputs += [c.step for c in trace.costs.values() if c.step is not None]
        self.order = topological(self.outputs)
        self.samples = [n for n in self.order if n.op == "sample"]
        drawn = [n for n in self.samples if n.attrs["site"].kind is SiteKind.RANDOM]
        made = RandomNode if sketch is None else RepeatedNode
        self.nodes = {n.attrs["site"].name: made(self, n, rank) for rank, n in enumerate(drawn)}
        self.reweighted: set[str] = set()  # nodes whose estimator needs the weights of their samples in a bound
        self.enumerated: frozenset[str] = frozenset()  # those that the plan sums over: no sample, so nothing to relax
        self._found: dict[Hashable, Any] = {}

    def __getitem__(self, name: str) -> RandomNode:
        return self.nodes[name]

    def share_plan(self) -> None:
        """Tell the sketch which nodes the plan sums over, and which need weights."""
        assert self.sketch is not None
        names = self.sketch.nodes
        self.sketch.enumerated = frozenset(n for n in names if base_name(n) in self.enumerated)
        self.sketch.reweighted = {n for n in names if base_name(n) in self.reweighted}

    @cached_property
    def all_steps(self) -> int:
        """Steps of all loops over time, those of inner loops in every step of the outer ones."""
        return sum(math.prod(s.length for s in scan.chain) for scan in self.trace.scans)

    @cached_property
    def ranges(self) -> Ranges:
        """Where values lie, discrete nodes at their true samples."""
        return self.ranges_with(())

    def ranges_with(self, relaxed: Iterable[Node]) -> Ranges:
        """Where values lie while the `sample` nodes `relaxed` are relaxed."""
        soft = frozenset(n for n in relaxed if n.attrs["site"].dist.discrete)
        return self.once(("ranges", soft), lambda: Ranges(self.required, soft))

    @cached_property
    def required(self) -> Requirements:
        """The intervals that distributions require of their parameters."""
        return requirements((*self.trace.sites.values(), *self.trace.scored.values()))

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """The result of `find`, computed once for a key and the nodes that the plan sums over."""
        key = self.enumerated, key
        if key not in self._found:
            self._found[key] = find()
        return self._found[key]

    def ends(self) -> list[tuple[Node, str]]:
        """Where values matter to gradients: costs, and the parameters of random nodes above them, with their labels."""
        found = [(c.node, f"cost '{c.name}'") for c in self.trace.costs.values()]
        above = [n for n in self.nodes.values() if n.costs]
        return [*found, *((a, f"the parameters of '{n.name}'") for n in above for a in n.node.args)]

    @cached_property
    def upstream(self) -> Upstream:
        """Which `sample` nodes lie upstream: paths end at stops, not at random nodes."""
        return Upstream(self.samples, lambda node: node.op == "stop" and node.attrs["tag"] in ENDS)

    @cached_property
    def _cost_bits(self) -> list[tuple[int, Cost]]:
        return [(self.upstream.bits(c.node), c) for c in self.trace.costs.values()]

    @cached_property
    def _node_bits(self) -> list[tuple[int, RandomNode]]:
        return [(self.upstream.bits(n.node), n) for n in self.nodes.values()]

    def downstream_costs(self, sample: Node) -> list[Cost]:
        """Costs to which a path leads from a `sample` node."""
        bit = self.upstream.bit[sample]
        return [cost for bits, cost in self._cost_bits if bits & bit]

    def downstream_nodes(self, sample: Node) -> list[RandomNode]:
        """Random nodes to which a path leads from a `sample` node, itself among them."""
        bit = self.upstream.bit[sample]
        return [node for bits, node in self._node_bits if bits & bit]

    @cached_property
    def readers(self) -> Readers:
        """Which nodes read which."""
        return Readers(self.order)

    @cached_property
    def mixing(self) -> list[Node]:
        """Nodes that make a value of several rows of a plate."""
        return [n for n in self.order if n.op in MIXES]

    @cached_property
    def own_densities(self) -> frozenset[str]:
        """The random nodes whose sampled log-density is part of a cost."""
        return frozenset(n.attrs["name"] for n in self.order if n.op == "own_density")

    @cached_property
    def _ends(self) -> dict[int, list[tuple[int, End]]]:
        """By id, where paths end: costs and parameters of random nodes, with their places among all."""
        found: dict[int, list[tuple[int, End]]] = {}
        ends = [cost_end(c) for c in self.trace.costs.values()]
        ends += [end for node in self.nodes.values() for end in node.parameter_ends()]
        for place, end in enumerate(ends):
            found.setdefault(id(end.node), []).append((place, end))
        return found

    def ends_among(self, ids: Iterable[int]) -> list[End]:
        """The ends of paths whose ids are given, costs first."""
        return [end for _, end in sorted((e for i in ids for e in self._ends.get(i, ())), key=itemgetter(0))]

    @property
    def noisy(self) -> dict[int, str]:
        """Nodes that vary continuously with a continuous random node that is drawn, with its name."""
        return self.once("noisy", lambda: by_noise(self))

    @cached_property
    def terms(self) -> Terms:
        """The terms of costs that depend on nodes both directly and through `ppl.stop_gradient`."""
        return Terms(self.samples, self.trace.costs.values())

    @cached_property
    def depends_on_param(self) -> set[int]:
        """Ids of all nodes with a learnable parameter upstream (random nodes passed through)."""
        found: set[int] = set()
        for node in self.order:
            if node.op == "param" or (
                any(id(a) in found for a in node.args) and not (node.op == "stop" and node.attrs["tag"] == "user")
            ):
                found.add(id(node))
        return found

    @cached_property
    def networkx(self) -> nx.DiGraph:
        """A `DiGraph` whose nodes carry `kind`, `axes` and `shape`; names are those of the model (`graph.named`)."""
        return named_graph(self)


def plate_axes(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """The data plates among `axes`."""
    return tuple(a for a in axes if a.kind is Kind.PLATE)
