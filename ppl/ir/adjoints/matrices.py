"""Adjoints of linear algebra, written in its own ops, so that they can be differentiated again.

The formulas are those of Giles, An extended collection of matrix derivative results (2008), and Murray, Differentiation
of the Cholesky decomposition (2016).
"""

from __future__ import annotations

import string

import numpy as np

from ppl.ir import ops
from ppl.ir.node import Node, make

Cotangents = tuple[Node | None, ...]


def _times(a: Node, la: str, b: Node, lb: str, out: str) -> Node:
    """Products of matrices with these labels, batch by batch."""
    lead = string.ascii_uppercase[: len(a.type.shape) - len(la)]
    return ops.einsum(a, lead + la, b, lead + lb, lead + out)


def _outer(rows: Node, columns: Node, a: Node) -> Node:
    """The outer products of two lists of vectors, added up for each of the matrices `a`."""
    many = len(rows.type.shape) == len(a.type.shape)
    return _times(rows, "ri" if many else "i", columns, "rj" if many else "j", "ij")


def solve(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    """For x = A^-1 b: b gets u = A^-T g, and A gets -u x^T, of which a triangle takes its half."""
    u = make(n.op, a, g, transposed=not n.attrs["transposed"])
    rows, columns = (n, u) if n.attrs["transposed"] else (u, n)
    weight = -np.tril(np.ones(a.type.shape[-2:])) if n.op == "solve" else -1.0
    return ops.mul(_outer(rows, columns, a), weight), u


def cholesky(g: Node, n: Node, x: Node) -> Cotangents:
    """The half of L^-T (P + P^T) L^-1 that is read, P the lower triangle of L^T g; diagonals count half."""
    half = np.tril(np.ones(x.type.shape[-2:])) - 0.5 * np.eye(x.type.shape[-1])
    p = ops.mul(_times(n, "ki", g, "kj", "ij"), half)
    once = make("solve", n, ops.add(p, ops.flipped(p)), transposed=True)
    return (ops.mul(make("solve", n, ops.flipped(once), transposed=True), half),)


def inverse(g: Node, n: Node, x: Node) -> Cotangents:
    """-X^T g X^T, X the inverse."""
    return (ops.neg(_times(_times(n, "ki", g, "kj", "ij"), "ij", n, "kj", "ik")),)


def _weighted(g: Node, x: Node) -> Node:
    """g X^-T for each number g."""
    shape = x.type.shape
    found = ops.flipped(make("inverse", x))
    return ops.mul(ops.expand(ops.reshape(g, (*shape[:-2], 1, 1)), (), shape), found)


def det(g: Node, n: Node, x: Node) -> Cotangents:
    """g det(x) x^-T."""
    return (_weighted(ops.mul(g, n), x),)


def log_det(g: Node, n: Node, x: Node) -> Cotangents:
    """g x^-T."""
    return (_weighted(g, x),)
