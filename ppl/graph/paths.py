"""Paths from parameters and random nodes to costs: dependence, poles that noise crosses, path endpoints.

A derivative may have no mean though that of the cost exists: E[cos(t / z)] with z ~ N(0, 1) is finite, but along a draw
the derivative is -sin(t / z) / z, whose absolute value has no mean. A value without bounds behind a pole that is
crossed (1 / z, 1 / z^3, tan(z), digamma(z)) has none once a product, quotient or power joins it with a parameter. A
value that is bounded again (t * tanh(1 / z)) and a pole that a numerator made of the same noise may lift (z / |z|)
pass, and so does 1 / |z| of several entries, whose mean is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

from ppl.distributions.base import Distribution
from ppl.distributions.bounds import constant_exponents
from ppl.distributions.constraints import constant_value
from ppl.graph.ranges import Ranges
from ppl.graph.smoothness import PATH_ENDING_STOPS, PathOrders, is_piecewise_constant, local_singularities
from ppl.graph.terms import CostTerms
from ppl.ir.node import Node
from ppl.ir.op_facts import JUMP, POLES, PRODUCTS, SMOOTH, VIEWS, Singularity, ops_with
from ppl.lang.trace import Cost

T = TypeVar("T")


class AnalysedGraph(Protocol):
    """What the analyses of this file ask of a `StochasticGraph`."""

    order: list[Node]
    enumerated: frozenset[str]

    @property
    def ranges(self) -> Ranges:
        """Intervals that values lie in."""
        ...

    @property
    def terms(self) -> CostTerms:
        """The additive terms of costs."""
        ...

    @property
    def noisy(self) -> dict[int, str]:
        """Nodes that vary continuously with a continuous random node, with its name."""
        ...

    def memoized(self, key: Hashable, find: Callable[[], T]) -> T:
        """The result of `find`, kept under `key`."""
        ...


STOPS_WITHOUT_EFFECT = ("shift", "formula")
"""Tags of stops whose values cancel, or only choose between formulas of one value."""


def depends_on_parameters(graph: AnalysedGraph) -> dict[int, str]:
    """Nodes that a parameter reaches without passing a random node or a jump, with the parameter's name."""
    found: dict[int, str] = {}
    for node in graph.order:
        if node.op == "param":
            found[id(node)] = node.attrs["name"]
        elif node.op != "sample" and not (node.op == "stop" and node.attrs["tag"] in PATH_ENDING_STOPS):
            names = [
                found[id(a)] for i, a in enumerate(node.args) if id(a) in found and not is_piecewise_constant(node, i)
            ]
            if names:
                found[id(node)] = names[0]
    return found


def depends_on_noise(graph: AnalysedGraph) -> dict[int, str]:
    """Nodes that vary continuously with a continuous random node, with its name."""
    found: dict[int, str] = {}
    for node in graph.order:
        if node.op == "sample":
            site = node.attrs["site"]
            if not site.dist.discrete and site.name not in graph.enumerated:
                found[id(node)] = site.name
            continue
        if node.op == "stop" and node.attrs["tag"] in STOPS_WITHOUT_EFFECT:
            continue
        names = [found[id(a)] for i, a in enumerate(node.args) if id(a) in found and not is_piecewise_constant(node, i)]
        if names:
            found[id(node)] = names[0]
    return found


def source_of_movement(node: Node, dist: Distribution, learned: set[int]) -> str | None:
    """What moves a parameter of `dist`: "" a learnable parameter, or a random node's name; None where nothing can.

    A random node counts where its own parameters are `learned` and its sample may have a path, or be relaxed with what
    follows it. A discrete node above one that has neither path nor relaxation is never relaxed; no path passes a step.
    """
    follows = dist.reparameterized or dist.relaxable
    names, stack, seen = [], [(node, False)], set[tuple[int, bool]]()
    while stack:
        step, stepped = stack.pop()
        if (id(step), stepped) in seen or id(step) not in learned:
            continue
        seen.add((id(step), stepped))
        if step.op == "param":
            return ""
        if step.op == "sample":
            site = step.attrs["site"]
            if not stepped and (not site.dist.discrete or (site.dist.relaxable and follows)):
                names.append(site.name)
            continue
        flat = (step.op != "cast" and is_piecewise_constant(step, i) for i in range(len(step.args)))
        stack.extend((a, stepped or steps) for a, steps in zip(step.args, flat, strict=True))
    return names[0] if names else None


AwayFromZero = frozenset[Node]
"""Nodes that the condition of a `where` keeps away from 0."""

NO_NODES: AwayFromZero = frozenset()

TAMING_OPS, STEEPENING_OPS = ops_with("growth", "tames"), ops_with("growth", "grows")
"""Ops behind which a pole has a mean, and those whose slope grows with their argument."""


def noise_crosses_pole(graph: AnalysedGraph, noisy: Mapping[int, str]) -> bool:
    """Whether noise takes any value past a pole that has no mean."""
    return any(n.op in POLES and _crossed_pole(n, NO_NODES, graph, noisy) is not None for n in graph.order)


def products_with_poles(
    end: Node, graph: AnalysedGraph, moving: Mapping[int, str], noisy: Mapping[int, str]
) -> Iterator[tuple[str, str, str]]:
    """Op with the pole, name of what moves and random node, wherever a product joins them on the way to `end`."""
    places = _upstream_with_conditions(end)
    poles: dict[tuple[int, AwayFromZero], tuple[str, str]] = {}
    for node in graph.order:
        for nonzero in places.get(id(node), ()):
            own = _crossed_pole(node, nonzero, graph, noisy)
            behind = {
                i: poles[key]
                for i, a in enumerate(node.args)
                if (key := (id(a), _away_from_zero_in(node, i, nonzero))) in poles
                and not is_piecewise_constant(node, i)
            }
            if own is not None:
                behind.setdefault(POLES[node.op], own)
            for i, (op, source) in behind.items():
                joined = [
                    moving[id(a)] for j, a in enumerate(node.args) if id(a) in moving and _slope_grows_with(node, i, j)
                ]
                if joined:
                    yield op, joined[0], source
            if behind and node.op not in TAMING_OPS and node.op != "sample" and not _is_bounded(node, graph):
                poles[id(node), nonzero] = next(iter(behind.values()))


def _upstream_with_conditions(end: Node) -> dict[int, list[AwayFromZero]]:
    """Every node on the way to `end`, with what the conditions above it keep away from 0."""
    found: dict[int, list[AwayFromZero]] = {}
    stack = [(end, NO_NODES)]
    while stack:
        node, nonzero = stack.pop()
        if nonzero in found.get(id(node), ()) or (node.op == "stop" and node.attrs["tag"] in PATH_ENDING_STOPS):
            continue
        found.setdefault(id(node), []).append(nonzero)
        if node.op != "sample":
            stack.extend((a, _away_from_zero_in(node, i, nonzero)) for i, a in enumerate(node.args))
    return found


def _away_from_zero_in(node: Node, position: int, nonzero: AwayFromZero) -> AwayFromZero:
    """The nodes that are kept away from 0 in argument number `position`."""
    if node.op != "where" or not position:
        return nonzero
    kept = _kept_from_zero(node.args[0], position == 1)
    return nonzero | kept if kept else nonzero


def _kept_from_zero(test: Node, holds: bool) -> AwayFromZero:
    """Nodes that are away from 0 where `test` holds, or fails."""
    test = _behind_views(test)
    if test.op == "not":
        return _kept_from_zero(test.args[0], not holds)
    if test.op == ("and" if holds else "or"):
        return _kept_from_zero(test.args[0], holds) | _kept_from_zero(test.args[1], holds)
    if test.op not in ("lt", "le"):
        return NO_NODES
    low, high = test.args if holds else test.args[::-1]
    least, most = constant_value(low), constant_value(high)
    if least is not None and (least > 0).all():
        return _with_its_size(high)
    if most is not None and (most < 0).all():
        return _with_its_size(low)
    return NO_NODES


def _with_its_size(x: Node) -> AwayFromZero:
    """`x`, and what it is the size of."""
    x = _behind_views(x)
    return frozenset({x, _behind_views(x.args[0])}) if x.op in ("abs", "neg") else frozenset({x})


def _behind_views(x: Node) -> Node:
    while x.op in ("expand", "reshape", "cast"):
        x = x.args[0]
    return x


def _crossed_pole(
    node: Node, nonzero: AwayFromZero, graph: AnalysedGraph, noisy: Mapping[int, str]
) -> tuple[str, str] | None:
    """Op and random node where noise takes `node` past a pole that has no mean."""
    position = POLES.get(node.op)
    if position is None or id(node.args[position]) not in noisy:
        return None
    argument = node.args[position]
    if node.op == "pow" and not any(p < 0 for p in constant_exponents(node) or ()):
        return None
    if node.op == "div":
        above, below = map(graph.terms.reach, node.args)
        if (above.direct | above.stopped) & (below.direct | below.stopped):
            return None
    if _behind_views(argument) in nonzero or _sums_several(argument):
        return None
    if node.op == "div":
        divisor = _behind_views(argument)
        if divisor.op == "where" and all(_branch_is_nonzero(divisor, i, graph) for i in (1, 2)):
            return None
    faults = [f for f in local_singularities(node, position, graph.ranges) if f.order <= JUMP]
    return (f"{node.op}: {faults[0].words}", noisy[id(argument)]) if faults else None


def _branch_is_nonzero(choice: Node, position: int, graph: AnalysedGraph) -> bool:
    """Whether a branch of a `where` is not 0 when it is taken."""
    branch = choice.args[position]
    found = graph.ranges(branch)
    return found.lo > 0 or found.hi < 0 or _behind_views(branch) in _kept_from_zero(choice.args[0], position == 1)


def _sums_several(x: Node) -> bool:
    """Whether `x` is 0 only where several values are: a sum of sizes, or its root."""
    while x.op in VIEWS or x.op in ("sqrt", "abs") or (x.op == "pow" and constant_value(x.args[1]) is not None):
        x = x.args[0]
    if x.op == "sum":
        return x.args[0].type.event_size > x.type.event_size
    return x.op in ("add", "contract") and all(constant_value(a) is None for a in x.args)


def _slope_grows_with(node: Node, pole: int, moving: int) -> bool:
    """Whether the slope of `node` in argument `moving` grows with its argument `pole`."""
    if node.op in PRODUCTS or (node.op == "pow" and pole != moving):
        return pole != moving
    if node.op == "div":
        return moving != pole
    return node.op in STEEPENING_OPS and pole == moving


def _is_bounded(node: Node, graph: AnalysedGraph) -> bool:
    found = graph.ranges(node)
    return math.isfinite(found.lo) and math.isfinite(found.hi)


class PathEndpoint(NamedTuple):
    """Where a path from a random node ends; `periodic` where of an angle nothing but the direction matters.

    `entered` is the `sample` node whose parameter number `position` it is, if it is one.
    """

    node: Node
    label: str
    periodic: bool = False
    entered: Node | None = None
    position: int = 0

    def steep_probabilities(self, ranges: Ranges) -> Singularity | None:
        """The jump that the probabilities of the node entered are in this parameter, as far as draws can tell."""
        return None if self.entered is None else ranges.slopes.steep_logits(self.entered, self.position)


def cost_endpoint(cost: Cost) -> PathEndpoint:
    """A cost, as the end of paths."""
    return PathEndpoint(cost.node, f"cost '{cost.name}'")


def worst_order(orders: PathOrders, ends: list[PathEndpoint]) -> tuple[float, str]:
    """The worst order at the ends that are reached, and where it lies."""
    worst, where = SMOOTH, ""
    for end in ends:
        node, label, periodic = end[:3]
        if node not in orders:
            continue
        if orders.ranges.may_touch_excluded_end(node):
            return JUMP, f"{label}, one of which may touch an end that {label.rsplit(' ', 1)[-1]} excludes"
        steep = end.steep_probabilities(orders.ranges)
        if steep is not None:
            return JUMP, f"{label} ({steep.words})"
        if orders.order_at_end(node, periodic) < worst:
            worst, where = orders.order_at_end(node, periodic), label
            blamed = orders.blame.get(id(node))
            if id(node) in orders.angles or (blamed is not None and any(id(a) in orders.angles for a in blamed.args)):
                where += ", which is not visibly periodic in an angle that wraps at pi,"
            if blamed is not None:
                words = orders.words.get(id(node), "")
                where += f" (op {blamed.op}{': ' + words if words else ''})"
    return worst, where


def derivative_without_mean(
    orders: PathOrders, ends: Callable[[], list[PathEndpoint]], graph: AnalysedGraph
) -> tuple[float, str] | None:
    """The jump that a product with a pole of other noise counts as: a slope that has no mean; None where none is."""
    noisy = graph.noisy
    if not graph.memoized("crossed", lambda: noise_crosses_pole(graph, noisy)):
        return None
    reached = dict.fromkeys(orders.of, "")
    for end in ends():
        for op, _, source in products_with_poles(end.node, graph, reached, noisy):
            return JUMP, f"{end.label} (times a pole of '{source}', op {op})"
    return None
