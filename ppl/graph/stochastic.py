"""The stochastic computation graph of a trace, and the questions that estimators and the plan ask of it.

Random nodes are seen through `RandomNode`: downstream costs, smoothness on the way there, moving supports. Where a
trace has loops over time, a `LoopNode` answers from its copies in a sketch of the loops. `named_graph` shows the graph
to users as a networkx graph of parameters, inputs, deterministic, random, observed and cost nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from copy import copy
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from ppl.distributions.base import Distribution
from ppl.graph.degree import PolynomialDegrees
from ppl.graph.paths import (
    PathEndpoint,
    cost_endpoint,
    depends_on_noise,
    derivative_without_mean,
    source_of_movement,
    worst_order,
)
from ppl.graph.ranges import Ranges, Requirements, required_intervals
from ppl.graph.smoothness import PATH_ENDING_STOPS, PathOrders
from ppl.graph.terms import CostTerms
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import JUMP, SMOOTH
from ppl.ir.traversal import Readers, Upstream
from ppl.ir.types import Axis, Kind
from ppl.lang.loops import base_name
from ppl.lang.trace import Cost, Site, SiteKind, Trace
from ppl.records import dataclass

if TYPE_CHECKING:
    import networkx as nx
else:
    from ppl.lazy import networkx as nx

ROW_MIXING_OPS = ("collect", "sum", "amax")
"""Ops of a traced graph whose result depends on several rows of a plate."""


@dataclass(frozen=True, eq=False)
class RandomNode:
    """One random node, as an estimator sees it. `rank` is its place in the order of computation."""

    graph: StochasticGraph
    node: Node
    rank: int

    @property
    def copies(self) -> tuple[RandomNode, ...]:
        """What stands for the node in a sketch of its loops; nothing where there is no sketch."""
        return ()

    @property
    def in_one_step(self) -> RandomNode:
        """The node in one step."""
        return self.copies[0] if self.copies else self

    @property
    def steps(self) -> int:
        """How often it is drawn in the loops over time that it stands in."""
        return 1 if self.site.scan is None else math.prod(s.length for s in self.site.scan.chain)

    @property
    def enters_loops(self) -> bool:
        """Whether a loop over time reads what it is computed to."""
        return False

    @property
    def site(self) -> Site:
        """The site that declared it."""
        return self.node.attrs["site"]

    @property
    def name(self) -> str:
        """Its name."""
        return self.site.name

    @property
    def dist(self) -> Distribution:
        """Its distribution, with the traced parameters."""
        assert self.site.dist is not None
        return self.site.dist

    @cached_property
    def direct(self) -> PathOrders:
        """Smoothness of everything computed from it before the next random node."""
        ranges = self.graph.ranges_with([self.node]) if self.dist.discrete else self.graph.ranges
        return PathOrders(self.node, self.graph.readers, lambda sample: None, ranges)

    @cached_property
    def degrees(self) -> PolynomialDegrees:
        """Polynomial degrees of everything computed from it, random nodes included."""
        return PolynomialDegrees(self.node, self.graph.readers)

    @cached_property
    def costs(self) -> list[Cost]:
        """Downstream costs."""
        return self.graph.downstream_costs(self.node)

    @cached_property
    def tangled(self) -> str | None:
        """Why no estimator that weighs a whole cost is right: one depends on it directly and stopped in one term."""
        terms = self.graph.terms
        for name, found in terms.of.items() if terms.tangled & terms.bit[self.name] else ():
            if any(term.reach.tangled & terms.bit[self.name] for term in found):
                return (
                    f"cost '{name}' depends on '{self.name}' both directly and through ppl.stop_gradient, and is no "
                    "sum of terms that do one or the other: only a path (Pathwise, Implicit) leaves the stopped value "
                    "as it is"
                )
        return None

    @cached_property
    def children(self) -> list[RandomNode]:
        """Random nodes downstream."""
        return [n for n in self.graph.downstream_nodes(self.node) if n is not self]

    @cached_property
    def plate_inputs(self) -> tuple[Node, ...]:
        """Float data arguments that its plates open: one row of each belongs to a row of the node."""
        plates = set(self.node.type.axes)
        leaves = [n for n in self.graph.order if n.op == "input" and n.type.dtype == "float"]
        return tuple(n for n in leaves if n.type.axes and plates.issuperset(n.type.axes))

    @cached_property
    def needs_gradient(self) -> bool:
        """Whether a learnable parameter lies upstream of its own parameters and a cost downstream."""
        return bool(self.costs) and any(id(a) in self.graph.depends_on_param for a in self.node.args)

    @cached_property
    def coupled_plates(self) -> tuple[Axis, ...]:
        """Plates of the node whose rows one later value mixes (through `collect`, or a sum in an objective).

        Values behind `ppl.stop_gradient` count: they pass no gradient, but vary with all the rows.
        """
        return self.mixed_plates(self.graph.row_mixing_nodes, self.graph.terms.bit[self.name])

    def coupled_for(self, cost: Cost) -> tuple[Axis, ...]:
        """Plates of the node such that every row of `cost` depends on several of their rows."""
        bit = self.graph.terms.bit[self.name]
        return self.mixed_plates(topological([cost.node]), bit) if self.coupled_plates else ()

    def mixed_plates(self, nodes: Iterable[Node], bits: int) -> tuple[Axis, ...]:
        """Its plates whose rows one of `nodes` mixes that depends on what `bits` stand for."""
        mixed: set[Axis] = set()
        reach = self.graph.terms.reach
        for n in nodes:
            if n.op in ROW_MIXING_OPS and (reach(n).direct | reach(n).stopped) & bits:
                mixed.update(n.attrs["axes"] if n.op in ("sum", "amax") else (n.attrs["axis"],))
        return tuple(a for a in self.node.type.axes if a in mixed)

    def path_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost or to the parameters of the next random node, and where it lies."""
        return self.graph.memoized(("path", self.name), self._path_order)

    def _path_order(self) -> tuple[float, str]:
        order, where = worst_order(self.direct, self.graph.endpoints_among(self.direct.of))
        return (
            (order, where)
            if order <= JUMP
            else derivative_without_mean(self.direct, self._endpoints, self.graph) or (order, where)
        )

    def _endpoints(self) -> list[PathEndpoint]:
        """Where paths from it end."""
        ends = [cost_endpoint(c) for c in self.costs]
        for child in self.children:
            ends += child.parameter_endpoints()
        return ends

    def parameter_endpoints(self) -> list[PathEndpoint]:
        """Its arguments, as ends of paths from other nodes."""
        label = f"the parameters of '{self.name}'"
        return [
            PathEndpoint(a, label, PathOrders.takes_angle(self.node, i), self.node, i)
            for i, a in enumerate(self.node.args)
        ]

    def soft_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost when it and every discrete node after it are relaxed.

        A downstream node that can neither be relaxed nor reparameterized counts as a jump, unless the plan sums over
        it: then only its probabilities vary.
        """
        return self.graph.memoized(("soft", self.name), self._soft_order)

    def _soft_order(self) -> tuple[float, str]:
        summed = self.graph.enumerated
        ends = [cost_endpoint(c) for c in self.costs]
        for child in self.children:
            dist = child.dist
            if child.name in summed:
                ends += child.parameter_endpoints()
            elif not (dist.relaxable if dist.discrete else dist.reparameterized):
                kind = type(dist).__name__
                return JUMP, f"'{child.name}' downstream, a {kind} that can be neither relaxed nor reparameterized"
        relaxed = [n.node for n in (self, *self.children) if n.name not in summed]
        ranges = self.graph.ranges_with(relaxed)
        soft = PathOrders(
            self.node, self.graph.readers, lambda n: None if n.attrs["site"].name in summed else SMOOTH, ranges
        )
        order, where = worst_order(soft, ends)
        return (
            (order, where)
            if order <= JUMP
            else derivative_without_mean(soft, lambda: ends, self.graph) or (order, where)
        )

    @cached_property
    def learnable(self) -> tuple[str, ...]:
        """Names of its parameters that have a learnable parameter upstream."""
        named = zip(self.dist.params, self.node.args, strict=True)
        return tuple(k for k, n in named if id(n) in self.graph.depends_on_param)

    def moving_support(self) -> list[str]:
        """Parameters that move the support and have a learnable parameter upstream."""
        return [k for k in self.learnable if k in self.dist.moving]

    def lost_support(self) -> str | None:
        """Why a score misses what moves the support, or None: a derivative may pass to a parameter that does.

        None passes through a discrete node that nothing relaxes: given its value, the support stays.
        """
        named = dict(zip(self.dist.params, self.node.args, strict=True))
        for parameter in self.moving_support():
            mover = source_of_movement(named[parameter], self.dist, self.graph.depends_on_param)
            if mover == "":
                return f"the support moves with the learnable {parameter}, which the score misses"
            if mover is not None:
                return (
                    f"the support moves with {parameter}, which follows the random node '{mover}', and where "
                    "a derivative passes along that node the score misses it"
                )
        return None

    def joint_support(self, law: Distribution | None = None) -> float:
        """Number of joint values (of `law`) over all event entries and rows that a downstream cost couples."""
        rows = 1.0
        for axis in self.coupled_plates:
            rows *= axis.size if axis.size is not None else float("inf")
        try:
            return (self.dist if law is None else law).support_size() ** rows
        except OverflowError:
            return float("inf")


class LoopNode(RandomNode):
    """A random node of a trace with loops over time: what holds for all its copies in the sketch holds for it."""

    @cached_property
    def copies(self) -> tuple[RandomNode, ...]:
        """Its copies in the sketch."""
        assert self.graph.sketch is not None
        return tuple(n for name, n in self.graph.sketch.nodes.items() if base_name(name) == self.name)

    @cached_property
    def enters_loops(self) -> bool:
        """Whether a loop over time reads what it is computed to."""
        reach, bit = self.graph.terms.reach, self.graph.terms.bit[self.name]
        scans = self.graph.trace.scans
        read = [n for scan in scans for n in (*scan.inits, *scan.slices.values(), *scan.outs)]
        steps = [c.step for c in self.graph.trace.costs.values() if c.scan is not None and c.step is not None]
        return any((reach(n).direct | reach(n).stopped) & bit for n in (*read, *steps))

    @cached_property
    def costs(self) -> list[Cost]:
        """Downstream costs."""
        names = {base_name(cost.name) for copy in self.copies for cost in copy.costs}
        return [cost for name, cost in self.graph.trace.costs.items() if name in names]

    @cached_property
    def children(self) -> list[RandomNode]:
        """Random nodes downstream; it is its own child where a later step depends on it."""
        names = {base_name(child.name) for copy in self.copies for child in copy.children}
        return [node for name, node in self.graph.nodes.items() if name in names]

    @cached_property
    def needs_gradient(self) -> bool:
        """Whether a learnable parameter lies upstream of its own parameters and a cost downstream."""
        return any(copy.needs_gradient for copy in self.copies)

    @cached_property
    def coupled_plates(self) -> tuple[Axis, ...]:
        """Plates of the node whose rows one later value mixes."""
        mixed = {axis for copy in self.copies for axis in copy.coupled_plates}
        return tuple(a for a in self.node.type.axes if a in mixed)

    def coupled_for(self, cost: Cost) -> tuple[Axis, ...]:
        """Plates of the node such that every row of `cost` depends on several of their rows."""
        return self.coupled_plates

    @cached_property
    def learnable(self) -> tuple[str, ...]:
        """Names of its parameters that have a learnable parameter upstream."""
        names = {name for copy in self.copies for name in copy.learnable}
        return tuple(name for name in self.dist.params if name in names)

    def path_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost or to the parameters of the next random node, and where it lies."""
        return min((copy.path_order() for copy in self.copies), key=lambda found: found[0])

    def soft_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost when it and every discrete node after it are relaxed."""
        return min((copy.soft_order() for copy in self.copies), key=lambda found: found[0])

    def moving_support(self) -> list[str]:
        """Parameters that move the support and have a learnable parameter upstream."""
        return list(dict.fromkeys(name for copy in self.copies for name in copy.moving_support()))

    def lost_support(self) -> str | None:
        """Why a score misses what moves the support, or None."""
        return next((why for copy in self.copies if (why := copy.lost_support()) is not None), None)


LEAF_KINDS = {"param": "parameter", "input": "input", "hyper": "hyper", "aux": "carried"}


def named_graph(graph: StochasticGraph) -> nx.DiGraph:
    """A `DiGraph` whose nodes carry `kind`, `axes` and `shape`; names are those of the model.

    Where a name is used twice (an input and the observed node it fills), the leaf is called `name (input)`.
    """
    trace = graph.trace
    out = nx.DiGraph()
    named: dict[int, str] = {}
    taken = {s.name for s in trace.sites.values()} | set(trace.costs)
    for node in graph.order:
        if node.op in LEAF_KINDS:
            _add_leaf_node(out, named, taken, node)
    for site in trace.sites.values():
        if site.node is not None and site.kind in (SiteKind.RANDOM, SiteKind.DETERMINISTIC):
            named.setdefault(id(site.node), site.name)
    for site in trace.sites.values():
        if site.kind is SiteKind.SCORED or site.node is None:
            continue
        axes = tuple(a.name for a in site.axes)
        out.add_node(site.name, kind=site.kind.value, axes=axes, shape=site.node.type.shape)
        sources: Iterable[Node] = [site.node]
        if site.dist is not None:
            observed = site.kind is SiteKind.OBSERVED
            sources = [*site.dist.params.values(), site.node] if observed else site.node.args
        _add_edges_to(out, named, sources, site.name)
    for cost in trace.costs.values():
        out.add_node(cost.name, kind="cost", axes=tuple(a.name for a in cost.node.type.axes), shape=())
        _add_edges_to(out, named, [cost.node], cost.name)
    return out


def _add_leaf_node(out: nx.DiGraph, named: dict[int, str], taken: set[str], node: Node) -> None:
    kind, name = LEAF_KINDS[node.op], node.attrs["name"]
    name = f"{name} ({kind})" if name in taken else name
    taken.add(name)
    named[id(node)] = name
    out.add_node(name, kind=kind, axes=tuple(a.name for a in node.type.axes), shape=node.type.shape)


def _add_edges_to(out: nx.DiGraph, named: dict[int, str], sources: Iterable[Node], target: str) -> None:
    seen: set[int] = set()
    stack = list(sources)
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        name = named.get(id(node))
        if name is not None and name != target:
            out.add_edge(name, target)
        elif not (node.op == "stop" and node.attrs["tag"] == "user"):
            stack.extend(node.args)


T = TypeVar("T")


class StochasticGraph:
    """The analysed graph of one trace.

    Where a trace has loops over time, `sketch` is the graph of the same model with a few steps of every loop written
    out, each of which stands for any step: that is what analyses read, and a node here has copies there.
    `enumerated` and `reweighted` are the nodes for which an estimator was named (`with_named`).
    """

    enumerated: frozenset[str] = frozenset()
    """Nodes that are summed over, not drawn: there is no sample to relax."""

    reweighted: frozenset[str] = frozenset()
    """Nodes whose estimator needs the weights of their samples in a bound."""

    def __init__(self, trace: Trace, sketch: StochasticGraph | None = None):
        self.trace, self.sketch = trace, sketch
        self.outputs: list[Node] = [c.node for c in trace.costs.values()]
        self.outputs += [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
        self.outputs += [s.node for s in trace.sites.values() if s.node is not None]
        self.outputs += [c.step for c in trace.costs.values() if c.step is not None]
        self.order = topological(self.outputs)
        self.samples = [n for n in self.order if n.op == "sample"]
        drawn = [n for n in self.samples if n.attrs["site"].kind is SiteKind.RANDOM]
        node_class = RandomNode if sketch is None else LoopNode
        self.nodes = {n.attrs["site"].name: node_class(self, n, rank) for rank, n in enumerate(drawn)}
        self._memo: dict[Hashable, Any] = {}

    def __getitem__(self, name: str) -> RandomNode:
        return self.nodes[name]

    def __str__(self) -> str:
        """List the random nodes, one a line, each with the costs that depend on it."""
        lines = []
        for name, rn in self.nodes.items():
            plates = "".join(f"[{a.name}]" for a in rn.node.type.axes)
            lines.append(
                f"{name}{plates}: {type(rn.dist).__name__} -> {', '.join(c.name for c in rn.costs) or 'no cost'}"
            )
        return "\n".join(lines) or "no random node"

    def with_named(self, enumerated: frozenset[str], reweighted: frozenset[str]) -> StochasticGraph:
        """Return the graph that has these nodes `enumerated` and `reweighted`; it shares what has been analysed."""
        if (self.enumerated, self.reweighted) == (enumerated, reweighted):
            return self
        found = copy(self)
        found.enumerated, found.reweighted = enumerated, reweighted
        if self.sketch is not None:
            copies = [[n for n in self.sketch.nodes if base_name(n) in names] for names in (enumerated, reweighted)]
            found.sketch = self.sketch.with_named(*map(frozenset, copies))
        found.nodes = {name: type(rn)(found, rn.node, rn.rank) for name, rn in self.nodes.items()}
        vars(found).pop("_node_bits", None)  # it holds the nodes of this graph
        return found

    @cached_property
    def total_steps(self) -> int:
        """Steps of all loops over time, those of inner loops in every step of the outer ones."""
        return sum(math.prod(s.length for s in scan.chain) for scan in self.trace.scans)

    @cached_property
    def ranges(self) -> Ranges:
        """Where values lie, discrete nodes at their true samples."""
        return self.ranges_with(())

    def ranges_with(self, relaxed: Iterable[Node]) -> Ranges:
        """Where values lie while the `sample` nodes `relaxed` are relaxed."""
        soft = frozenset(n for n in relaxed if n.attrs["site"].dist.discrete)
        return self.memoized(("ranges", soft), lambda: Ranges(self.required, soft))

    @cached_property
    def required(self) -> Requirements:
        """The intervals that distributions require of their parameters."""
        return required_intervals((*self.trace.sites.values(), *self.trace.scored.values()))

    def memoized(self, key: Hashable, find: Callable[[], T]) -> T:
        """The result of `find`, computed once for a key and the nodes `enumerated`."""
        key = self.enumerated, key
        if key not in self._memo:
            self._memo[key] = find()
        return self._memo[key]

    def path_endpoints(self) -> list[tuple[Node, str]]:
        """Where values matter to gradients: costs, and the parameters of random nodes above them, with their labels."""
        found = [(c.node, f"cost '{c.name}'") for c in self.trace.costs.values()]
        above = [n for n in self.nodes.values() if n.costs]
        return [*found, *((a, f"the parameters of '{n.name}'") for n in above for a in n.node.args)]

    @cached_property
    def upstream(self) -> Upstream:
        """Which `sample` nodes lie upstream: paths end at stops, not at random nodes."""
        return Upstream(self.samples, lambda node: node.op == "stop" and node.attrs["tag"] in PATH_ENDING_STOPS)

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
    def row_mixing_nodes(self) -> list[Node]:
        """Nodes that make a value of several rows of a plate."""
        return [n for n in self.order if n.op in ROW_MIXING_OPS]

    @cached_property
    def own_densities(self) -> frozenset[str]:
        """The random nodes whose sampled log-density is part of a cost."""
        return frozenset(n.attrs["name"] for n in self.order if n.op == "own_density")

    @cached_property
    def _endpoints(self) -> dict[int, list[tuple[int, PathEndpoint]]]:
        """By id, where paths end: costs and parameters of random nodes, with their places among all."""
        found: dict[int, list[tuple[int, PathEndpoint]]] = {}
        ends = [cost_endpoint(c) for c in self.trace.costs.values()]
        ends += [end for node in self.nodes.values() for end in node.parameter_endpoints()]
        for place, end in enumerate(ends):
            found.setdefault(id(end.node), []).append((place, end))
        return found

    def endpoints_among(self, ids: Iterable[int]) -> list[PathEndpoint]:
        """The ends of paths whose ids are given, costs first."""
        return [end for _, end in sorted((e for i in ids for e in self._endpoints.get(i, ())), key=itemgetter(0))]

    @property
    def noisy(self) -> dict[int, str]:
        """Nodes that vary continuously with a continuous random node that is drawn, with its name."""
        return self.memoized("noisy", lambda: depends_on_noise(self))

    @cached_property
    def terms(self) -> CostTerms:
        """The terms of costs that depend on nodes both directly and through `ppl.stop_gradient`."""
        return CostTerms(self.samples, self.trace.costs.values())

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


def data_plates(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """The data plates among `axes`."""
    return tuple(a for a in axes if a.kind is Kind.PLATE)
