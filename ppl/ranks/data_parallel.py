"""Divide a variant of a program into sums over the rows of each process, and what follows from these sums.

Process r of several holds the share w_r of the rows of the outermost plate that data open; shares add up to 1. It
runs the program as if its rows stood for all: factors `scale` are 1 / w_r of what they are on all rows, numbers of rows
w_r of it. So every expression is in one of these states:

PLAIN(d)   the same on all processes, or a function of single rows, up to the factor w_r^d
SUM(d)     the value on all rows is Σ_r w_r^d x_r
MEAN       the value on all rows is Σ_r w_r x_r: a SUM(1), and what is the same everywhere
NOTHING    0, or NaN where something is out of range: a sum of any degree
MIXED      another function of sums, which can be computed once these are known
COUPLED    rows read a sum over rows, or rows are combined by more than sums

An op that the rules do not know makes its result COUPLED. Losses, costs and gradients have to be MEAN. Auxiliary
variables may be other functions of sums: processes then compute the sums, and the variables once those are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ppl.compiler.surrogate.variants import ProgramVariant
from ppl.errors import EstimatorError
from ppl.ir.node import Node, make, substitute, topological
from ppl.ir.op_facts import FACTS, LINEAR, LINEAR_ARGUMENTS, MARKERS, PRODUCTS
from ppl.ir.types import PARTICLES, Axis
from ppl.records import dataclass


class RowDependence(NamedTuple):
    """One of the states above, with its degree where it has one."""

    kind: str
    degree: int = 0


PLAIN, MEAN, NOTHING, MIXED, COUPLED = (RowDependence(k) for k in ("plain", "mean", "nothing", "mixed", "coupled"))

ADDITIVE_OPS = LINEAR | MARKERS

BILINEAR_OPS = {**dict.fromkeys(PRODUCTS, (0, 1)), **LINEAR_ARGUMENTS}

SUMMING_OPS = ("sum", "contract", "put")

ROW_LOCAL_KINDS = ("plain", "nothing")
"""Kinds that an expression of single rows may have."""


class RowDependences(dict[Node, RowDependence]):
    """States by node, and those of the results of loops."""

    def __init__(self, plate: Axis, known: Mapping[Node, RowDependence] | None = None):
        super().__init__(known or {})
        self.plate = plate
        self.results: dict[Node, list[RowDependence]] = {}

    def find(self, outputs: Iterable[Node]) -> RowDependences:
        """Find the states of all nodes that `outputs` are computed from."""
        for node in topological(outputs, self):
            self[node] = self._state(node)
        return self

    def _state(self, node: Node) -> RowDependence:
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
            return _reduce_rows(node, given)
        if local and any(s.kind not in ROW_LOCAL_KINDS for s in given):
            return COUPLED
        return _combine_dependences(node, given, local)

    def _leaf(self, node: Node, given: Sequence[RowDependence]) -> RowDependence:
        if any(s != PLAIN for s in given):
            return COUPLED
        if node.op == "const":
            value = node.attrs["value"].value
            return NOTHING if value.dtype.kind == "f" and bool(np.all((value == 0) | np.isnan(value))) else PLAIN
        if node.op in ("size", "scale") and node.attrs["axis"] == self.plate:
            return RowDependence("plain", 1 if node.op == "scale" else -1)
        return PLAIN

    def _loop(self, node: Node, given: Sequence[RowDependence]) -> RowDependence:
        """PLAIN, with the states of all results known, carries first; COUPLED where one of them is."""
        body = node.attrs["body"]
        count = len(body.carries)
        carries = list(given[:count])
        while True:
            arguments = dict(zip(body.args, [*carries, *given[count:]], strict=True))
            inside = RowDependences(self.plate, {body.index: PLAIN, **arguments}).find(body.computed)
            after = [
                linear_combination([old, inside[n]], self.plate in n.type.axes)
                for old, n in zip(carries, body.carries, strict=True)
            ]
            results = [*after, *(inside[y] for y in body.ys)]
            if COUPLED in results or (body.idle is not None and inside[body.idle] != PLAIN):
                return COUPLED
            if after == carries:
                self.results[node] = results
                return PLAIN
            carries = after


def _reduce_rows(node: Node, given: Sequence[RowDependence]) -> RowDependence:
    """A result without the rows of its arguments."""
    if node.op not in SUMMING_OPS or any(s.kind not in ROW_LOCAL_KINDS for s in given):
        return COUPLED
    if node.op == "put" and given[1] != PLAIN:
        return COUPLED
    return NOTHING if NOTHING in given else RowDependence("sum", sum(s.degree for s in given))


def _combine_dependences(node: Node, given: Sequence[RowDependence], local: bool) -> RowDependence:
    """A result of arguments that all have the rows of the plate, or all have not."""
    if all(s == PLAIN for s in given):
        return PLAIN
    to_steps = node.type.dtype != "float" and node.args[-1].type.dtype == "float"
    if to_steps:
        return _nonlinear(given, local)
    if node.op in PRODUCTS or node.op == "div":
        found = _product(*given) if node.op in PRODUCTS else _quotient(*given)
        return _nonlinear(given, local) if found is None else found
    places = range(len(given)) if node.op in ADDITIVE_OPS else BILINEAR_OPS.get(node.op, ())
    if places and all(s == PLAIN for i, s in enumerate(given) if i not in places):
        return linear_combination([given[i] for i in places], local)
    return _nonlinear(given, local)


def _nonlinear(given: Sequence[RowDependence], local: bool) -> RowDependence:
    """A function that is not linear."""
    if all(s in (PLAIN, NOTHING) for s in given):
        return PLAIN
    return COUPLED if local else MIXED


def _product(a: RowDependence, b: RowDependence) -> RowDependence | None:
    """A product; None where there is no rule for it."""
    if NOTHING in (a, b):
        return NOTHING
    if {a.kind, b.kind} <= {"plain", "sum"} and "plain" in (a.kind, b.kind):
        return RowDependence("sum" if "sum" in (a.kind, b.kind) else "plain", a.degree + b.degree)
    return MEAN if {a, b} == {PLAIN, MEAN} else None


def _quotient(a: RowDependence, b: RowDependence) -> RowDependence | None:
    return _product(a, RowDependence("plain", -b.degree)) if b.kind == "plain" else None


def linear_combination(given: Sequence[RowDependence], local: bool = False) -> RowDependence:
    """A linear function of all, or their common state where they are alternatives."""
    kinds = {s for s in given if s != NOTHING}
    if len(kinds) < 2:
        return kinds.pop() if kinds else NOTHING
    if COUPLED in kinds:
        return COUPLED
    if kinds <= {PLAIN, MEAN, RowDependence("sum", 1)} and not local:
        return MEAN
    return _nonlinear(given, local)


SUM_PREFIX = "@sum/"
"""Prefix of the leaves that hold sums: parameters of the request, after the real ones."""

WEIGHTED_SUMS = (PLAIN, MEAN, NOTHING, RowDependence("sum", 1))


@dataclass(frozen=True)
class GradientPartition:
    """How to put together what processes find.

    Attributes
    ----------
    sums : what they compute besides, by name; empty where all results are weighted sums.
    degrees : the power of its share that every entry of `sums` is multiplied by before it is added up.
    aux : new auxiliary variables, computed from parameters named by `sums`; empty where there are no sums.
    """

    sums: Mapping[str, Node]
    degrees: Mapping[str, int]
    aux: Mapping[str, Node]


def partition_variant(variant: ProgramVariant, plate: Axis) -> GradientPartition:
    """Divide a gradient (or a value) for rows of `plate`.

    Raises
    ------
    EstimatorError
        A result is no sum over rows, nor a function of such sums.
    """
    states = RowDependences(plate).find(variant.outputs().values())
    for name, node in variant.scalars.items():
        if states[node] not in WEIGHTED_SUMS:
            _refuse_partition(f"its {_scalar_text(name)} is not a sum over {_axis_text(plate)}", plate)
    for name, node in variant.grads.items():
        if states[node] not in WEIGHTED_SUMS:
            _refuse_partition(f"its gradient in '{name}' is not a sum over {_axis_text(plate)}", plate)
    if all(states[node] in WEIGHTED_SUMS for node in variant.aux.values()):
        return GradientPartition({}, {}, {})
    cut: dict[Node, RowDependence] = {}
    for name, node in variant.aux.items():
        found = dict(_sums_below(node, states, plate))
        if COUPLED in found.values():
            _refuse_partition(f"what adapts '{name}' is no function of sums over {_axis_text(plate)}", plate)
        cut |= found
    names = {node: f"{SUM_PREFIX}{i}" for i, node in enumerate(cut)}
    leaves = {node: make("param", name=name, shape=node.type.shape) for node, name in names.items()}
    aux = substitute(list(variant.aux.values()), leaves)
    degrees = {names[node]: _share_degree(state) for node, state in cut.items()}
    return GradientPartition({n: node for node, n in names.items()}, degrees, dict(zip(variant.aux, aux, strict=True)))


def _axis_text(axis: Axis) -> str:
    return "particles" if axis == PARTICLES else f"rows of plate '{axis.name}'"


def _sums_below(node: Node, states: RowDependences, plate: Axis) -> Iterator[tuple[Node, RowDependence]]:
    """The largest parts of an expression that are sums over rows; COUPLED where a part is not made of such."""
    stack, done = [node], set()
    while stack:
        at = stack.pop()
        if at in done:
            continue
        done.add(at)
        state = states[at]
        if state == MEAN or state.kind == "sum" or (state == NOTHING and _reads_rows(at, plate)):
            yield at, state
        elif state == COUPLED or plate in at.type.axes or (at.op == "loop" and _reads_rows(at, plate, inside=True)):
            yield at, COUPLED
        elif state == PLAIN and at.args and _reads_data(at):
            yield at, MEAN
        else:
            stack.extend(at.args)


def _reads_rows(node: Node, plate: Axis, inside: bool = False) -> bool:
    """Whether rows of the plate enter a value; `inside`: the turns of a loop."""
    outputs = node.attrs["body"].computed if inside else [node]
    return any(
        plate in n.type.axes or (n.op == "loop" and _reads_rows(n, plate, inside=True)) for n in topological(outputs)
    )


def _reads_data(node: Node) -> bool:
    """Whether data, or rows of another plate, enter a value that is the same on all processes."""
    return any(n.op in ("input", "loop") or any(a.size is None for a in n.type.axes) for n in topological([node]))


def _share_degree(state: RowDependence) -> int:
    return 1 if state == MEAN else state.degree


def _scalar_text(scalar: str) -> str:
    return "loss" if scalar == "loss" else f"cost '{scalar.removeprefix('cost ')}'"


def _refuse_partition(what: str, axis: Axis) -> None:
    one = "particle" if axis == PARTICLES else "row"
    raise EstimatorError(
        f"program.on: the {one}s of this program cannot be shared out among processes: {what}, but {one}s are combined "
        f"in another way. Train it in one process, or with estimators that treat {one}s one by one"
    )
