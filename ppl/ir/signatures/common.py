"""Shape rules of the signatures that many ops have: the column `types` of the table of facts."""

from __future__ import annotations

from typing import Any

from ppl.ir.op_facts import where
from ppl.ir.signatures.rule import require, require_same, rule
from ppl.ir.types import Type


@rule(*where("types", "numbers"))
def _arithmetic(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "arithmetic")
    require(all(t.dtype == types[0].dtype != "bool" for t in types), "arithmetic needs equal number types", *types)
    return types[0]


@rule(*where("types", "comparison"))
def _compare(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "comparison")
    require(types[0].dtype == types[1].dtype, "comparison needs equal dtypes", *types)
    return Type(types[0].axes, types[0].shape, "bool")


@rule(*where("types", "logic"))
def _logical(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "logic")
    require(all(t.dtype == "bool" for t in types), "logic needs bool", *types)
    return types[0]


@rule(*where("types", "draw"))
def _draw(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """A draw by rejection: of float parameters, the int key of their row and particle, and the int column."""
    require_same(types, "a draw")
    wanted = ["float"] * (len(types) - 2) + ["int", "int"]
    require([t.dtype for t in types] == wanted, "a draw needs floats, key, column", *types)
    return types[0] if attrs.get("dtype") != "int" else Type(types[0].axes, types[0].shape, "int")


@rule(*where("types", "floats"))
def _floats(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "a function of floats")
    require(all(t.dtype == "float" for t in types), "a function of floats needs floats", *types)
    return types[0]
