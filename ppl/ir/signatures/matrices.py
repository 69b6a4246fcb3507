"""Shape rules of linear algebra: matrices are the last two event dimensions, and those before them are batches."""

from __future__ import annotations

from typing import Any

from ppl.ir.signatures.rule import require, rule
from ppl.ir.types import Type


@rule("solve", "linsolve")
def _solve(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """A^-1 b, or A^-T b if `transposed`: matrices (..., d, d), and a vector (..., d) or rows (..., k, d) for each.

    Of `solve` they are lower triangles, and not read above their diagonals.
    """
    a, b = types
    require(a.axes == b.axes and a.dtype == b.dtype == "float" and bool(b.shape), "solve needs floats", *types)
    square = (*b.shape[-1:], *b.shape[-1:])
    require(a.shape in ((*b.shape[:-1], *square), (*b.shape[:-2], *square)), "solve", *types)
    return b


@rule("cholesky", "inverse")
def _square(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    (t,) = types
    require(len(t.shape) >= 2 and t.shape[-1] == t.shape[-2] and t.dtype == "float", "square float matrices", t)
    return t


@rule("det", "log_det", "sign_det")
def _number(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The determinant, the logarithm of its size, its sign."""
    t = _square(types, attrs)
    return Type(t.axes, t.shape[:-2], "float")


@rule("lu")
def _lu(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Of a matrix with its rows in another order: both triangles (d * d), rows taken (d), sign, determinant."""
    t = _square(types, attrs)
    d = t.shape[-1]
    return Type(t.axes, (*t.shape[:-2], d * d + d + 2), "float")


@rule("lu_solve")
def _lu_solve(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """`linsolve` of a matrix that is given by its `lu`."""
    return types[1]
