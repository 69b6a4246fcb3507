"""`ppl.scan`: a loop over time, as a loop whose step is traced once, or unrolled.

A program is unrolled where an estimator needs branches or states of its own for every step. A sketch unrolls a few
steps that stand for any: every step begins with carries of which nothing is known but what they depend on, so that what
the analyses find in the sketch holds in all steps."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import flag, integer, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.loop import Remat, mark_stopped
from ppl.ir.node import Node, topological
from ppl.ir.types import Type, union_axes
from ppl.lang.context import MIN_SKETCH_STEPS, Context, require_context, require_in_scope
from ppl.lang.loops import Scan, UnrolledStep, arbitrary_carry, arbitrary_step_number
from ppl.lang.sites import require_free_name
from ppl.lang.source import user_line
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.lang.value import Value, lift
from ppl.names import keywords
from ppl.records import dataclass


class NestedValues(NamedTuple):
    """Nested values as `leaves`; `paths` say where each stands, `shape` rebuilds the nesting."""

    leaves: list[Node]
    paths: list[str]
    shape: Any

    def unflatten(self, leaves: list[Node]) -> Any:
        """The same nesting of other values."""
        return _unflatten(self.shape, iter(leaves))

    def in_order_of(self, other: NestedValues) -> NestedValues:
        """The same values in the order of `other`, where only entries of dicts come in another one."""
        if self.paths == other.paths or sorted(self.paths) != sorted(other.paths):
            return self
        at = dict(zip(self.paths, self.leaves, strict=True))
        return NestedValues([at[path] for path in other.paths], other.paths, other.shape)


def flatten_nested(what: str, value: Any) -> NestedValues:
    """`value` taken apart; every leaf is an array, a number or a symbolic value."""
    leaves: list[Node] = []
    paths: list[str] = []

    def visit(x: Any, path: str) -> Any:
        if x is None:
            return None
        if isinstance(x, Mapping):
            return {k: visit(v, f"{path}[{k!r}]") for k, v in x.items()}
        if isinstance(x, (tuple, list)):
            items = [visit(v, f"{path}[{i}]") for i, v in enumerate(x)]
            return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
        leaves.append(lift(path, ops.as_node, x).node)
        paths.append(path)
        return _LEAF_MARK

    shape = visit(value, what)
    return NestedValues(leaves, paths, shape)


_LEAF_MARK = object()


def _unflatten(shape: Any, leaves: Any) -> Any:
    if shape is _LEAF_MARK:
        return Value(next(leaves))
    if isinstance(shape, dict):
        return {k: _unflatten(v, leaves) for k, v in shape.items()}
    if isinstance(shape, (tuple, list)):
        items = [_unflatten(v, leaves) for v in shape]
        return type(shape)(*items) if hasattr(shape, "_fields") else type(shape)(items)
    return None


def require_same_nesting(first: NestedValues, second: NestedValues, line: str) -> None:
    """Raise a ModelError unless a carry keeps its nesting."""
    if first.paths != second.paths:
        raise ModelError(
            f"scan: the carry starts as {_list_paths(first)} and step returns {_list_paths(second)}\n  at {line}"
        )


def _list_paths(found: NestedValues) -> str:
    return ", ".join(found.paths) or "nothing"


def require_accepts(what: str, function: Callable[..., Any], given: Sequence[Any], line: str) -> None:
    """Raise a ModelError unless a user's function takes these arguments."""
    with contextlib.suppress(ValueError):  # no signature to ask
        try:
            inspect.signature(function).bind(*given)
        except TypeError as error:
            name = getattr(function, "__name__", type(function).__name__)
            raise ModelError(f"{what}, which {name} does not take: {error}\n  at {line}") from None


@dataclass(frozen=True, eq=False)
class ScanCall:
    """A call of `ppl.scan`, its arguments checked."""

    name: str
    step: Callable[[Any, Any], Any]
    carry: NestedValues
    xs: NestedValues
    length: int
    reverse: bool
    until: Callable[[Any], Any] | None
    remat: Remat
    line: str

    def trace_step(
        self, context: Context, carry: Sequence[Node], xs: Sequence[Node], index: Node
    ) -> tuple[NestedValues, NestedValues]:
        """The next carry and the result of one step."""
        x = self.xs.unflatten(list(xs)) if self.xs.leaves else Value(index)
        given = self.carry.unflatten(list(carry)), x
        require_accepts(f"scan {self.name!r}: step is called with the carry and a slice", self.step, given, self.line)
        found = self.step(*given)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ModelError(f"scan {self.name!r}: step returns (carry, y); y may be None\n  at {self.line}")
        new, y = flatten_nested("carry", found[0]).in_order_of(self.carry), flatten_nested("y", found[1])
        require_same_nesting(self.carry, new, self.line)
        for node, path in zip((*new.leaves, *y.leaves), (*new.paths, *y.paths), strict=True):
            require_in_scope(node, f"scan {self.name!r}: {path}")
        return new, y


@dataclass(eq=False)
class RowHalting:
    """Rows that stop: two more carries, whether a row has stopped and its number of steps. Nothing without `until`."""

    declared: ScanCall
    halted: Node | None = None
    count: Node | None = None
    inits: list[Node] = field(default_factory=list)

    def running_rows(self, carry: Sequence[Node], extra: Sequence[Node]) -> Node | None:
        """Whether a row still runs in a step that begins with `carry`; None where all do."""
        if self.declared.until is None:
            return None
        self.halted = ops.logical_or(extra[0], self._until_holds(carry))
        self.count = extra[1]
        return ops.logical_not(self.halted)

    def _until_holds(self, carry: Sequence[Node]) -> Node:
        declared = self.declared
        assert declared.until is not None
        label = f"scan {declared.name!r}: what until returns"
        given = declared.carry.unflatten(list(carry))
        require_accepts(
            f"scan {declared.name!r}: until is called with the carry", declared.until, (given,), declared.line
        )
        node = lift(label, ops.as_node, declared.until(given)).node
        if node.type.shape != ():
            raise ShapeError(f"{label} is one truth value a row, not of shape {node.type.shape}\n  at {declared.line}")
        if node.type.dtype != "bool":
            raise ModelError(f"{label} is a truth value, not {node.type.dtype}\n  at {declared.line}")
        return node

    def freeze(self, new: Sequence[Node], old: Sequence[Node]) -> list[Node]:
        """`new`, but `old` in rows that have stopped."""
        return [n if self.halted is None else _select(self.halted, o, n) for n, o in zip(new, old, strict=True)]

    def carry_updates(self, marked: bool = False) -> list[Node]:
        """What the two carries become; a loop may end when all of a carry that is `marked` have stopped."""
        if self.halted is None or self.count is None:
            return []
        halted = mark_stopped(self.halted) if marked else self.halted
        return [halted, ops.add(self.count, ops.cast(ops.logical_not(self.halted), "int"))]

    def zero_where_halted(self, node: Node) -> Node:
        """`node`, but 0 in rows that have stopped."""
        return node if self.halted is None else _select(self.halted, ops.zeros_like(node.type), node)

    def declare_sites(self, context: Context, declared: ScanCall, last: Sequence[Node]) -> None:
        """Name what rows did, so that `program.sample` returns it."""
        if self.declared.until is None:
            return
        known = context.trace.sites.get(f"{declared.name}/steps")
        if known is not None and known.kind is SiteKind.DETERMINISTIC:
            raise ModelError(_duplicate_name_message(context, declared, known))
        ended = ops.logical_or(last[-2], self._until_holds(last[: len(declared.carry.leaves)]))
        for part, node in (("steps", last[-1]), ("stopped", ended)):
            name = f"{declared.name}/{part}" + "".join(loop.suffix for loop in context.loops)
            require_free_name(context, name, declared.line)
            node = ops.expand(node, context.axes)
            site = Site(name, SiteKind.DETERMINISTIC, context.axes, declared.line, node=node, scan=context.scan)
            context.trace.sites[name] = site


def _duplicate_name_message(context: Context, declared: ScanCall, known: Site) -> str:
    """Why two loops that stop rows do not share a name."""
    lines = f"\n  first at {known.where}\n  again at {declared.line}"
    why = f"two loops with until are called {declared.name!r}: what tells when their rows stop would have one name"
    if not context.substitute:
        return f"{why}; name them with name={lines}"
    return (
        f"{why}. In a guide and its model, such loops need names of their own (name=), and no latents: rows have no "
        f"density after they stop. For sequences of different lengths, mask what is observed (obs_mask){lines}"
    )


def make_row_halting(declared: ScanCall) -> RowHalting:
    """The rows of a loop that stop early."""
    inits = [] if declared.until is None else [ops.const(np.bool_(False)), ops.const(0)]
    return RowHalting(declared, inits=inits)


def _select(condition: Node, a: Node, b: Node) -> Node:
    """`a` where a truth value a row holds, else `b`."""
    return ops.where(condition, ops.cast(a, b.type.dtype), b)


def unroll(context: Context, declared: ScanCall) -> tuple[Any, Any]:
    """The loop step by step."""
    sketch_length = context.sketch_length(declared.name, declared.line)
    length = declared.length if sketch_length is None else min(declared.length, sketch_length)
    halts = make_row_halting(declared)
    carry = [ops.expand(x, union_axes(context.axes, x.type.axes)) for x in (*declared.carry.leaves, *halts.inits)]
    stacks: list[list[Node]] = []
    own = len(declared.carry.leaves)
    shape = None
    for number in reversed(range(length)) if declared.reverse else range(length):
        if sketch_length is not None:
            carry = [arbitrary_carry(x) for x in carry]
        index = ops.const(number) if sketch_length is None else arbitrary_step_number(declared.length)
        given, extra = carry[:own], carry[own:]
        unrolled_step = UnrolledStep(index, number, declared.length)
        with context.tracing_step(unrolled_step, halts.running_rows(given, extra)):
            xs = [unrolled_step.slice(x) for x in declared.xs.leaves]
            new_carry, shape = declared.trace_step(context, given, xs, index)
        outs = halts.freeze([ops.cast(n, o.type.dtype) for n, o in zip(new_carry.leaves, given, strict=True)], given)
        carry = [ops.expand(n, o.type.axes) for n, o in zip(outs + halts.carry_updates(), carry, strict=True)]
        stacks.append([halts.zero_where_halted(y) for y in shape.leaves])
    if sketch_length is not None:
        carry = [arbitrary_carry(x) for x in carry]
    stacks = stacks[::-1] if declared.reverse else stacks
    assert shape is not None
    results = [_stack_results(values, declared.length) for values in zip(*stacks, strict=True)]
    halts.declare_sites(context, declared, carry)
    return declared.carry.unflatten(carry[:own]), shape.unflatten(results)


def _stack_results(values: tuple[Node, ...], length: int) -> Node:
    """The results of all steps; the last one that was written out stands for those that were not."""
    axes = union_axes(*(v.type.axes for v in values))
    pieces = []
    for i, value in enumerate(values):
        t: Type = value.type
        count = 1 if i < len(values) - 1 else length - len(values) + 1
        piece = ops.reshape(ops.expand(value, axes), (1, *t.shape))
        pieces.append(ops.expand(piece, axes, (count, *t.shape)))
    return ops.concat(pieces)


MOST_STEPS = 2**31 - 1


@keywords
def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    name: str = "time",
    reverse: bool = False,
    until: Callable[[Any], Any] | None = None,
    remat: Remat = "auto",
) -> tuple[Any, Any]:
    """A loop over time: ``carry, y = step(carry, x)`` for every slice of `xs`, compiled as a loop.

    `step` runs once when the model is traced, so that compile time does not depend on the length. Inside it may be
    random nodes, observations, costs, factors, plates of fixed size and further loops; parameters are shared over the
    steps. A cost of step t counts for the nodes of steps up to t, so score functions weigh costs to go.

    Parameters
    ----------
    step : called as `step(carry, x)`; returns the next carry, of the same nesting, shapes and dtypes, and a result or
        None.
    init : the first carry: an array, a number, or tuples and dicts of these. A float carry starts with a float.
    xs : arrays, or tuples and dicts of arrays, whose leading event axis is time; without it x is the step's number.
    length : number of steps; needed where `xs` is None.
    name : of the loop, in messages.
    reverse : whether the last slice comes first. Results stay in the order of `xs`.
    until : maps a carry to a truth value a row. A row for which it holds is frozen: its carry stays, costs no longer
        count, results and sites are 0. The graph counts it as a jump. `program.sample` returns `name/steps`, the number
        of steps that each row took, and `name/stopped`.
    remat : how reverse mode keeps memory down: "auto" stores the carry of every √T-th step where all would be too much,
        None stores all, a number every so many steps. Losses are the same, and gradients up
        to rounding.

    Returns
    -------
    (carry, results)
        The last carry, and the results of all steps with a leading axis of time.

    Raises
    ------
    ModelError
        Outside a model, `step` returns no pair, or the carry changes its nesting or dtype.
    ShapeError
        Slices have other lengths than `length`, or the carry changes its shape.
    """
    context, line = require_context("ppl.scan"), user_line()
    declared = _check_call(context, step, init, xs, length, name, reverse, until, remat, line)
    if context.unrolls(declared.name):
        return unroll(context, declared)
    return _trace_loop(context, declared)


def _check_call(context: Context, step: Any, init: Any, xs: Any, length: Any, name: Any, reverse: Any, until: Any,
             remat: Any, line: str) -> ScanCall:  # fmt: skip
    full = context.full_name(name)
    what = f"scan {full!r}"
    for role, value in (("step", step), ("until", until)):
        if not callable(value) and not (role == "until" and value is None):
            raise ModelError(f"{what}: {role} is a function, not {shown(value)}\n  at {line}")
    if not (remat is None or remat == "auto"):
        remat = integer(f"{what}: remat", remat, 1, error=ModelError)
    carry, slices = flatten_nested("carry", init), flatten_nested("xs", xs)
    for found in (carry, slices):
        for node, path in zip(found.leaves, found.paths, strict=True):
            require_in_scope(node, f"{what}: {path}")
        steps = _step_count(what, slices, length, line)
    reversed_order = flag(f"{what}: reverse", reverse, ModelError)
    return ScanCall(full, step, carry, slices, steps, reversed_order, until, remat, line)


def _step_count(what: str, xs: NestedValues, length: Any, line: str) -> int:
    lengths = {path: node.type.shape[:1] for path, node in zip(xs.paths, xs.leaves, strict=True)}
    scalars = [path for path, n in lengths.items() if not n]
    if scalars:
        raise ShapeError(f"{what}: {scalars[0]} is a scalar and has no slices\n  at {line}")
    known = {n[0] for n in lengths.values()}
    if length is not None:
        known.add(integer(f"{what}: length", length, 1, MOST_STEPS, ModelError))
    if not known:
        raise ModelError(f"{what} needs xs, or length=\n  at {line}")
    if len(known) > 1:
        listed = ", ".join(f"{path}: {n[0]}" for path, n in lengths.items())
        given = f", length={length}" if length is not None else ""
        raise ShapeError(f"{what}: lengths differ ({listed}{given})\n  at {line}")
    (steps,) = known
    if steps < 1:
        raise ShapeError(f"{what} has no steps\n  at {line}")
    return steps


def _trace_loop(context: Context, declared: ScanCall) -> tuple[Any, Any]:
    """Trace one step, and record the loop."""
    carry, line = declared.carry, declared.line
    found = Scan(declared.name, declared.length, declared.reverse, declared.remat, line, context.axes, context.scan)
    halts = make_row_halting(declared)
    inits = [*carry.leaves, *halts.inits]
    found.make_carries([ops.expand(x, union_axes(context.axes, x.type.axes)) for x in inits])
    given, extra = list(found.carries[: len(carry.leaves)]), found.carries[len(carry.leaves) :]
    context.trace.scans.append(found)
    with context.tracing_step(found, halts.running_rows(given, extra)):
        xs = [found.slice(x) for x in declared.xs.leaves]
        new_carry, y = declared.trace_step(context, given, xs, found.index)
    outs = [
        _check_carry(declared, path, new, old)
        for path, new, old in zip(carry.paths, new_carry.leaves, given, strict=True)
    ]
    outs = halts.freeze(outs, given) + halts.carry_updates(marked=True)
    found.outs = tuple(ops.expand(new, old.type.axes) for new, old in zip(outs, found.carries, strict=True))
    last = [found.final(i) for i in range(len(found.outs))]
    stacks = [found.stacked(halts.zero_where_halted(node)) for node in y.leaves]
    halts.declare_sites(context, declared, last)
    return carry.unflatten(last[: len(carry.leaves)]), y.unflatten(stacks)


def _check_carry(declared: ScanCall, path: str, new: Node, old: Node) -> Node:
    """What a carry becomes, if it is of its type."""
    what = f"scan {declared.name!r}: {path}"
    if new.type.shape != old.type.shape:
        raise ShapeError(f"{what} has shape {old.type.shape} and becomes {new.type.shape}\n  at {declared.line}")
    if new.type.dtype != old.type.dtype:
        hint = "; begin with a float" if (old.type.dtype, new.type.dtype) == ("int", "float") else ""
        if (old.type.dtype, new.type.dtype) != ("float", "int"):
            raise ModelError(f"{what} is {old.type.dtype} and becomes {new.type.dtype}{hint}\n  at {declared.line}")
        new = ops.cast(new, "float")
    inner = [a.name for a in new.type.axes if a not in old.type.axes]
    if inner:
        raise ModelError(
            f"{what} becomes a value of plate {inner[0]!r}, which step opens: ppl.collect(value, {inner[0]!r}) turns "
            f"it into an event axis\n  at {declared.line}"
        )
    return new


def sketch_lengths(trace: Trace) -> dict[tuple[str, str], int]:
    """Steps of each loop of a trace, by its name and line.

    A way from a node to a cost enters a carry, goes round, takes one edge between two carries, and goes round to the
    carry that the cost reads: that takes twice the longest detour between two carries.
    """
    found: dict[tuple[str, str], int] = {}
    for scan in trace.scans:
        key = scan.name, scan.where
        found[key] = max(found.get(key, MIN_SKETCH_STEPS), 2 * _longest_carry_path(scan) + MIN_SKETCH_STEPS)
    return found


def _longest_carry_path(scan: Scan) -> int:
    """The largest number of steps that one carry takes to reach another one, over those that it reaches."""
    feeds = []
    for out in scan.outs:
        above = set(topological([out]))
        feeds.append({i for i, carry in enumerate(scan.carries) if carry in above})
    longest = 0
    for start in range(len(scan.carries)):
        reached, frontier, steps = {start}, {start}, 0
        while frontier:
            frontier = {i for i, sources in enumerate(feeds) if sources & frontier} - reached
            steps += bool(frontier)
            reached |= frontier
        longest = max(longest, steps)
    return longest
