"""Learnable parameters, run-time scalars and constants: `ppl.param`, `ppl.hyper`, `ppl.constant`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import array, dimensions, fits_memory, flag, number, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.lang.blocks.init import generator
from ppl.lang.constraints import CONSTRAINTS
from ppl.lang.context import current, require, require_name
from ppl.lang.source import user_line
from ppl.lang.trace import Param
from ppl.lang.value import Value, lift
from ppl.names import keywords


@keywords
def param(
    name: str,
    init: Any,
    shape: int | Sequence[int] | None = None,
    constraint: str | None = None,
    shared: bool = False,
) -> Value:
    """Declare a learnable array. Inside a plate it is shared over the rows.

    Parameters
    ----------
    name : unique name; scopes go before it.
    init : a number, an array, or one of `ppl.init` (called with (rng, shape), which then has to be given).
        Always in constrained values.
    shape : event shape; by default that of `init`.
    constraint : "positive" (exp), "unit_interval" (sigmoid), "simplex" (K entries from K logits, softmax over
        the last axis) or "lower_cholesky" (exp on the diagonal).
    shared : say True in every declaration of a name that is declared more than once.

    Returns
    -------
    Value of the constrained array.

    Raises
    ------
    ModelError
        The name was declared before, the constraint is unknown, or `init` violates it.
    ShapeError
        `init` does not fit `shape`, or a shared parameter is declared with another shape.
    """
    context = require("ppl.param")
    full = context.full_name(name)
    line = user_line()
    flag(f"param {full!r}: shared", shared, ModelError)
    wanted = event_shape(f"param {full!r}", init, shape, line)
    if constraint is not None and not (isinstance(constraint, str) and constraint in CONSTRAINTS):
        raise ModelError(
            f"param {full!r}: unknown constraint {shown(constraint)}; there are {', '.join(CONSTRAINTS)}\n  at {line}"
        )
    known = context.trace.params.get(full)
    if known is not None and context.loops and known.where == line:  # another step of a loop that is written out
        return Value(known.value)
    if known is not None:
        return _redeclared(known, wanted, constraint, shared, line)
    try:
        raw_shape = CONSTRAINTS[constraint].raw_shape(wanted) if constraint else wanted
    except ShapeError as error:
        raise ShapeError(f"param {full!r}: {error}\n  at {line}") from None
    node = make("param", name=full, shape=raw_shape)
    value = CONSTRAINTS[constraint].forward(node, wanted) if constraint else node
    declared = Param(full, wanted, raw_shape, init, constraint, node, value, line, shared)
    if not callable(init):
        initial_value(declared, 0)
    context.trace.params[full] = declared
    return Value(value)


def event_shape(what: str, init: Any, shape: Any, line: str) -> tuple[int, ...]:
    """The shape that a declaration asks for: `shape`, or that of `init`."""
    given = None if callable(init) else array(f"{what}: init", init, ModelError).shape
    if shape is None:
        if given is None:
            raise ModelError(f"{what}: an initialiser needs shape=\n  at {line}")
        return given
    wanted = dimensions(f"{what}: shape", shape, ModelError)
    if given is not None:
        try:
            fits = np.broadcast_shapes(given, wanted) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(f"{what}: init of shape {given} does not fit shape {wanted}\n  at {line}")
    return wanted


def _redeclared(known: Param, shape: tuple[int, ...], constraint: str | None, shared: bool, line: str) -> Value:
    lines = f"\n  first at {known.where}\n  again at {line}"
    if not (shared and known.shared):
        raise ModelError(f"param {known.name!r} is declared twice; to share it, say shared=True in both{lines}")
    if shape != known.shape or constraint != known.constraint:
        raise ShapeError(
            f"shared param {known.name!r} is declared with {known.shape}, constraint {known.constraint}"
            f", and with {shape}, constraint {constraint}{lines}"
        )
    return Value(known.value)


def initial_value(param: Param, seed: int) -> np.ndarray:
    """The unconstrained start of `param` (float64): a function of seed, name, shape and init alone.

    Raises
    ------
    ModelError
        The initial value has NaN or violates the constraint.
    ShapeError
        An initialiser returned another shape.
    """
    value = start(f"param {param.name!r}", param.name, param.init, param.shape, seed, param.where)
    return value if param.constraint is None else unconstrained(param, value)


def start(what: str, name: str, init: Any, shape: tuple[int, ...], seed: int, where: str) -> np.ndarray:
    """What `init` gives for `shape` (float64), drawn from (seed, name); `what` and `where` are for errors.

    Raises
    ------
    ModelError
        It has NaN.
    ShapeError
        An initialiser returned another shape.
    """
    with fits_memory(f"{what} of shape {shape}"):
        return _started(what, name, init, shape, seed, where)


def _started(what: str, name: str, init: Any, shape: tuple[int, ...], seed: int, where: str) -> np.ndarray:
    if callable(init):
        value = array(f"{what}: what init returned", init(generator(seed, name), shape), ModelError).astype(np.float64)
        if value.shape != shape:
            raise ShapeError(f"{what}: init returned shape {value.shape} instead of {shape}\n  at {where}")
    else:
        value = np.broadcast_to(np.asarray(init, np.float64), shape).copy()
    if not np.all(np.isfinite(value)):
        raise ModelError(f"{what}: init is not finite\n  at {where}")
    return value


def unconstrained(param: Param, value: Any) -> np.ndarray:
    """The unconstrained array of a constrained `value`.

    Raises
    ------
    ModelError
        `value` violates the constraint.
    """
    value = np.asarray(value, np.float64)
    if param.constraint is None:
        return value
    rule = CONSTRAINTS[param.constraint]
    if not rule.holds(value):
        raise ModelError(
            f"param {param.name!r}: {param.constraint!r} takes {rule.wanted}, which the value is not\n"
            f"  at {param.where}"
        )
    return rule.inverse(value)


def constrained(param: Param, raw: Any) -> np.ndarray:
    """The constrained value of an unconstrained array (NumPy), in its dtype."""
    raw = np.asarray(raw)
    if param.constraint is None:
        return raw
    return CONSTRAINTS[param.constraint].value(raw, param.shape).astype(raw.dtype, copy=False)


class Hyper(Value):
    """A run-time scalar with a default; registers itself in the trace that uses it."""

    __slots__ = ("default", "name")

    def __init__(self, name: str, default: float):
        self.name, self.default = name, default

    @property
    def node(self) -> Node:
        """The leaf."""
        context = current()
        if context is not None:
            known = context.trace.hypers.setdefault(self.name, self.default)
            if known != self.default:
                raise ModelError(
                    f"hyper {self.name!r} has two defaults, {known} and {self.default}\n  at {user_line()}"
                )
        return make("hyper", name=self.name)


@keywords
def hyper(name: str, default: float) -> Hyper:
    """An unlearned run-time scalar, set by `hyper={name: value}` without recompiling; scopes do not change
    its name.

    Usable in a model and, outside one, as an estimator's option.

    Raises
    ------
    ModelError
        The default is not one finite number, or the name has another default elsewhere in the model.
    """
    require_name(name)
    if isinstance(default, Value):
        raise ModelError(f"hyper {name!r}: the default is one finite number, not {shown(default)}\n  at {user_line()}")
    value = Hyper(name, number(f"hyper {name!r}: the default", default, error=ModelError))
    _ = value.node
    return value


def constant(array: Any) -> Value:
    """An array as a symbolic value, e.g. to index it with a random integer: `ppl.constant(table)[k]`."""
    return array if isinstance(array, Value) else lift("constant", ops.as_node, array)
