"""What the value of an expression on a part of the rows says about its value on all of them.

Process r of several holds the share w_r of the rows of the outermost plate that data open; shares add up to 1. It
runs the program as if its rows stood for all: factors `scale` are 1 / w_r of what they are on all rows, numbers of rows
w_r of it. So every expression is in one of these states:

PLAIN(d)   the same on all processes, or a function of single rows, up to the factor w_r^d
SUM(d)     the value on all rows is Σ_r w_r^d x_r
MEAN       the value on all rows is Σ_r w_r x_r: a SUM(1), and what is the same everywhere
NOTHING    0, or NaN where something is out of range: a sum of any degree
MIXED      another function of sums, which can be computed once these are known
COUPLED    rows read a sum over rows, or rows are combined by more than sums

An op that the rules do not know makes its result COUPLED.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ppl.ir.node import Node, topological
from ppl.ir.op_facts import FACTS, LINEAR, MARKERS, PARTS, PRODUCTS
from ppl.ir.types import Axis


class State(NamedTuple):
    """One of the states above, with its degree where it has one."""

    kind: str
    degree: int = 0


PLAIN, MEAN, NOTHING, MIXED, COUPLED = (State(k) for k in ("plain", "mean", "nothing", "mixed", "coupled"))
ADDITIVE = LINEAR | MARKERS
BILINEAR = {**dict.fromkeys(PRODUCTS, (0, 1)), **PARTS}
SUMMING = ("sum", "contract", "put")
LOCAL = ("plain", "nothing")
"""Kinds that an expression of single rows may have."""


class States(dict[Node, State]):
    """States by node, and those of the results of loops."""

    def __init__(self, plate: Axis, known: Mapping[Node, State] | None = None):
        super().__init__(known or {})
        self.plate = plate
        self.results: dict[Node, list[State]] = {}

    def find(self, outputs: Iterable[Node]) -> States:
        """Find the states of all nodes that `outputs` are computed from."""
        for node in topological(outputs, self):
            self[node] = self._state(node)
        return self

    def _state(self, node: Node) -> State:
        given, role = [self[a] for a in node.args], FACTS[node.op].role
        if COUPLED in given or role == "lowered":
            return COUPLED
        if role == "leaf":
            return self._leaf(node, given)
        if node.op == "loop":
            return self._loop(node, given)
        if node.op == "get":
            return self.results[node.args[0]][node.attrs["index"]]
        local = self.plate in node.type.axes
        if not local and any(self.plate in a.type.axes for a in node.args):
            return _reduced(node, given)
        if local and any(s.kind not in LOCAL for s in given):
            return COUPLED
        return _combined(node, given, local)

    def _leaf(self, node: Node, given: Sequence[State]) -> State:
        if any(s != PLAIN for s in given):
            return COUPLED
        if node.op == "const":
            value = node.attrs["value"].value
            return NOTHING if value.dtype.kind == "f" and bool(np.all((value == 0) | np.isnan(value))) else PLAIN
        if node.op in ("size", "scale") and node.attrs["axis"] == self.plate:
            return State("plain", 1 if node.op == "scale" else -1)
        return PLAIN

    def _loop(self, node: Node, given: Sequence[State]) -> State:
        """PLAIN, with the states of all results known, carries first; COUPLED where one of them is."""
        body = node.attrs["body"]
        count = len(body.carries)
        carries = list(given[:count])
        while True:
            arguments = dict(zip(body.args, [*carries, *given[count:]], strict=True))
            inside = States(self.plate, {body.index: PLAIN, **arguments}).find(body.computed)
            after = [
                added([old, inside[n]], self.plate in n.type.axes) for old, n in zip(carries, body.carries, strict=True)
            ]
            results = [*after, *(inside[y] for y in body.ys)]
            if COUPLED in results or (body.idle is not None and inside[body.idle] != PLAIN):
                return COUPLED
            if after == carries:
                self.results[node] = results
                return PLAIN
            carries = after


def _reduced(node: Node, given: Sequence[State]) -> State:
    """A result without the rows of its arguments."""
    if node.op not in SUMMING or any(s.kind not in LOCAL for s in given):
        return COUPLED
    if node.op == "put" and given[1] != PLAIN:
        return COUPLED
    return NOTHING if NOTHING in given else State("sum", sum(s.degree for s in given))


def _combined(node: Node, given: Sequence[State], local: bool) -> State:
    """A result of arguments that all have the rows of the plate, or all have not."""
    if all(s == PLAIN for s in given):
        return PLAIN
    to_steps = node.type.dtype != "float" and node.args[-1].type.dtype == "float"
    if to_steps:
        return _other(given, local)
    if node.op in PRODUCTS or node.op == "div":
        found = _product(*given) if node.op in PRODUCTS else _quotient(*given)
        return _other(given, local) if found is None else found
    places = range(len(given)) if node.op in ADDITIVE else BILINEAR.get(node.op, ())
    if places and all(s == PLAIN for i, s in enumerate(given) if i not in places):
        return added([given[i] for i in places], local)
    return _other(given, local)


def _other(given: Sequence[State], local: bool) -> State:
    """A function that is not linear."""
    if all(s in (PLAIN, NOTHING) for s in given):
        return PLAIN
    return COUPLED if local else MIXED


def _product(a: State, b: State) -> State | None:
    """A product; None where there is no rule for it."""
    if NOTHING in (a, b):
        return NOTHING
    if {a.kind, b.kind} <= {"plain", "sum"} and "plain" in (a.kind, b.kind):
        return State("sum" if "sum" in (a.kind, b.kind) else "plain", a.degree + b.degree)
    return MEAN if {a, b} == {PLAIN, MEAN} else None


def _quotient(a: State, b: State) -> State | None:
    return _product(a, State("plain", -b.degree)) if b.kind == "plain" else None


def added(given: Sequence[State], local: bool = False) -> State:
    """A linear function of all, or their common state where they are alternatives."""
    kinds = {s for s in given if s != NOTHING}
    if len(kinds) < 2:
        return kinds.pop() if kinds else NOTHING
    if COUPLED in kinds:
        return COUPLED
    if kinds <= {PLAIN, MEAN, State("sum", 1)} and not local:
        return MEAN
    return _other(given, local)
