"""Values as steps outside the fused loops read them: contiguous in memory, by a copy where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl.compiler.lower.views import Entry, identity, is_view, resolve
from ppl.ir.node import Node, make, rebuild, remake
from ppl.ir.op_facts import GIVEN


def copied(x: Node) -> Node:
    """A contiguous copy of `x`."""
    return make("copy", x)


def plain(x: Node) -> bool:
    """Whether `x` is in memory, with its event contiguous; single numbers that are constant are in code instead."""
    view = resolve(x, {})
    return (
        view is not None
        and view.base.op not in ("scale", "size")
        and not (x.type.shape and view.base.op == "const" and view.base.attrs["value"].value.size == 1)
        and view.coefs == identity(x).coefs
        and not any(isinstance(k, int) for k in view.axes.values() if not isinstance(k, Entry))
    )


def in_memory(x: Node) -> Node:
    """`x`, or a copy whose event is contiguous in memory."""
    return x if plain(x) else copied(x)


def stored(x: Node) -> Node:
    """`x`, or a copy, as a value that a step computed and that has memory for all its named axes and entries."""
    view = resolve(x, {})
    whole = view is not None and plain(x) and view.base.op not in GIVEN and view.base.type.axes == x.type.axes
    return x if whole else copied(x)


def stored_rows(x: Node) -> Node:
    """`x`, or a copy, as a value that has memory for all rows: computed, or an argument."""
    view = resolve(x, {})
    whole = view is not None and plain(x) and view.base.type.axes == x.type.axes
    return x if whole else copied(x)


def with_copies(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` with a copy below every view that no affine map can express."""
    memo: dict[Node, Any] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        new = remake(node, args)
        if is_view(new) and resolve(new, memo) is None:
            new = remake(new, (copied(args[0]),))
        return new

    return rebuild(outputs, visit)
