"""Reverse mode as a graph-to-graph transformation: the adjoint of any outputs with respect to any nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ppl.ir import ops
from ppl.ir.loop import loop_vjp
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.vjp import VJPS


def gradient(output: Node, wrt: Sequence[Node], erase: Collection[str] = ()) -> list[Node]:
    """Gradients of a scalar, with zeros where `output` does not depend on an entry of `wrt`."""
    found = vjp([(output, ops.const(1.0))], wrt, erase)
    return [ops.zeros_like(w.type) if g is None else g for g, w in zip(found, wrt, strict=True)]


def vjp(seeds: Sequence[tuple[Node, Node]], wrt: Sequence[Node], erase: Collection[str] = ()) -> list[Node | None]:
    """Pull cotangents `seeds` (output, cotangent) back to the nodes `wrt`; None where there is no path.

    Stops whose tag is in `erase` are passed through: the auxiliary pass (rule 5) erases "theta", and with it the
    weights that estimators put on gradients (`scale_grad`), since the derivative of the value is wanted there.
    """
    order = topological([o for o, _ in seeds])
    reaches = _nodes_reaching(order, wrt, erase)
    cotangents: dict[int, Node] = {}
    results: dict[int, dict[int, Node]] = {}
    for output, seed in seeds:
        _add_cotangent(cotangents, output, ops.expand(seed, output.type.axes, output.type.shape))
    targets = {id(w) for w in wrt}
    found: dict[int, Node] = {}
    for node in reversed(order):
        if id(node) not in reaches:
            continue
        if node.op == "loop":
            parts = results.pop(id(node), {})
            count = len(node.attrs["body"].outputs)
            grads = loop_vjp(node, [parts.get(i) for i in range(count)], lambda s, w: vjp(s, w, erase)) if parts else []
        else:
            g = cotangents.pop(id(node), None)
            if g is None:
                continue
            if id(node) in targets:
                found[id(node)] = g
            if node.op == "get":
                slot, i = results.setdefault(id(node.args[0]), {}), node.attrs["index"]
                slot[i] = ops.add(slot[i], g) if i in slot else g
                continue
            if node.op == "stop" and node.attrs["tag"] in erase:
                grads = [g]
            elif node.op == "scale_grad" and "theta" in erase:
                grads = [g, None]
            else:
                grads = _pull_back(g, node)
        for arg, grad in zip(node.args, grads, strict=bool(grads)):
            if grad is not None and id(arg) in reaches and arg.type.dtype == "float":
                _add_cotangent(cotangents, arg, grad)
    return [found.get(id(w)) for w in wrt]


def _pull_back(g: Node, node: Node) -> list[Node | None]:
    """The cotangents of a node's arguments.

    Where `g` is a selection with zeros, the selection is done after an elementwise rule instead of before it: an
    infinite or NaN slope in the branch not taken is then not multiplied by zero, but left out.
    """
    if g.op != "where" or node.op not in ELEMENTWISE or node.op == "where":
        return list(VJPS[node.op](g, node, *node.args))
    condition, a, b = g.args
    if ops.is_const(b, 0.0):
        taken = VJPS[node.op](a, node, *node.args)
        return [None if t is None else ops.where(condition, t, 0.0) for t in taken]
    if ops.is_const(a, 0.0):
        taken = VJPS[node.op](b, node, *node.args)
        return [None if t is None else ops.where(condition, 0.0, t) for t in taken]
    return list(VJPS[node.op](g, node, *node.args))


def _nodes_reaching(order: Sequence[Node], wrt: Sequence[Node], erase: Collection[str]) -> set[int]:
    """The nodes from which a cotangent may arrive at `wrt`: neither through a stop nor through a gradient's weight."""
    reaches = {id(w) for w in wrt}
    for node in order:
        stopped = node.op == "stop" and node.attrs["tag"] not in erase
        args = () if stopped else node.args[:1] if node.op == "scale_grad" else node.args
        if any(id(a) in reaches for a in args):
            reaches.add(id(node))
    return reaches


def _add_cotangent(cotangents: dict[int, Node], node: Node, grad: Node) -> None:
    if grad.type != node.type:
        raise AssertionError(f"cotangent {grad.type} does not fit {node.op} {node.type}")
    previous = cotangents.get(id(node))
    cotangents[id(node)] = grad if previous is None else ops.add(previous, grad)
