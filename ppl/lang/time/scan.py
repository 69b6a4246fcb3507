"""`ppl.scan`: a loop over time whose step is traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.arguments import flag, integer, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.loop import Remat
from ppl.ir.node import Node
from ppl.ir.types import union_axes
from ppl.lang.context import Context, check_plates, require
from ppl.lang.source import user_line
from ppl.lang.time.declared import Declared, halting
from ppl.lang.time.record import Scan
from ppl.lang.time.trees import Tree, tree
from ppl.lang.time.unrolled import unrolled
from ppl.names import keywords

LONGEST = 2**31 - 1


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
    context, line = require("ppl.scan"), user_line()
    declared = _checked(context, step, init, xs, length, name, reverse, until, remat, line)
    if context.unrolls(declared.name):
        return unrolled(context, declared)
    return _looped(context, declared)


def _checked(context: Context, step: Any, init: Any, xs: Any, length: Any, name: Any, reverse: Any, until: Any,
             remat: Any, line: str) -> Declared:  # fmt: skip
    full = context.full_name(name)
    what = f"scan {full!r}"
    for role, value in (("step", step), ("until", until)):
        if not callable(value) and not (role == "until" and value is None):
            raise ModelError(f"{what}: {role} is a function, not {shown(value)}\n  at {line}")
    if not (remat is None or remat == "auto"):
        remat = integer(f"{what}: remat", remat, 1, error=ModelError)
    carry, slices = tree("carry", init), tree("xs", xs)
    for found in (carry, slices):
        for node, path in zip(found.leaves, found.paths, strict=True):
            check_plates(node, f"{what}: {path}")
        steps = _length(what, slices, length, line)
    turned = flag(f"{what}: reverse", reverse, ModelError)
    return Declared(full, step, carry, slices, steps, turned, until, remat, line)


def _length(what: str, xs: Tree, length: Any, line: str) -> int:
    lengths = {path: node.type.shape[:1] for path, node in zip(xs.paths, xs.leaves, strict=True)}
    scalars = [path for path, n in lengths.items() if not n]
    if scalars:
        raise ShapeError(f"{what}: {scalars[0]} is a scalar and has no slices\n  at {line}")
    known = {n[0] for n in lengths.values()}
    if length is not None:
        known.add(integer(f"{what}: length", length, 1, LONGEST, ModelError))
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


def _looped(context: Context, declared: Declared) -> tuple[Any, Any]:
    """Trace one step, and record the loop."""
    carry, line = declared.carry, declared.line
    found = Scan(declared.name, declared.length, declared.reverse, declared.remat, line, context.axes, context.scan)
    halts = halting(declared)
    inits = [*carry.leaves, *halts.inits]
    found.start([ops.expand(x, union_axes(context.axes, x.type.axes)) for x in inits])
    given, extra = list(found.carries[: len(carry.leaves)]), found.carries[len(carry.leaves) :]
    context.trace.scans.append(found)
    with context.stepping(found, halts.running(given, extra)):
        xs = [found.slice(x) for x in declared.xs.leaves]
        made, y = declared.call(context, given, xs, found.index)
    outs = [_kept(declared, path, new, old) for path, new, old in zip(carry.paths, made.leaves, given, strict=True)]
    outs = halts.frozen(outs, given) + halts.outs(marked=True)
    found.outs = tuple(ops.expand(new, old.type.axes) for new, old in zip(outs, found.carries, strict=True))
    last = [found.final(i) for i in range(len(found.outs))]
    stacks = [found.stacked(halts.cleared(node)) for node in y.leaves]
    halts.declare(context, declared, last)
    return carry.rebuilt(last[: len(carry.leaves)]), y.rebuilt(stacks)


def _kept(declared: Declared, path: str, new: Node, old: Node) -> Node:
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
