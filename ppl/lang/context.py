"""The tracing context of this thread: the trace being filled, open plates, scopes and loops, and values that replace
sites."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang.loops import Scan, UnrolledStep, scan_of
from ppl.lang.source import user_line
from ppl.lang.trace import Site, Trace
from ppl.records import dataclass

_thread_state = threading.local()

MIN_SKETCH_STEPS = 3
"""Steps of a loop that a sketch writes out at least: one before and one after what a carry hands on to itself."""


SYMBOLIC_TEXT = re.compile(r"(Value\((float|int|bool)\[|Argument\(')")
"""How the text of a symbolic value begins."""


def require_valid_name(name: Any) -> None:
    """Raise a ModelError unless `name` is a name: a string that is not empty and has no symbolic value's text in it."""
    if not isinstance(name, str) or not name:
        raise ModelError(f"a name is a non-empty string, not {shown(name)}\n  at {user_line()}")
    if SYMBOLIC_TEXT.search(name):
        raise ModelError(
            f"the name {shown(name)} is made with a symbolic value, which has no number while the model is traced, so "
            "that one name would stand for all of its values: use a Python loop for a name each, or one node or "
            f"parameter with an axis, p[t], for all of them\n  at {user_line()}"
        )


@dataclass(frozen=True)
class UnrollPolicy:
    """Loops over time that a trace writes out instead of holding them as loops.

    `names` are those that it writes out whole, None for all; with `counts` it writes out so many steps of every loop,
    by name and line, each of which stands for any step (a sketch).
    """

    names: frozenset[str] | None = frozenset()
    counts: Mapping[tuple[str, str], int] | None = None


@dataclass(frozen=True, eq=False)
class GivenValue:
    """A value that `ppl.condition` or `ppl.do` gives to a site; `what` is which of them."""

    what: str
    value: np.ndarray


@dataclass(eq=False)
class Context:
    """State of one running trace.

    `substitute` maps a latent's name to the guide's site whose value stands in for it (see `ppl.elbo`);
    `importance` is the axis of the samples that a multi-sample bound gives every node (see `ppl.iwae`). `loops` are the
    loops over time that are open, `running` says for each whether a row still runs (None where all do). `given` are
    values of sites by name, without numbers of steps.
    """

    trace: Trace
    plates: list[Axis] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    substitute: Mapping[str, Site] = field(default_factory=dict)
    allow_obs: bool = True
    importance: Axis | None = None
    loops: list[Scan | UnrolledStep] = field(default_factory=list)
    running: list[Node | None] = field(default_factory=list)
    given: Mapping[str, GivenValue] = field(default_factory=dict)
    unroll_policy: UnrollPolicy = field(default_factory=lambda: getattr(_thread_state, "written", UnrollPolicy()))

    def full_name(self, name: str) -> str:
        """`name` with the open scopes before it."""
        require_valid_name(name)
        return "/".join((*self.scopes, name))

    def node_name(self, name: str) -> str:
        """`full_name`, with the numbers of the steps of loops that are written out."""
        return self.full_name(name) + "".join(loop.suffix for loop in self.loops)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The open plates, outermost first, then the importance axis."""
        return (*self.plates, *(() if self.importance is None else (self.importance,)))

    @property
    def scan(self) -> Scan | None:
        """The innermost open loop over time."""
        return next((loop for loop in reversed(self.loops) if isinstance(loop, Scan)), None)

    @property
    def times(self) -> tuple[Node, ...]:
        """The numbers of the steps of all open loops, the outermost first."""
        return tuple(loop.index for loop in self.loops)

    @property
    def active(self) -> Node | None:
        """Whether a row still runs in all open loops; None where no loop stops rows."""
        found: Node | None = None
        for node in self.running:
            if node is not None:
                found = node if found is None else ops.logical_and(found, node)
        return found

    def unrolls(self, name: str) -> bool:
        """Whether the loop `name` is written out."""
        written = self.unroll_policy
        return written.counts is not None or written.names is None or name in written.names

    def sketch_length(self, name: str, line: str) -> int | None:
        """How many steps of a loop a sketch writes out; None where the trace is no sketch."""
        return (
            None if self.unroll_policy.counts is None else self.unroll_policy.counts.get((name, line), MIN_SKETCH_STEPS)
        )

    @contextmanager
    def tracing_step(self, loop: Scan | UnrolledStep, running: Node | None) -> Iterator[None]:
        """Trace a step of `loop`."""
        self.loops.append(loop)
        self.running.append(running)
        try:
            yield
        finally:
            self.loops.pop()
            self.running.pop()


def current_context() -> Context | None:
    """The innermost running trace of this thread, or None."""
    stack = getattr(_thread_state, "stack", None)
    return stack[-1] if stack else None


def require_context(what: str) -> Context:
    """The running trace, or a ModelError saying that `what` belongs inside a model."""
    context = current_context()
    if context is None:
        raise ModelError(
            f"{what} was called outside a model: call it in a function decorated with @ppl.model and hand "
            f"that to ppl.compile\n  at {user_line()}"
        )
    return context


@contextmanager
def activate(context: Context) -> Iterator[Context]:
    """Make `context` the running trace of this thread."""
    if not hasattr(_thread_state, "stack"):
        _thread_state.stack = []
    _thread_state.stack.append(context)
    try:
        yield context
    finally:
        _thread_state.stack.pop()


def require_open_plates(axes: tuple[Axis, ...], what: str = "a value") -> None:
    """Raise a ModelError if `axes` has a plate that is not open in the running trace."""
    context = current_context()
    if context is None:
        return
    for axis in axes:
        if axis.kind is Kind.PLATE and axis not in context.axes:
            opened = ", ".join(repr(a.name) for a in context.plates) or "none"
            hint = (
                f"ppl.collect(value, {axis.name!r}) turns it into an event axis"
                if axis.size is not None
                else "move the line into the plate"
            )
            raise ModelError(
                f"{what} of plate {axis.name!r} is used outside it (open plates: {opened}); {hint}\n  at {user_line()}"
            )


@contextmanager
def unrolling(written: UnrollPolicy) -> Iterator[None]:
    """Traces of this thread write out loops over time as `written` says."""
    before = getattr(_thread_state, "written", UnrollPolicy())
    _thread_state.written = written
    try:
        yield
    finally:
        _thread_state.written = before


def require_in_scope(node: Node, what: str) -> Node:
    """`node`, if all of its plates, and the step of a loop that it belongs to, are open."""
    require_open_plates(node.type.axes, what)
    context, scan = current_context(), scan_of(node)
    if context is not None and scan is not None and scan not in context.loops:
        raise ModelError(
            f"{what} belongs to a step of the loop {scan.name!r} and is used outside of it: hand it out through the "
            f"carry, or as what step returns\n  loop at {scan.where}\n  used at {user_line()}"
        )
    return node
