"""Shape rules of the ops that only compiled programs have: what `ppl.compiler.lower` makes of others."""

from __future__ import annotations

from typing import Any

from ppl.ir.op_facts import COUNTS
from ppl.ir.signatures.rule import rule
from ppl.ir.types import Type


@rule("gemm", "turns")
def _given(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Products of groups of loops, and loops over lowered bodies, of which it is the first result."""
    return attrs["type"]


@rule("copy")
def _copy(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return types[0]


@rule("draw_rows", "lanes")
def _draws(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """All draws of op `draw`, or their slopes: integers where they are counts."""
    return Type(types[0].axes, types[0].shape, "int" if attrs["draw"] in COUNTS else "float")


@rule("table_dot")
def _table_dot(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """table (N, D), index (K,) or (), x (D): table[index] @ x."""
    return Type(types[1].axes, types[1].shape, "float")


@rule("table_sum")
def _table_sum(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """table (N, D), index (K,), x (K): x @ table[index]."""
    return Type(types[1].axes, types[0].shape[-1:], "float")


@rule("column_dot")
def _column_dot(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """A product of rows of tables, of which each thread adds up some columns."""
    return Type(types[0].axes, types[0].shape, "float")
