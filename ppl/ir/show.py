"""Readable listings of IR graphs, for `program.ir(stage)` and for looking at failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl.ir.node import Node, topological
from ppl.ir.types import Axis

HIDDEN = {"body", "type"}


def show(outputs: Sequence[Node], names: Sequence[str] | None = None) -> str:
    """List a graph, one node a line, arguments before users.

    Parameters
    ----------
    outputs
        Roots of the graph.
    names
        What to call the outputs at the end of the listing (default: 0, 1, …).

    Returns
    -------
    str
        Lines like ``%3 = mul %1 %2 : float[data:? | 64]``; the body of a loop is indented below it.
    """
    labels: dict[Node, str] = {}
    lines = _listing(outputs, labels, "")
    called = names if names is not None else [str(i) for i in range(len(outputs))]
    lines += [f"return {name} = {labels[o]}" for name, o in zip(called, outputs, strict=True)]
    return "\n".join(lines)


def _listing(outputs: Sequence[Node], labels: dict[Node, str], indent: str) -> list[str]:
    lines = []
    for node in topological(outputs):
        if node in labels:
            continue
        labels[node] = f"%{len(labels)}"
        words = [node.op, *(labels[a] for a in node.args), *_attributes(node.attrs)]
        lines.append(f"{indent}{labels[node]} = {' '.join(words)} : {node.type}")
        if node.op == "loop":
            lines += _loop_body_listing(node, labels, indent + "    ")
    return lines


def _loop_body_listing(loop: Node, labels: dict[Node, str], indent: str) -> list[str]:
    body = loop.attrs["body"]
    n = len(body.carries)
    inputs: list[tuple[str, Node]] = [("index", body.index)]
    for i, arg in enumerate(body.args):
        role = "carry" if i < n else "slice of" if i < n + body.n_xs else "constant"
        inputs.append((f"{role} {labels[loop.args[i]]}", arg))
    lines = []
    for role, arg in inputs:
        labels[arg] = f"%{len(labels)}"
        lines.append(f"{indent}{labels[arg]} = {role} : {arg.type}")
    lines += _listing(body.outputs, labels, indent)
    carries = " ".join(labels[c] for c in body.carries)
    stacked = " ".join(labels[y] for y in body.ys)
    return [*lines, f"{indent}carry ({carries}) stack ({stacked})"]


def _attributes(attrs: Mapping[str, Any]) -> list[str]:
    return [f"{k}={_attribute_text(v)}" for k, v in attrs.items() if k not in HIDDEN and v not in ((), None)]


def _attribute_text(value: Any) -> str:
    if isinstance(value, Axis):
        return value.name
    if isinstance(value, tuple):
        return f"({', '.join(map(_attribute_text, value))})"
    return str(value)
