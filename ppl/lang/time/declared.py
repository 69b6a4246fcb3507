"""What `ppl.scan` was called with, and rows that stop early."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.loop import Remat, stopped
from ppl.ir.node import Node
from ppl.lang.context import Context, check_plates
from ppl.lang.sites import claim
from ppl.lang.time.trees import Tree, same_nesting, tree
from ppl.lang.trace import Site, SiteKind
from ppl.lang.value import Value, lift
from ppl.records import dataclass


def require_takes(what: str, function: Callable[..., Any], given: Sequence[Any], line: str) -> None:
    """Raise a ModelError unless a user's function takes these arguments."""
    with contextlib.suppress(ValueError):  # no signature to ask
        try:
            inspect.signature(function).bind(*given)
        except TypeError as error:
            name = getattr(function, "__name__", type(function).__name__)
            raise ModelError(f"{what}, which {name} does not take: {error}\n  at {line}") from None


@dataclass(frozen=True, eq=False)
class Declared:
    """A call of `ppl.scan`, its arguments checked."""

    name: str
    step: Callable[[Any, Any], Any]
    carry: Tree
    xs: Tree
    length: int
    reverse: bool
    until: Callable[[Any], Any] | None
    remat: Remat
    line: str

    def call(self, context: Context, carry: Sequence[Node], xs: Sequence[Node], index: Node) -> tuple[Tree, Tree]:
        """The next carry and the result of one step."""
        x = self.xs.rebuilt(list(xs)) if self.xs.leaves else Value(index)
        given = self.carry.rebuilt(list(carry)), x
        require_takes(f"scan {self.name!r}: step is called with the carry and a slice", self.step, given, self.line)
        found = self.step(*given)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ModelError(f"scan {self.name!r}: step returns (carry, y); y may be None\n  at {self.line}")
        new, y = tree("carry", found[0]).like(self.carry), tree("y", found[1])
        same_nesting(self.carry, new, self.line)
        for node, path in zip((*new.leaves, *y.leaves), (*new.paths, *y.paths), strict=True):
            check_plates(node, f"scan {self.name!r}: {path}")
        return new, y


@dataclass(eq=False)
class Halting:
    """Rows that stop: two more carries, whether a row has stopped and its number of steps. Nothing without `until`."""

    declared: Declared
    halted: Node | None = None
    count: Node | None = None
    inits: list[Node] = field(default_factory=list)

    def running(self, carry: Sequence[Node], extra: Sequence[Node]) -> Node | None:
        """Whether a row still runs in a step that begins with `carry`; None where all do."""
        if self.declared.until is None:
            return None
        self.halted = ops.logical_or(extra[0], self._holds(carry))
        self.count = extra[1]
        return ops.logical_not(self.halted)

    def _holds(self, carry: Sequence[Node]) -> Node:
        declared = self.declared
        assert declared.until is not None
        label = f"scan {declared.name!r}: what until returns"
        given = declared.carry.rebuilt(list(carry))
        require_takes(
            f"scan {declared.name!r}: until is called with the carry", declared.until, (given,), declared.line
        )
        node = lift(label, ops.as_node, declared.until(given)).node
        if node.type.shape != ():
            raise ShapeError(f"{label} is one truth value a row, not of shape {node.type.shape}\n  at {declared.line}")
        if node.type.dtype != "bool":
            raise ModelError(f"{label} is a truth value, not {node.type.dtype}\n  at {declared.line}")
        return node

    def frozen(self, new: Sequence[Node], old: Sequence[Node]) -> list[Node]:
        """`new`, but `old` in rows that have stopped."""
        return [n if self.halted is None else _chosen(self.halted, o, n) for n, o in zip(new, old, strict=True)]

    def outs(self, marked: bool = False) -> list[Node]:
        """What the two carries become; a loop may end when all of a carry that is `marked` have stopped."""
        if self.halted is None or self.count is None:
            return []
        halted = stopped(self.halted) if marked else self.halted
        return [halted, ops.add(self.count, ops.cast(ops.logical_not(self.halted), "int"))]

    def cleared(self, node: Node) -> Node:
        """`node`, but 0 in rows that have stopped."""
        return node if self.halted is None else _chosen(self.halted, ops.zeros_like(node.type), node)

    def declare(self, context: Context, declared: Declared, last: Sequence[Node]) -> None:
        """Name what rows did, so that `program.sample` returns it."""
        if self.declared.until is None:
            return
        known = context.trace.sites.get(f"{declared.name}/steps")
        if known is not None and known.kind is SiteKind.DETERMINISTIC:
            raise ModelError(_twice(context, declared, known))
        ended = ops.logical_or(last[-2], self._holds(last[: len(declared.carry.leaves)]))
        for part, node in (("steps", last[-1]), ("stopped", ended)):
            name = f"{declared.name}/{part}" + "".join(loop.suffix for loop in context.loops)
            claim(context, name, declared.line)
            node = ops.expand(node, context.axes)
            site = Site(name, SiteKind.DETERMINISTIC, context.axes, declared.line, node=node, scan=context.scan)
            context.trace.sites[name] = site


def _twice(context: Context, declared: Declared, known: Site) -> str:
    """Why two loops that stop rows do not share a name."""
    lines = f"\n  first at {known.where}\n  again at {declared.line}"
    why = f"two loops with until are called {declared.name!r}: what tells when their rows stop would have one name"
    if not context.substitute:
        return f"{why}; name them with name={lines}"
    return (
        f"{why}. In a guide and its model, such loops need names of their own (name=), and no latents: rows have no "
        f"density after they stop. For sequences of different lengths, mask what is observed (obs_mask){lines}"
    )


def halting(declared: Declared) -> Halting:
    """The rows of a loop that stop early."""
    inits = [] if declared.until is None else [ops.const(np.bool_(False)), ops.const(0)]
    return Halting(declared, inits=inits)


def _chosen(condition: Node, a: Node, b: Node) -> Node:
    """`a` where a truth value a row holds, else `b`."""
    return ops.where(condition, ops.cast(a, b.type.dtype), b)
