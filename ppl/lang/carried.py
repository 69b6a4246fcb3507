"""Values that the state keeps from step to step of training: `ppl.carried` reads one, `ppl.carry` sets the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl.errors import EstimatorError, ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import make, topological
from ppl.ir.types import Axis, Kind
from ppl.lang.context import Context, require_context
from ppl.lang.params import declared_shape, evaluate_init
from ppl.lang.sites import refuse_missing, require_free_name
from ppl.lang.source import user_line
from ppl.lang.trace import Carried, Trace
from ppl.lang.value import Value, lift


def carried(name: str, init: Any, shape: int | Sequence[int] | None = None) -> Value:
    """A value that the state keeps from step to step, such as persistent Markov chains.

    It is a constant to derivatives. `program.step`, `update` and `ppl.fit` replace it by what `ppl.carry` says;
    `value`, `value_and_grad` and `sample` only read it. It is in `state.aux` under its name, and so in checkpoints.
    A plate opened over it, of fixed length, makes its leading axis conditionally independent rows.

    Parameters
    ----------
    name : unique among nodes; scopes go before it.
    init : what training starts from: a number, an array, or a function of (rng, shape) such as one of `ppl.init`.
    shape : event shape; by default that of `init`.

    Raises
    ------
    ModelError
        The name is taken, or `init` is not finite.
    ShapeError
        `init` does not fit `shape`.
    """
    context = require_context("ppl.carried")
    full, line = context.full_name(name), user_line()
    _require_outside_loops(context, "carried", full, line)
    require_free_name(context, full, line)
    wanted = declared_shape(f"carried {full!r}", init, shape, line)
    if not callable(init):
        evaluate_init(f"carried {full!r}", full, init, wanted, 0, line)
    node = make("aux", name=full, shape=wanted)
    context.trace.carried[full] = Carried(full, wanted, init, node, line)
    return Value(node)


def carry(name: str, value: Any) -> None:
    """Set the value that `ppl.carried(name, ...)` has in the next step.

    It is computed from true samples on this step's noise, whatever estimators the nodes have: from those that
    `program.sample` draws with the same seed and step (up to the last bit, which two compiled programs may round
    differently). No derivative passes.

    Parameters
    ----------
    name : as in `ppl.carried`, under the same scopes.
    value : floats or truth values of the same shape, outside all plates (`ppl.collect` turns a plate of fixed length
        back into a leading axis).

    Raises
    ------
    ModelError
        There is no carried value of that name, it is carried twice, or `value` has plates or is an integer.
    ShapeError
        `value` has another shape.
    """
    context = require_context("ppl.carry")
    full, line = context.full_name(name), user_line()
    _require_outside_loops(context, "carry", full, line)
    known = context.trace.carried.get(full)
    if known is None:
        names = ", ".join(map(repr, context.trace.carried)) or "none"
        raise ModelError(f"carry: there is no carried value {full!r} (there are: {names})\n  at {line}")
    if known.next is not None:
        raise ModelError(f"{full!r} is carried twice\n  first at {known.next_where}\n  again at {line}")
    node = lift(f"carry {full!r}", ops.as_node, value).node
    refuse_missing(context.trace, [node], f"carry {full!r}", line)
    for axis in node.type.axes:
        raise ModelError(
            f"carry {full!r}: the value varies over plate {axis.name!r}; {_plate_remedy(axis)}\n  at {line}"
        )
    if node.type.dtype == "int":
        raise ModelError(f"carry {full!r}: the state keeps floats, this is an integer; use .astype(float)\n  at {line}")
    if node.type.shape != known.shape:
        raise ShapeError(
            f"carry {full!r}: the value has shape {node.type.shape}, the carried value {known.shape}\n"
            f"  first at {known.where}\n  again at {line}"
        )
    known.next, known.next_where = ops.cast(node, "float"), line


def _require_outside_loops(context: Context, what: str, name: str, line: str) -> None:
    """Raise a ModelError in a loop over time, whose own carry hands values on."""
    if context.loops:
        raise ModelError(
            f"{what} {name!r} stands in a step of ppl.scan: hand values on in the loop's carry\n  at {line}"
        )


def _plate_remedy(axis: Axis) -> str:
    if axis.kind is Kind.PLATE and axis.size is not None:
        return f"ppl.collect(value, {axis.name!r}) turns it into the leading axis"
    return "its rows are known at run time only, and rows of other steps are others"


def require_carried(trace: Trace) -> None:
    """Raise a ModelError for a carried value without `ppl.carry`."""
    for name, known in trace.carried.items():
        if known.next is None:
            raise ModelError(
                f"carried {name!r} is never carried: say ppl.carry({name!r}, new_value)\n  at {known.where}"
            )


def require_one_particle(trace: Trace, particles: int) -> None:
    """Raise an EstimatorError where several particles would give several next values."""
    for name, known in trace.carried.items():
        assert known.next is not None
        drawn = next((n for n in topological([known.next]) if n.op in ("sample", "rowkey")), None)
        if particles > 1 and drawn is not None:
            site = drawn.attrs["site"].name if drawn.op == "sample" else drawn.attrs["name"]
            raise EstimatorError(
                f"carried {name!r} takes its next value from the random node '{site}', with {particles} particles: "
                f"there would be {particles} next values; use particles=1 and more rows of a plate\n"
                f"  at {known.next_where}"
            )
