"""Ops of linear algebra on the matrices in the last two event dimensions; what stands before them are batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.errors import ShapeError
from ppl.ir.build.broadcasting import Operand, as_node, cast, expand
from ppl.ir.build.events import reshape, transpose, window
from ppl.ir.node import Node, make
from ppl.ir.types import union_axes

Solver = Callable[[Node, Node], Node]
CLOSED = 3
"""The largest matrices whose determinant is written as a polynomial, which has derivatives at singular ones, too."""


def square(x: Operand) -> Node:
    """`x` as floats with two equal last dimensions.

    Raises
    ------
    ShapeError
        Where it has no such dimensions, or they are empty.
    """
    x = cast(as_node(x), "float")
    shape = x.type.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or not shape[-1]:
        raise ShapeError(f"it takes square matrices in the last two axes, not event shape {shape}")
    return x


def cholesky(x: Operand) -> Node:
    """L with L L^T = x, of which the lower triangle is read. Its own is NaN where x is not positive definite."""
    return make("cholesky", square(x))


def inverse(x: Operand) -> Node:
    """x^-1, and NaN where x is singular."""
    return make("inverse", square(x))


def log_det(x: Operand) -> Node:
    """log |det x|, and -inf where x is singular."""
    return make("log_det", square(x))


def sign_det(x: Operand) -> Node:
    """The sign of det x."""
    return make("sign_det", square(x))


def det(x: Operand) -> Node:
    """det x."""
    x = square(x)
    return _expanded(x) if x.type.shape[-1] <= CLOSED else make("det", x)


def _expanded(x: Node) -> Node:
    """A small determinant by its first column."""
    d = x.type.shape[-1]
    if d == 1:
        return reshape(x, x.type.shape[:-2])
    lead = [(0, n, 1) for n in x.type.shape[:-2]]
    total = None
    for i in range(d):
        below = [window(x, (*lead, rows, (1, d - 1, 1))) for rows in ((0, i, 1), (i + 1, d - i - 1, 1)) if rows[1]]
        minor = below[0] if len(below) == 1 else make("concat", *below, dim=len(lead))
        entry = reshape(window(x, (*lead, (i, 1, 1), (0, 1, 1))), x.type.shape[:-2])
        term = make("mul", entry, _expanded(minor))
        total = term if total is None else make("sub" if i % 2 else "add", total, term)
    assert total is not None
    return total


def solve_lower(tril: Operand, b: Operand, transposed: bool = False) -> Node:
    """L^-1 b, or L^-T b: triangles (…, d, d), not read above their diagonals; vectors (…, d) or rows (…, k, d)."""
    return _made("solve", tril, b, transposed)


def linsolve(a: Operand, b: Operand, transposed: bool = False) -> Node:
    """A^-1 b, or A^-T b: matrices (…, d, d); vectors (…, d) or rows (…, k, d). NaN where A is singular."""
    return _made("linsolve", a, b, transposed)


def _made(op: str, a: Operand, b: Operand, transposed: bool) -> Node:
    a, b = cast(a, "float"), cast(b, "float")
    axes = union_axes(a.type.axes, b.type.axes)
    return make(op, expand(a, axes), expand(b, axes), transposed=transposed)


def flipped(x: Node) -> Node:
    """Matrices transposed."""
    rank = len(x.type.shape)
    return transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def systems(a: Operand, b: Operand, solver: Solver) -> Node:
    """x with a x = b as in NumPy: `b` is a vector (d,), or has columns (…, d, k); batches broadcast.

    Raises
    ------
    ShapeError
        Where the shapes do not fit.
    """
    a, b = square(a), cast(as_node(b), "float")
    lead, d = a.type.shape[:-2], a.type.shape[-1]
    rank = len(b.type.shape)
    if not rank or b.type.shape[0 if rank == 1 else -2] != d:
        raise ShapeError(f"event shapes {a.type.shape} and {b.type.shape} do not fit")
    if rank == 1:
        return solver(a, expand(b, (), (*lead, d)))
    rows = flipped(b)
    if not lead:  # one matrix for all
        shape = rows.type.shape
        return flipped(reshape(solver(a, reshape(rows, (math.prod(shape[:-1]), d))), shape))
    try:
        lead = np.broadcast_shapes(lead, b.type.shape[:-2])
    except ValueError:
        raise ShapeError(f"the batches of event shapes {a.type.shape} and {b.type.shape} do not broadcast") from None
    return flipped(solver(expand(a, (), (*lead, d, d)), expand(rows, (), (*lead, *rows.type.shape[-2:]))))


def solve(a: Operand, b: Operand) -> Node:
    """`systems` of any matrices."""
    return systems(a, b, linsolve)


def solve_triangular(a: Operand, b: Operand, lower: bool = True, trans: bool = False) -> Node:
    """`systems` of triangles, whose other half is not read; of a^T if `trans`."""

    def solver(a: Node, b: Node) -> Node:
        return solve_lower(a, b, trans) if lower else solve_lower(flipped(a), b, not trans)

    return systems(a, b, solver)
