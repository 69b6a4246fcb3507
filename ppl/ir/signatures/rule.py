"""Registration of shape rules, and what they require of the types of arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.errors import ShapeError
from ppl.ir.node import type_rules
from ppl.ir.types import Type

Rule = Callable[[tuple[Type, ...], dict[str, Any]], Type]


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a shape rule under each of `names`."""

    def register(function: Rule) -> Rule:
        for name in names:
            type_rules[name] = function
        return function

    return register


def require(ok: bool, message: str, *types: Type) -> None:
    """Raise a ShapeError that lists `types` unless `ok`."""
    if not ok:
        raise ShapeError(f"{message}: {', '.join(map(str, types))}" if types else message)


def require_same(types: tuple[Type, ...], what: str) -> None:
    """Raise a ShapeError unless axes and event shapes are equal."""
    first = types[0]
    require(
        all(t.axes == first.axes and t.shape == first.shape for t in types),
        f"{what} needs equal types",
        *types,
    )
