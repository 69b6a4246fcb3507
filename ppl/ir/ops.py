"""Build expressions: functions that broadcast, cast and insert `expand` and `route`; callers write plain formulas.

Every function takes nodes or Python/NumPy constants and returns a node. Named axes broadcast by name, events
as in NumPy. Where a value lacks branch entries that another has, it is routed from its primal entry; only live
entries and the value's own branches pass gradient back (rule 2 of the estimator contract). Constants, casts and
broadcasting come first, then ops on whole events, linear algebra, and elementwise ops."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import masked, shown
from ppl.errors import ShapeError
from ppl.ir import shapes as _shapes  # noqa: F401  (registers the shape rules)
from ppl.ir.node import Array, Node, make
from ppl.ir.types import PRIMAL, Axis, Kind, Type, union_axes


def event_axis(shape: tuple[int, ...], axis: Any, name: str = "axis") -> int:
    """`axis` as a non-negative dimension of an event of `shape`."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise ShapeError(f"{name} must be a whole number, not {shown(axis)}")
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"{name} {axis} is out of range for event shape {shape}")
    return int(axis) % len(shape)


def event_axes(shape: tuple[int, ...], axes: Any, name: str = "axis") -> tuple[int, ...]:
    """One axis or several (`None`: all of them) as different dimensions of an event of `shape`, in their order."""
    if axes is None:
        return tuple(range(len(shape)))
    found = tuple(event_axis(shape, axis, name) for axis in integer_tuple(name, axes))
    if len(set(found)) < len(found):
        raise ShapeError(f"{name} {shown(axes)} has one axis twice for event shape {shape}")
    return found


def integer_tuple(name: str, value: Any, low: int | None = None) -> tuple[int, ...]:
    """One whole number or several, each at least `low`, as a tuple."""
    several = (
        isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) and getattr(value, "ndim", 1) == 1
    )
    items = tuple(value) if several else (value,)
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in items):
        raise ShapeError(f"{name} must be a whole number or a sequence of them, not {shown(value)}")
    if low is not None and any(n < low for n in items):
        raise ShapeError(f"{name} must not be less than {low}, and is {shown(value)}")
    return tuple(int(n) for n in items)


Operand = Any


def const(value: Any, dtype: str | None = None) -> Node:
    """A constant: floats as float64 (cast at emission), ints as int64, bools as bool; masked entries are none."""
    if masked(value):
        raise ShapeError("cannot make a constant of a masked array: use its .data, or .filled(...)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"cannot make a constant of {type(value).__name__}: {error}") from None
    kind = dtype or {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(array.dtype.kind)
    if kind is None:
        held = array.dtype == object and any(hasattr(x, "__ppl_node__") for x in array.flat)
        hint = ": it holds symbolic values; collect them in a list and write np.stack(entries)" if held else ""
        raise ShapeError(f"cannot make a constant of dtype {array.dtype}{hint}")
    array = np.array(array, {"float": np.float64, "int": np.int64, "bool": np.bool_}[kind])
    return make("const", value=Array(array))


def as_node(value: Operand) -> Node:
    """`value` as a node; objects with a `__ppl_node__` unwrap to it, numbers and arrays become constants."""
    if isinstance(value, Node):
        return value
    node = getattr(value, "__ppl_node__", None)
    return node if node is not None else const(value)


def cast(x: Operand, dtype: str) -> Node:
    """`x` with dtype "float", "int" or "bool"."""
    x = as_node(x)
    return x if x.type.dtype == dtype else make("cast", x, dtype=dtype)


def is_const(x: Node, value: float | None = None) -> bool:
    """Whether `x` is a constant (all of whose entries equal `value`, if given), seen through expands."""
    while x.op == "expand":
        x = x.args[0]
    return x.op == "const" and (value is None or bool(np.all(x.attrs["value"].value == value)))


def expand(x: Node, axes: Sequence[Axis] = (), shape: tuple[int, ...] | None = None) -> Node:
    """Broadcast `x` to all of the named `axes` and the event `shape`; a no-op where nothing changes."""
    shape = x.type.shape if shape is None else tuple(shape)
    branch = next((a for a in axes if a.kind is Kind.BRANCH), None)
    if branch is not None and x.type.branch is not None and x.type.branch != branch:
        x = route_to_branch(x, branch)
    new = tuple(a for a in union_axes(tuple(axes)) if a not in x.type.axes)
    if not new and shape == x.type.shape:
        return x
    live = tuple(c.live for c in branch.copies) if branch is not None and branch in new else None
    return make("expand", x, axes=new, shape=shape, live=live)


def route_to_branch(x: Node, to: Axis) -> Node:
    """Route `x` into branch axis `to`: its own entries, and its primal wherever it has none."""
    own = x.type.branch
    if own == to:
        return x
    if own is None:
        return expand(x, (to,))
    index = {c: i for i, c in enumerate(own.copies)}
    terms = tuple(((0, index.get(c, 0)),) for c in to.copies)
    live = tuple(c in index or c.live for c in to.copies)
    return make("route", x, to=to, terms=terms, live=live)


def assemble_branches(pieces: dict[Any, Node], to: Axis) -> Node:
    """A value over branch axis `to` from one branchless node per copy."""
    nodes = [pieces[c] for c in to.copies]
    axes = union_axes(*(n.type.axes for n in nodes))
    shape = np.broadcast_shapes(*(n.type.shape for n in nodes))
    nodes = [expand(n, axes, shape) for n in nodes]
    distinct = list(dict.fromkeys(nodes))
    terms = tuple(((distinct.index(n), 0),) for n in nodes)
    return make("route", *distinct, to=to, terms=terms, live=(True,) * len(nodes))


def pick_branch(x: Node, copy: Any = PRIMAL) -> Node:
    """One entry of the branch axis of `x` (its primal where it has no such entry), without the axis."""
    branch = x.type.branch
    if branch is None:
        return x
    entry = branch.copies.index(copy) if copy in branch.copies else 0
    return make("route", x, to=None, terms=(((0, entry),),), live=(True,))


def broadcast(*values: Operand) -> list[Node]:
    """All of `values` with common axes and a common event shape."""
    nodes = [as_node(v) for v in values]
    axes = union_axes(*(n.type.axes for n in nodes))
    try:
        shape = np.broadcast_shapes(*(n.type.shape for n in nodes))
    except ValueError:
        listed = ", ".join(str(n.type.shape) for n in nodes)
        raise ShapeError(f"event shapes {listed} do not broadcast together") from None
    return [expand(n, axes, shape) for n in nodes]


def promote_dtypes(nodes: list[Node]) -> list[Node]:
    """All of `nodes` as floats if one of them is float, else as ints."""
    dtypes = {n.type.dtype for n in nodes}
    target = "float" if "float" in dtypes else "int"
    return [cast(n, target) for n in nodes]


def zeros_like(t: Type) -> Node:
    """A zero of type `t`."""
    return expand(const(0.0), t.axes, t.shape)


def _event_dims(x: Node, dims: int | Sequence[int] | None) -> tuple[int, ...]:
    return tuple(sorted(event_axes(x.type.shape, dims)))


def reduce(op: str, x: Operand, dims: Any = None, keepdims: bool = False) -> Node:
    """Reduce `x` over event dimensions (`None`: all of them) by "sum" or "amax"."""
    x = as_node(x)
    x = cast(x, "int") if x.type.dtype == "bool" else x
    dims = _event_dims(x, dims)
    if not isinstance(keepdims, (bool, int, np.bool_)):
        raise ShapeError(f"keepdims must be True or False, not {shown(keepdims)}")
    out = make(op, x, axes=(), dims=dims) if dims else x
    if keepdims:
        out = reshape(out, tuple(1 if d in dims else n for d, n in enumerate(x.type.shape)))
    return out


def reduce_sum(x: Operand, dims: Any = None, keepdims: bool = False) -> Node:
    """Sum over event dimensions."""
    return reduce("sum", x, dims, keepdims)


def sum_axes(x: Node, axes: Sequence[Axis]) -> Node:
    """Sum over named axes (those that `x` has)."""
    own = tuple(a for a in x.type.axes if a in axes)
    return make("sum", x, axes=own, dims=()) if own else x


def size(axis: Axis) -> Node:
    """The length of a named axis as a float scalar."""
    return const(float(axis.size)) if axis.size is not None else make("size", axis=axis)


def argmax(x: Operand) -> Node:
    """Index of the first maximum along the last event dimension."""
    return make("argmax", as_node(x))


def cumsum(x: Operand) -> Node:
    """Running sums along the last event dimension, added up in order."""
    return make("cumsum", cast(x, "float"))


def reshape(x: Operand, shape: Sequence[int]) -> Node:
    """Reshape the event."""
    x, shape = as_node(x), tuple(int(n) for n in shape)
    return x if x.type.shape == shape else make("reshape", x, shape=shape)


def transpose(x: Operand, perm: Sequence[int] | None = None) -> Node:
    """Permute event dimensions (reverse them by default)."""
    x = as_node(x)
    rank = len(x.type.shape)
    perm = tuple(range(rank))[::-1] if perm is None else tuple(int(p) % rank for p in perm)
    return x if perm == tuple(range(rank)) else make("transpose", x, perm=perm)


def window(x: Node, window_: Sequence[tuple[int, int, int]]) -> Node:
    """Strided event window: (start, length, step) per dimension."""
    full = tuple((0, n, 1) for n in x.type.shape)
    return x if tuple(window_) == full else make("slice", x, window=tuple(window_))


def concat(values: Sequence[Operand], dim: int = 0) -> Node:
    """Concatenate along an event dimension."""
    nodes = promote_dtypes([as_node(v) for v in values])
    if any(not n.type.shape for n in nodes):
        raise ShapeError("cannot concatenate scalars; use np.stack")
    axes = union_axes(*(n.type.axes for n in nodes))
    nodes = [expand(n, axes) for n in nodes]
    return nodes[0] if len(nodes) == 1 else make("concat", *nodes, dim=int(dim) % len(nodes[0].type.shape))


def take(table: Operand, index: Operand) -> Node:
    """Rows of `table` at integer `index`."""
    table, index = as_node(table), as_node(index)
    axes = union_axes(table.type.axes, index.type.axes)
    return make("take", expand(table, axes), expand(index, axes))


def einsum(a: Operand, la: str, b: Operand, lb: str, out: str, over: tuple[Axis, ...] = ()) -> Node:
    """Contraction of two operands over event labels missing from `out` and named axes `over`."""
    a, b = cast(a, "float"), cast(b, "float")
    axes = union_axes(a.type.axes, b.type.axes)
    return make("contract", expand(a, axes), expand(b, axes), a=la, b=lb, out=out, over=over)


def matmul(a: Operand, b: Operand) -> Node:
    """NumPy's `@` on event axes: vectors, matrices and stacks of matrices."""
    a, b = as_node(a), as_node(b)
    ra, rb = len(a.type.shape), len(b.type.shape)
    if not ra or not rb:
        raise ShapeError("matmul does not take scalars; use *")
    inner_a, inner_b = a.type.shape[-1], b.type.shape[0 if rb == 1 else -2]
    if inner_a != inner_b:
        raise ShapeError(f"matmul: event shapes {a.type.shape} and {b.type.shape} do not fit ({inner_a} != {inner_b})")
    batch = string.ascii_lowercase[: max(ra, rb) - 2] if max(ra, rb) > 2 else ""
    if batch:
        lead = np.broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
        a = expand(a, (), lead + a.type.shape[-2:]) if ra >= 2 else a
        b = expand(b, (), lead + b.type.shape[-2:]) if rb >= 2 else b
    la = "y" if ra == 1 else batch + "xy"
    lb = "y" if rb == 1 else batch + "yz"
    out = (batch if ra > 1 or rb > 1 else "") + ("x" if ra > 1 else "") + ("z" if rb > 1 else "")
    return einsum(a, la, b, lb, out)


def collect(x: Node, axis: Axis) -> Node:
    """A fixed-size named axis as leading event dimension."""
    return make("collect", expand(x, (axis,)), axis=axis)


def distribute(x: Node, axis: Axis) -> Node:
    """The leading event dimension as named axis `axis`."""
    return make("distribute", x, axis=axis)


Solver = Callable[[Node, Node], Node]

MAX_EXPANDED_DET = 3
"""The largest matrices whose determinant is written as a polynomial, which has derivatives at singular ones, too."""


def as_square(x: Operand) -> Node:
    """`x` as floats with two equal last dimensions.

    Raises
    ------
    ShapeError
        Where it has no such dimensions, or they are empty.
    """
    x = cast(as_node(x), "float")
    shape = x.type.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or not shape[-1]:
        raise ShapeError(f"it takes square matrices in the last two axes, not event shape {shape}")
    return x


def cholesky(x: Operand) -> Node:
    """L with L L^T = x, of which the lower triangle is read. Its own is NaN where x is not positive definite."""
    return make("cholesky", as_square(x))


def inverse(x: Operand) -> Node:
    """x^-1, and NaN where x is singular."""
    return make("inverse", as_square(x))


def log_det(x: Operand) -> Node:
    """log |det x|, and -inf where x is singular."""
    return make("log_det", as_square(x))


def sign_det(x: Operand) -> Node:
    """The sign of det x."""
    return make("sign_det", as_square(x))


def det(x: Operand) -> Node:
    """det x."""
    x = as_square(x)
    return _cofactor_det(x) if x.type.shape[-1] <= MAX_EXPANDED_DET else make("det", x)


def _cofactor_det(x: Node) -> Node:
    """A small determinant by its first column."""
    d = x.type.shape[-1]
    if d == 1:
        return reshape(x, x.type.shape[:-2])
    lead = [(0, n, 1) for n in x.type.shape[:-2]]
    total = None
    for i in range(d):
        below = [window(x, (*lead, rows, (1, d - 1, 1))) for rows in ((0, i, 1), (i + 1, d - i - 1, 1)) if rows[1]]
        minor = below[0] if len(below) == 1 else make("concat", *below, dim=len(lead))
        entry = reshape(window(x, (*lead, (i, 1, 1), (0, 1, 1))), x.type.shape[:-2])
        term = make("mul", entry, _cofactor_det(minor))
        total = term if total is None else make("sub" if i % 2 else "add", total, term)
    assert total is not None
    return total


def solve_lower(tril: Operand, b: Operand, transposed: bool = False) -> Node:
    """L^-1 b, or L^-T b: triangles (…, d, d), not read above their diagonals; vectors (…, d) or rows (…, k, d)."""
    return _make_solve("solve", tril, b, transposed)


def linsolve(a: Operand, b: Operand, transposed: bool = False) -> Node:
    """A^-1 b, or A^-T b: matrices (…, d, d); vectors (…, d) or rows (…, k, d). NaN where A is singular."""
    return _make_solve("linsolve", a, b, transposed)


def _make_solve(op: str, a: Operand, b: Operand, transposed: bool) -> Node:
    a, b = cast(a, "float"), cast(b, "float")
    axes = union_axes(a.type.axes, b.type.axes)
    return make(op, expand(a, axes), expand(b, axes), transposed=transposed)


def matrix_transpose(x: Node) -> Node:
    """Matrices transposed."""
    rank = len(x.type.shape)
    return transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def solve_systems(a: Operand, b: Operand, solver: Solver) -> Node:
    """x with a x = b as in NumPy: `b` is a vector (d,), or has columns (…, d, k); batches broadcast.

    Raises
    ------
    ShapeError
        Where the shapes do not fit.
    """
    a, b = as_square(a), cast(as_node(b), "float")
    lead, d = a.type.shape[:-2], a.type.shape[-1]
    rank = len(b.type.shape)
    if not rank or b.type.shape[0 if rank == 1 else -2] != d:
        raise ShapeError(f"event shapes {a.type.shape} and {b.type.shape} do not fit")
    if rank == 1:
        return solver(a, expand(b, (), (*lead, d)))
    rows = matrix_transpose(b)
    if not lead:  # one matrix for all
        shape = rows.type.shape
        return matrix_transpose(reshape(solver(a, reshape(rows, (math.prod(shape[:-1]), d))), shape))
    try:
        lead = np.broadcast_shapes(lead, b.type.shape[:-2])
    except ValueError:
        raise ShapeError(f"the batches of event shapes {a.type.shape} and {b.type.shape} do not broadcast") from None
    return matrix_transpose(solver(expand(a, (), (*lead, d, d)), expand(rows, (), (*lead, *rows.type.shape[-2:]))))


def solve(a: Operand, b: Operand) -> Node:
    """`systems` of any matrices."""
    return solve_systems(a, b, linsolve)


def solve_triangular(a: Operand, b: Operand, lower: bool = True, trans: bool = False) -> Node:
    """`systems` of triangles, whose other half is not read; of a^T if `trans`."""

    def solver(a: Node, b: Node) -> Node:
        return solve_lower(a, b, trans) if lower else solve_lower(matrix_transpose(a), b, not trans)

    return solve_systems(a, b, solver)


def unary(op: str, x: Operand, **attrs: Any) -> Node:
    """Elementwise function of one argument; ints and bools become float except under neg, abs, sign."""
    x = as_node(x)
    keeps = op in ("neg", "abs", "sign") and x.type.dtype == "int"
    return make(op, x if keeps else cast(x, "float"), **attrs)


def binary(op: str, a: Operand, b: Operand) -> Node:
    """Elementwise function of two arguments after broadcasting and dtype promotion."""
    nodes = broadcast(a, b)
    if op in ("and", "or"):
        return make(op, *(cast(n, "bool") for n in nodes))
    if op in ("div", "pow"):
        return make(op, *(cast(n, "float") for n in nodes))
    if op == "eq" and all(n.type.dtype == "bool" for n in nodes):
        return make(op, *nodes)
    return make(op, *promote_dtypes(nodes))


def _unary(op: str):  # type: ignore[no-untyped-def]
    def function(x: Operand) -> Node:
        return unary(op, x)

    function.__name__ = op
    function.__doc__ = f"Elementwise {op}."
    return function


def _binary(op: str):  # type: ignore[no-untyped-def]
    def function(a: Operand, b: Operand) -> Node:
        return binary(op, a, b)

    function.__name__ = op
    function.__doc__ = f"Elementwise {op} with broadcasting."
    return function


neg, exp, log, log1p, expm1, sqrt = map(_unary, ("neg", "exp", "log", "log1p", "expm1", "sqrt"))

sin, cos, tan, atan, tanh = map(_unary, ("sin", "cos", "tan", "atan", "tanh"))

sigmoid, softplus, absolute, sign, floor = map(_unary, ("sigmoid", "softplus", "abs", "sign", "floor"))

lgamma, erf, ndtr, ndtri, log_ndtr = map(_unary, ("lgamma", "erf", "ndtr", "ndtri", "log_ndtr"))

erfc, erfinv, log1mexp = map(_unary, ("erfc", "erfinv", "log1mexp"))

add, sub, mul, div, power = map(_binary, ("add", "sub", "mul", "div", "pow"))

maximum, minimum = map(_binary, ("max", "min"))

less, less_equal, equal = map(_binary, ("lt", "le", "eq"))

logical_and, logical_or = map(_binary, ("and", "or"))


def polygamma(n: int, x: Operand) -> Node:
    """The n-th derivative of digamma (n = 0 is digamma itself)."""
    return unary("polygamma", x, n=n)


def log_i0e(x: Operand, n: int = 0) -> Node:
    """The n-th derivative (n <= 2) of log(I0(x) exp(-x)), x >= 0, I0 the modified Bessel function."""
    return unary("log_i0e", x, n=n)


def log_mass_between(a: Operand, b: Operand) -> Node:
    """log of the integral of exp((e^2 - s^2) / 2) over a < s < b, e the point of [a, b] nearest to 0.

    It is the normal probability of the interval over the largest normal density in it, so that it is as accurate far
    out in a tail, and for a narrow interval, as around 0; -inf where a = b. Ends may be infinite.
    """
    return make("log_mass_between", *(cast(x, "float") for x in broadcast(a, b)))


def quantile_between(p: Operand, a: Operand, b: Operand) -> Node:
    """z - e, z the quantile at `p` of a standard normal truncated to [a, b], e the point of [a, b] nearest to 0."""
    return make("quantile_between", *(cast(x, "float") for x in broadcast(p, a, b)))


def logical_not(x: Operand) -> Node:
    """Elementwise negation of truth values."""
    return make("not", cast(x, "bool"))


def log_sigmoid(x: Operand) -> Node:
    """log sigmoid(x), stable in both tails."""
    return neg(softplus(neg(x)))


def where(condition: Operand, a: Operand, b: Operand) -> Node:
    """Select; its adjoint selects too, so that a NaN in the branch not taken stays there."""
    c, a, b = broadcast(condition, a, b)
    return make("where", cast(c, "bool"), *((a, b) if a.type.dtype == b.type.dtype else promote_dtypes([a, b])))


def stop(x: Operand, tag: str = "theta") -> Node:
    """A value through which no derivative passes; `tag` names the pass that may erase it."""
    return make("stop", as_node(x), tag=tag)


def mark(x: Node, name: str) -> Node:
    """`x` as a node of its own, so that it can be told from the same expression elsewhere; derivatives pass."""
    return make("mark", x, name=name)


def scale_grad(x: Node, weight: Operand) -> Node:
    """`x`, whose incoming cotangent is multiplied by `weight` on its way back."""
    axes, shape = x.type.axes, x.type.shape
    return make("scale_grad", x, expand(cast(weight, "float"), axes, shape))


def graft(value: Operand, derivative: Operand, exact: bool = False) -> Node:
    """`value`, whose cotangent goes to `derivative`: straight-through, or `exact` where both are one function."""
    return make("graft", *broadcast(cast(value, "float"), derivative), **({"exact": True} if exact else {}))


def logsumexp(x: Operand, dims: Any = None, keepdims: bool = False) -> Node:
    """log sum exp over event dimensions, shifted by the maximum; all -inf gives -inf."""
    x = cast(x, "float")
    top = stop(reduce("amax", x, dims, keepdims=True), "shift")
    top = where(less(absolute(top), np.inf), top, 0.0)
    out = add(log(reduce_sum(exp(sub(x, top)), dims, keepdims=True)), top)
    return out if keepdims else reshape(out, reduce_sum(x, dims).type.shape)


def log_softmax(x: Operand, dim: int = -1) -> Node:
    """log softmax along one event dimension."""
    x = cast(x, "float")
    return sub(x, logsumexp(x, dim, keepdims=True))


def softmax(x: Operand, dim: int = -1) -> Node:
    """softmax along one event dimension."""
    x = cast(x, "float")
    e = exp(sub(x, stop(reduce("amax", x, dim, keepdims=True), "shift")))
    return div(e, reduce_sum(e, dim, keepdims=True))


def one_hot(x: Operand, n: int) -> Node:
    """Float indicator of shape event + (n,)."""
    x = as_node(x)
    return cast(equal(reshape(x, (*x.type.shape, 1)), np.arange(n)), "float")


def noise(name: str, purpose: int, axes: Sequence[Axis], shape: tuple[int, ...], times: Sequence[Node] = ()) -> Node:
    """Open uniforms, a pure function of (seed, name, step, times of loops, row, particle, column)."""
    kept = tuple(a for a in axes if a.kind in (Kind.REPEATS, Kind.PLATE, Kind.PARTICLES))
    return make("noise", *times, name=name, purpose=purpose, axes=kept, shape=tuple(shape))


def row_key(name: str, axes: Sequence[Axis], times: Sequence[Node] = ()) -> Node:
    """The 64-bit noise key of each row and particle, from which draws by rejection take their attempts."""
    kept = tuple(a for a in axes if a.kind in (Kind.REPEATS, Kind.PLATE, Kind.PARTICLES))
    return make("rowkey", *times, name=name, axes=kept)


def _draw(op: str, parameters: Operand | Sequence[Operand], key: Operand, stream: int, **attrs: Any) -> Node:
    given = parameters if isinstance(parameters, tuple) else (parameters,)
    nodes = broadcast(*(cast(p, "float") for p in given))
    column = np.arange(nodes[0].type.event_size).reshape(nodes[0].type.shape)
    return make(op, *broadcast(*nodes, key, column), stream=stream, **attrs)


def loggamma_draw(concentration: Operand, key: Operand, stream: int = 0) -> Node:
    """Logarithms of standard gamma draws; `stream` tells draws from one key apart. Its derivative is implicit."""
    return _draw("loggamma_draw", concentration, key, stream)


def poisson_draw(rate: Operand, key: Operand, stream: int = 0) -> Node:
    """Poisson counts."""
    return _draw("poisson_draw", rate, key, stream, dtype="int")


def binomial_draw(total: Operand, one: Operand, zero: Operand, key: Operand, stream: int = 0) -> Node:
    """Binomial counts of `total` trials; `one` and `zero` are the probabilities of success and failure."""
    return _draw("binomial_draw", (total, one, zero), key, stream, dtype="int")


def log_poisson(k: Operand, rate: Operand) -> Node:
    """log(rate**k exp(-rate) / gamma(k + 1)), k and rate >= 0, without cancellation (Loader 2000)."""
    return make("log_poisson", *broadcast(cast(k, "float"), cast(rate, "float")))


def log_poisson_log_rate(k: Operand, log_rate: Operand) -> Node:
    """`log_poisson` of whole numbers at rate exp(log_rate), finite where that underflows."""
    return make("log_poisson_log_rate", *broadcast(cast(k, "float"), cast(log_rate, "float")))


def log_binomial(x: Operand, y: Operand, p: Operand) -> Node:
    """log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)) p**x (1 - p)**y), x and y >= 0, without cancellation."""
    return make("log_binomial", *broadcast(*(cast(a, "float") for a in (x, y, p))))


def log_binomial_logits(x: Operand, y: Operand, logits: Operand) -> Node:
    """`log_binomial` at p = sigmoid(logits)."""
    return make("log_binomial_logits", *broadcast(*(cast(a, "float") for a in (x, y, logits))))


def loggamma_slope(y: Operand, concentration: Operand) -> Node:
    """d log x / d concentration of a gamma variable x = exp(y) at a fixed quantile: -(dF / da) / (x p(x))."""
    return make("loggamma_slope", *broadcast(y, concentration))


def vonmises_draw(concentration: Operand, key: Operand, stream: int = 0) -> Node:
    """Von Mises angles around 0, between -pi and pi. Their derivative is implicit."""
    return _draw("vonmises_draw", concentration, key, stream)


def vonmises_slope(x: Operand, concentration: Operand) -> Node:
    """dx / d concentration of a von Mises angle x around 0 at a fixed quantile: -(dF / d concentration) / p(x)."""
    return make("vonmises_slope", *broadcast(x, concentration))
