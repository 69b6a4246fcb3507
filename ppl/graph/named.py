"""The stochastic computation graph under the model's names, for users and drawings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ppl.ir.node import Node
from ppl.lang.trace import SiteKind

if TYPE_CHECKING:
    import networkx as nx

    from ppl.graph.stochastic import StochasticGraph
else:
    from ppl.lazy import networkx as nx

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
            _add_leaf(out, named, taken, node)
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
        _connect(out, named, sources, site.name)
    for cost in trace.costs.values():
        out.add_node(cost.name, kind="cost", axes=tuple(a.name for a in cost.node.type.axes), shape=())
        _connect(out, named, [cost.node], cost.name)
    return out


def _add_leaf(out: nx.DiGraph, named: dict[int, str], taken: set[str], node: Node) -> None:
    kind, name = LEAF_KINDS[node.op], node.attrs["name"]
    name = f"{name} ({kind})" if name in taken else name
    taken.add(name)
    named[id(node)] = name
    out.add_node(name, kind=kind, axes=tuple(a.name for a in node.type.axes), shape=node.type.shape)


def _connect(out: nx.DiGraph, named: dict[int, str], sources: Iterable[Node], target: str) -> None:
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
