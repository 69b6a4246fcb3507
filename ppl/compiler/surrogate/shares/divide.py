"""A variant of a program, divided into what processes compute on their rows and what follows from the sums of that.

Losses, costs and gradients have to be MEAN (`states`): the weighted sum of what processes find. Auxiliary variables may
be other functions of sums (a step of Adam in η): then processes compute the sums instead, and the variables are
computed once those are known. What is neither is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ppl.compiler.surrogate.shares.states import COUPLED, MEAN, NOTHING, PLAIN, State, States
from ppl.compiler.surrogate.variants import Variant
from ppl.errors import EstimatorError
from ppl.ir.node import Node, make, substitute, topological
from ppl.ir.types import PARTICLES, Axis
from ppl.records import dataclass

SUMMED = "@sum/"
"""Prefix of the leaves that hold sums: parameters of the request, after the real ones."""
AVERAGED = (PLAIN, MEAN, NOTHING, State("sum", 1))


@dataclass(frozen=True)
class Division:
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


def divide(variant: Variant, plate: Axis) -> Division:
    """Divide a gradient (or a value) for rows of `plate`.

    Raises
    ------
    EstimatorError
        A result is no sum over rows, nor a function of such sums.
    """
    states = States(plate).find(variant.outputs().values())
    for name, node in variant.scalars.items():
        if states[node] not in AVERAGED:
            _refuse(f"its {_called(name)} is not a sum over {_of(plate)}", plate)
    for name, node in variant.grads.items():
        if states[node] not in AVERAGED:
            _refuse(f"its gradient in '{name}' is not a sum over {_of(plate)}", plate)
    if all(states[node] in AVERAGED for node in variant.aux.values()):
        return Division({}, {}, {})
    cut: dict[Node, State] = {}
    for name, node in variant.aux.items():
        found = dict(_sums_below(node, states, plate))
        if COUPLED in found.values():
            _refuse(f"what adapts '{name}' is no function of sums over {_of(plate)}", plate)
        cut |= found
    names = {node: f"{SUMMED}{i}" for i, node in enumerate(cut)}
    leaves = {node: make("param", name=name, shape=node.type.shape) for node, name in names.items()}
    aux = substitute(list(variant.aux.values()), leaves)
    degrees = {names[node]: _degree(state) for node, state in cut.items()}
    return Division({n: node for node, n in names.items()}, degrees, dict(zip(variant.aux, aux, strict=True)))


def _of(axis: Axis) -> str:
    return "particles" if axis == PARTICLES else f"rows of plate '{axis.name}'"


def _sums_below(node: Node, states: States, plate: Axis) -> Iterator[tuple[Node, State]]:
    """The largest parts of an expression that are sums over rows; COUPLED where a part is not made of such."""
    stack, done = [node], set()
    while stack:
        at = stack.pop()
        if at in done:
            continue
        done.add(at)
        state = states[at]
        if state == MEAN or state.kind == "sum" or (state == NOTHING and _reads(at, plate)):
            yield at, state
        elif state == COUPLED or plate in at.type.axes or (at.op == "loop" and _reads(at, plate, inside=True)):
            yield at, COUPLED
        elif state == PLAIN and at.args and _given(at):
            yield at, MEAN
        else:
            stack.extend(at.args)


def _reads(node: Node, plate: Axis, inside: bool = False) -> bool:
    """Whether rows of the plate enter a value; `inside`: the turns of a loop."""
    outputs = node.attrs["body"].computed if inside else [node]
    return any(plate in n.type.axes or (n.op == "loop" and _reads(n, plate, inside=True)) for n in topological(outputs))


def _given(node: Node) -> bool:
    """Whether data, or rows of another plate, enter a value that is the same on all processes."""
    return any(n.op in ("input", "loop") or any(a.size is None for a in n.type.axes) for n in topological([node]))


def _degree(state: State) -> int:
    return 1 if state == MEAN else state.degree


def _called(scalar: str) -> str:
    return "loss" if scalar == "loss" else f"cost '{scalar.removeprefix('cost ')}'"


def _refuse(what: str, axis: Axis) -> None:
    one = "particle" if axis == PARTICLES else "row"
    raise EstimatorError(
        f"comm=: the {one}s of this program cannot be shared out among processes: {what}, but {one}s are combined in "
        f"another way. Train it in one process, or with estimators that treat {one}s one by one"
    )
