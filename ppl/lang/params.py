"""Learnable parameters with their constraints, run-time scalars and constants: `ppl.param`, `ppl.hyper`,
`ppl.constant`.

A constrained parameter is a function of an unconstrained array, which is optimised. Each constraint has its forward map
in IR and in NumPy, and its inverse in NumPy for initial values. No Jacobian is ever added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppl.arguments import array, dimensions, fits_memory, flag, number, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.lang.context import current_context, require_context, require_valid_name
from ppl.lang.init import generator
from ppl.lang.source import user_line
from ppl.lang.trace import Param
from ppl.lang.value import Value, lift
from ppl.names import keywords
from ppl.records import dataclass

EventShape = tuple[int, ...]


@dataclass(frozen=True)
class Constraint:
    """A constraint: shape of the unconstrained array, forward map (IR, NumPy), inverse, test of values."""

    raw_shape: Callable[[EventShape], EventShape]
    forward: Callable[[Node, EventShape], Node]
    value: Callable[[np.ndarray, EventShape], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]
    holds: Callable[[np.ndarray], bool]
    wanted: str


def _unchanged_shape(shape: EventShape) -> EventShape:
    return shape


def _simplex_shape(shape: EventShape) -> EventShape:
    if not shape:
        raise ShapeError("constraint 'simplex' needs at least one axis")
    return shape


def _softmax_of_array(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _triangle_shape(shape: EventShape) -> EventShape:
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(f"constraint 'lower_cholesky' needs a square matrix, not shape {shape}")
    return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


def _triangle_index(n: int) -> np.ndarray:
    """Where each matrix entry lies in [diagonal, below it, one zero]."""
    index = np.full((n, n), n * (n + 1) // 2)
    index[np.diag_indices(n)] = np.arange(n)
    index[np.tril_indices(n, -1)] = np.arange(n, n * (n + 1) // 2)
    return index


def _triangle_forward(raw: Node, shape: EventShape) -> Node:
    n, rank = shape[-1], len(shape) - 1
    flat = ops.transpose(raw, [rank - 1, *range(rank - 1)])
    rest = tuple((0, m, 1) for m in shape[:-2])
    count = raw.type.shape[-1]
    parts = [ops.exp(ops.window(flat, [(0, n, 1), *rest])), ops.const(np.zeros((1, *shape[:-2])))]
    if count > n:
        parts.insert(1, ops.window(flat, [(n, count - n, 1), *rest]))
    matrix = ops.take(ops.concat(parts, 0), _triangle_index(n))
    return ops.transpose(matrix, [*range(2, rank + 1), 0, 1])


def _triangle_value(raw: np.ndarray, shape: EventShape) -> np.ndarray:
    n = shape[-1]
    padded = np.concatenate([np.exp(raw[..., :n]), raw[..., n:], np.zeros((*raw.shape[:-1], 1))], -1)
    return padded[..., _triangle_index(n)]


def _triangle_inverse(value: np.ndarray) -> np.ndarray:
    rows, columns = np.tril_indices(value.shape[-1], -1)
    return np.concatenate([np.log(np.diagonal(value, axis1=-2, axis2=-1)), value[..., rows, columns]], -1)


CONSTRAINTS: dict[str, Constraint] = {
    "positive": Constraint(
        _unchanged_shape,
        lambda x, s: ops.exp(x),
        lambda x, s: np.exp(x),
        np.log,
        lambda v: bool(np.all(v > 0)),
        "numbers above 0",
    ),
    "unit_interval": Constraint(
        _unchanged_shape,
        lambda x, s: ops.sigmoid(x),
        lambda x, s: 1 / (1 + np.exp(-x)),
        lambda v: np.log(v) - np.log1p(-v),
        lambda v: bool(np.all((v > 0) & (v < 1))),
        "numbers strictly between 0 and 1",
    ),
    "simplex": Constraint(
        _simplex_shape,
        lambda x, s: ops.softmax(x),
        lambda x, s: _softmax_of_array(x),
        np.log,
        lambda v: bool(np.all(v > 0) and np.allclose(v.sum(-1), 1, atol=1e-5)),
        "positive numbers that sum to 1 over the last axis",
    ),
    "lower_cholesky": Constraint(
        _triangle_shape,
        _triangle_forward,
        _triangle_value,
        _triangle_inverse,
        lambda v: bool(np.all(np.triu(v, 1) == 0) and np.all(np.diagonal(v, axis1=-2, axis2=-1) > 0)),
        "a lower triangular matrix with positive diagonal",
    ),
}


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
    context = require_context("ppl.param")
    full = context.full_name(name)
    line = user_line()
    flag(f"param {full!r}: shared", shared, ModelError)
    wanted = declared_shape(f"param {full!r}", init, shape, line)
    if constraint is not None and not (isinstance(constraint, str) and constraint in CONSTRAINTS):
        raise ModelError(
            f"param {full!r}: unknown constraint {shown(constraint)}; there are {', '.join(CONSTRAINTS)}\n  at {line}"
        )
    known = context.trace.params.get(full)
    if known is not None and context.loops and known.where == line:  # another step of a loop that is written out
        return Value(known.value)
    if known is not None:
        return _reuse_shared(known, wanted, constraint, shared, line)
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


def declared_shape(what: str, init: Any, shape: Any, line: str) -> tuple[int, ...]:
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


def _reuse_shared(known: Param, shape: tuple[int, ...], constraint: str | None, shared: bool, line: str) -> Value:
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
    value = evaluate_init(f"param {param.name!r}", param.name, param.init, param.shape, seed, param.where)
    return value if param.constraint is None else to_unconstrained(param, value)


def evaluate_init(what: str, name: str, init: Any, shape: tuple[int, ...], seed: int, where: str) -> np.ndarray:
    """What `init` gives for `shape` (float64), drawn from (seed, name); `what` and `where` are for errors.

    Raises
    ------
    ModelError
        It has NaN.
    ShapeError
        An initialiser returned another shape.
    """
    with fits_memory(f"{what} of shape {shape}"):
        return _evaluate_init(what, name, init, shape, seed, where)


def _evaluate_init(what: str, name: str, init: Any, shape: tuple[int, ...], seed: int, where: str) -> np.ndarray:
    if callable(init):
        value = array(f"{what}: what init returned", init(generator(seed, name), shape), ModelError).astype(np.float64)
        if value.shape != shape:
            raise ShapeError(f"{what}: init returned shape {value.shape} instead of {shape}\n  at {where}")
    else:
        value = np.broadcast_to(np.asarray(init, np.float64), shape).copy()
    if not np.all(np.isfinite(value)):
        raise ModelError(f"{what}: init is not finite\n  at {where}")
    return value


def to_unconstrained(param: Param, value: Any) -> np.ndarray:
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


def to_constrained(param: Param, raw: Any) -> np.ndarray:
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
        context = current_context()
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
    require_valid_name(name)
    if isinstance(default, Value):
        raise ModelError(f"hyper {name!r}: the default is one finite number, not {shown(default)}\n  at {user_line()}")
    value = Hyper(name, number(f"hyper {name!r}: the default", default, error=ModelError))
    _ = value.node
    return value


def constant(array: Any) -> Value:
    """An array as a symbolic value, e.g. to index it with a random integer: `ppl.constant(table)[k]`."""
    return array if isinstance(array, Value) else lift("constant", ops.as_node, array)
