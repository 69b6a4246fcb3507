"""np.einsum, np.tensordot and np.inner on event axes, as chains of two-operand contractions."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.axes import axes_of
from ppl.ir.node import Node
from ppl.lang.arrays.arithmetic import of_kind
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift


def einsum(subscripts: str, *operands: Any, optimize: Any = None) -> Value:
    """np.einsum with subscripts in one string, no label twice in one operand; contracts left to right."""
    return lift("np.einsum", lambda *nodes: _einsum(subscripts, nodes), *operands)


def _einsum(subscripts: str, nodes: tuple[Node, ...]) -> Node:
    if not isinstance(subscripts, str):
        raise ShapeError("subscripts must be a string such as 'ij,j->i'")
    labels, out = _labels(subscripts.replace(" ", ""), nodes)
    acc, mine = nodes[0], labels[0]
    for i in range(1, len(nodes)):
        later = set(out).union(*labels[i + 1 :])
        acc, mine = _drop(acc, mine, later | set(labels[i]))
        other, theirs = _drop(nodes[i], labels[i], later | set(mine))
        kept = "".join(dict.fromkeys(c for c in mine + theirs if c in later))
        kept = out if i == len(nodes) - 1 else kept
        acc, mine = ops.einsum(acc, mine, other, theirs, kept), kept
    acc, mine = _drop(acc, mine, set(out))
    return of_kind(ops.transpose(acc, [mine.index(c) for c in out]) if out else acc, *nodes)


def _labels(subscripts: str, nodes: tuple[Node, ...]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, with "..." spelt out."""
    left, arrow, right = subscripts.partition("->")
    parts = left.split(",")
    if len(parts) != len(nodes):
        raise ShapeError(f"{len(parts)} subscripts for {len(nodes)} operands")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    if not set(subscripts) <= set(string.ascii_letters + ".,->"):
        raise ShapeError(f"subscripts {subscripts!r} must be letters")
    widths = [len(n.type.shape) - len(p.replace("...", "")) for p, n in zip(parts, nodes, strict=True)]
    widest = max((w for p, w in zip(parts, widths, strict=True) if "..." in p), default=0)
    dots = "".join(spare[:widest])
    labels = []
    for part, width, node in zip(parts, widths, nodes, strict=True):
        full = part.replace("...", dots[widest - width :] if width > 0 else "")
        if len(full) != len(node.type.shape):
            raise ShapeError(f"subscripts {part!r} do not fit event shape {node.type.shape}")
        if len(set(full)) != len(full):
            raise ShapeError(f"subscripts {part!r} repeat a label; use np.diagonal")
        labels.append(full)
    every = "".join(labels)
    if not arrow:
        right = ("..." if dots else "") + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    out = right.replace("...", dots)
    if len(set(out)) != len(out) or not set(out) <= set(every):
        raise ShapeError(f"output subscripts {right!r} do not fit {left!r}")
    return labels, out


def _drop(x: Node, labels: str, kept: set[str]) -> tuple[Node, str]:
    """Sum out the labels that are needed nowhere else."""
    dims = [d for d, c in enumerate(labels) if c not in kept]
    return (ops.reduce_sum(x, dims) if dims else x), "".join(c for c in labels if c in kept)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Value:
    """np.tensordot."""
    a, b = as_value(a), as_value(b)
    if isinstance(axes, (int, np.integer)):
        of_a, of_b = axes_of(a.shape, range(-int(axes), 0), "axes"), axes_of(b.shape, range(int(axes)), "axes")
    else:
        first, second = axes
        of_a, of_b = axes_of(a.shape, first, "axes"), axes_of(b.shape, second, "axes")
    if len(of_a) != len(of_b):
        raise ShapeError(f"np.tensordot: axes {axes} are not as many of the one as of the other\n  at {user_line()}")
    la = list(string.ascii_lowercase[: a.ndim])
    lb = list(string.ascii_uppercase[: b.ndim])
    for i, j in zip(of_a, of_b, strict=True):
        lb[j] = la[i]
    shared = {la[i] for i in of_a}
    out = [c for c in la + lb if c not in shared]
    return einsum(f"{''.join(la)},{''.join(lb)}->{''.join(out)}", a, b)


def inner(a: Any, b: Any) -> Value:
    """np.inner."""
    a, b = as_value(a), as_value(b)
    return a * b if a.ndim == 0 or b.ndim == 0 else tensordot(a, b, (-1, -1))
