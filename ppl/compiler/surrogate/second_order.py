"""Second derivatives of the estimated objective (rule 6): score terms are regenerated, or an error names the node.

Differentiating a gradient estimate again is wrong wherever a sample was stopped, because the dependence of its
distribution on the parameters is no longer in the graph. So the graph is expanded anew. Pathwise, enumerated and
analytic nodes stay as they are; every other unbiased node is a stopped sample, and each cost is multiplied by
exp(log p(x) − stop(log p(x))) of the nodes above it, which is 1 and has the right derivatives of every order
(DiCE: Foerster et al. 2018). What would then still be lost, a kink or jump crossed by continuous noise, is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.surrogate.expansion import CostTerm, Expansion
from ppl.compiler.surrogate.guards import add_guards, with_unsampled_penalty
from ppl.compiler.surrogate.variants import ProgramVariant, simplify_variant
from ppl.errors import EstimatorError
from ppl.estimators import Pathwise, ScoreFunction
from ppl.estimators.base import Estimator, check_support
from ppl.graph.ranges import Ranges
from ppl.graph.smoothness import IntervalOf, describe_order, local_order
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, make, topological
from ppl.ir.op_facts import KINK, LEAVES, PIECEWISE_CONSTANT, SMOOTH
from ppl.ir.types import Kind

HVP_VECTOR = "@vector/"
"""Prefix of the leaves that hold the vector: parameters of the request, after the real ones."""

NO_SECOND_DERIVATIVE = {"graft": "a straight-through value", "scale_grad": "a side branch"}


def build_hvp(graph: StochasticGraph, plan: Mapping[str, Estimator], repeats: bool = False) -> ProgramVariant:
    """Build the Hessian of the objective times a vector, which is read from parameters named `HVP_VECTOR` + name.

    Raises
    ------
    EstimatorError
        If a node has a biased estimator, or second derivatives through it would miss something.
    """
    again = second_order_plan(graph, plan)
    expansion = Expansion(graph, again, "gradient", repeats)
    expanded = expansion.run()
    surrogate = ops.expand(ops.const(0.0), expansion.repeat_axes)
    for part in expansion.parts:
        box = _magic_box(expansion, graph, again, part)
        value = part.value if box is None else ops.mul(part.value, box)
        total = expansion.reducer.total(value, stopped=expansion.not_above(part))
        surrogate = ops.add(surrogate, total)
    surrogate, wrt = with_unsampled_penalty(surrogate, expansion), list(expanded.wrt.values())
    check_twice_differentiable(surrogate, wrt, graph.ranges.mapped(expansion.env))
    inner = ops.expand(ops.const(0.0), expansion.repeat_axes)
    for (name, leaf), g in zip(expanded.wrt.items(), vjp([(surrogate, ops.const(1.0))], wrt), strict=True):
        if g is not None:
            v = ops.expand(make("param", name=HVP_VECTOR + name, shape=leaf.type.shape), leaf.type.axes)
            inner = ops.add(inner, ops.reduce_sum(ops.mul(g, v)))
    variant = ProgramVariant(scalars={"loss": add_guards(expanded.loss, expansion)}, hypers=expanded.hypers)
    for (name, leaf), h in zip(expanded.wrt.items(), vjp([(inner, ops.const(1.0))], wrt), strict=True):
        variant.grads[name] = ops.zeros_like(leaf.type) if h is None else h
    return simplify_variant(variant, {"loss": expanded.loss, "surrogate": surrogate})


def second_order_plan(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> dict[str, Estimator]:
    """Return how every node enters the second derivative."""
    return {name: _second_order_estimator(graph[name], estimator) for name, estimator in plan.items()}


def _second_order_estimator(rn: RandomNode, chosen: Estimator) -> Estimator:
    """Return how a node enters the second derivative: as planned where that is exact, else by its score."""
    if chosen.second == "kept":
        return chosen
    if rn.dist.score_only:
        raise EstimatorError(
            f"hvp: the score that '{rn.name}' ({rn.site.where}) returns has no derivative, so there is no second one"
        )
    if chosen.biased:
        raise EstimatorError(
            f"hvp: node '{rn.name}' ({rn.site.where}) has the biased estimator {chosen.label}, whose objective is not "
            "the one declared; compile with an unbiased estimator there"
        )
    score, path = ScoreFunction(), Pathwise()
    external = any(node.op == "external" and node in rn.direct for node in rn.graph.order)
    smooth = check_support(path, rn).ok and rn.path_order()[0] > KINK and not external
    if chosen.second == "path" and smooth:
        return path
    if check_support(score, rn).ok:
        return score
    if smooth:
        return path
    order, where = rn.path_order()
    raise EstimatorError(
        f"hvp: node '{rn.name}' ({rn.site.where}): {describe_order(order)} on the way to {where} stops second "
        f"derivatives of "
        f"the sampling path, and {check_support(score, rn).reason}"
    )


def _magic_box(
    expansion: Expansion, graph: StochasticGraph, plan: Mapping[str, Estimator], part: CostTerm
) -> Node | None:
    """exp(log p − stop(log p)) over the score-function nodes above a cost: 1, with the derivatives of their density.

    It has one value a row of the cost; rows of a node that the cost mixes (through `collect`) count together.
    """
    total: Node | None = None
    rows = expansion.reducer.expect_over_states(part.value).type.axes
    for rn in graph.nodes.values():
        if plan[rn.name].second != "score" or rn.name not in part.above:
            continue
        dist = rn.dist.with_params(expansion.own_parameters[rn.name])
        dist.event_mask = None
        log_prob = dist.node_log_prob(ops.stop(expansion.branches[rn.name].primal))
        log_prob = ops.sum_axes(log_prob, [a for a in log_prob.type.axes if a.kind is Kind.PLATE and a not in rows])
        total = log_prob if total is None else ops.add(total, log_prob)
    return None if total is None else ops.exp(ops.sub(total, ops.stop(total)))


def check_twice_differentiable(output: Node, wrt: Sequence[Node], ranges: IntervalOf) -> None:
    """Raise where a second derivative of `output` would miss something.

    That is a kink or jump in a value that depends both on a parameter (through a path that derivatives take) and on
    continuous noise: its mean is smooth, but the derivative of the kink's slope is zero almost everywhere. Ops without
    a second derivative (external functions, straight-through values) are refused as well.
    """
    order = topological([output])
    carries = {id(w) for w in wrt}
    noise: dict[int, str] = {}
    for node in order:
        if node.op in ("noise", "rowkey"):
            noise[id(node)] = node.attrs["name"]
        elif node.op not in PIECEWISE_CONSTANT and not (node.op == "cast" and node.args[0].type.dtype != "float"):
            first = 1 if node.op == "where" else 0
            named = next((noise[id(a)] for a in node.args[first:] if id(a) in noise), None)
            if named is not None:
                noise[id(node)] = named
        if node.op != "stop" and any(id(a) in carries for a in node.args):
            carries.add(id(node))
    taken = {id(output)}
    for node in reversed(order):
        if id(node) in taken and node.op != "stop":
            taken.update(id(a) for a in node.args if id(a) in carries)
            _require_twice_differentiable_op(node, carries, noise, ranges)


def _require_twice_differentiable_op(
    node: Node, carries: set[int], noise: Mapping[int, str], ranges: IntervalOf
) -> None:
    moving = [(i, a) for i, a in enumerate(node.args) if id(a) in carries]
    if not moving:
        return
    if node.op == "external":
        raise EstimatorError(f"hvp: external function '{node.attrs['fn'].name}' has no second derivative")
    if node.op in NO_SECOND_DERIVATIVE and not node.attrs.get("exact"):
        raise EstimatorError(
            f"hvp: {NO_SECOND_DERIVATIVE[node.op]} on the way to the objective has no second derivative"
        )
    if node.op == "loop":
        bad = [n for n in topological(node.attrs["body"].outputs) if _worst_smoothness(n, Ranges()) <= KINK]
        if bad and any(id(a) in noise for a in node.args):
            raise EstimatorError(f"hvp: `{bad[0].op}` inside a loop that random nodes enter stops second derivatives")
    order = min(local_order(node, i, ranges) for i, _ in moving)
    names = [noise[id(a)] for a in node.args if id(a) in noise]
    if order <= KINK and names:
        raise EstimatorError(
            f"hvp: {describe_order(order)} (`{node.op}`) in a value that depends on a parameter and on the "
            f"continuous node "
            f"'{names[0]}': its second derivative would miss the kink; give '{names[0]}' a score function and keep "
            "parameters out of the kink"
        )


def _worst_smoothness(node: Node, ranges: IntervalOf) -> float:
    if node.op in LEAVES:
        return SMOOTH
    return min((local_order(node, i, ranges) for i in range(len(node.args))), default=SMOOTH)
