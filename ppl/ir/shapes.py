"""Shape and dtype rules, one for each op. `make` calls them, and the verifier calls them again.

Ops of a common signature get their rule by the column `types` of the table of facts; after these stand the rules of
linear algebra, those of all other ops, and those of ops that only compiled programs have.

The rules are strict: arguments of an elementwise op have equal axes and equal event shapes. Broadcasting is
explicit, through `expand` and `route`, which `ppl.ir.ops` inserts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.errors import ShapeError
from ppl.ir.node import type_rules
from ppl.ir.op_facts import COUNTS, ops_with
from ppl.ir.types import Kind, Type, sort_axes

ShapeRule = Callable[[tuple[Type, ...], dict[str, Any]], Type]


def shape_rule(*names: str) -> Callable[[ShapeRule], ShapeRule]:
    """Register a shape rule under each of `names`."""

    def register(function: ShapeRule) -> ShapeRule:
        for name in names:
            type_rules[name] = function
        return function

    return register


def require(ok: bool, message: str, *types: Type) -> None:
    """Raise a ShapeError that lists `types` unless `ok`."""
    if not ok:
        raise ShapeError(f"{message}: {', '.join(map(str, types))}" if types else message)


def require_same(types: tuple[Type, ...], what: str) -> None:
    """Raise a ShapeError unless axes and event shapes are equal."""
    first = types[0]
    require(
        all(t.axes == first.axes and t.shape == first.shape for t in types),
        f"{what} needs equal types",
        *types,
    )


@shape_rule(*ops_with("types", "numbers"))
def _arithmetic(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "arithmetic")
    require(all(t.dtype == types[0].dtype != "bool" for t in types), "arithmetic needs equal number types", *types)
    return types[0]


@shape_rule(*ops_with("types", "comparison"))
def _compare(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "comparison")
    require(types[0].dtype == types[1].dtype, "comparison needs equal dtypes", *types)
    return Type(types[0].axes, types[0].shape, "bool")


@shape_rule(*ops_with("types", "logic"))
def _logical(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "logic")
    require(all(t.dtype == "bool" for t in types), "logic needs bool", *types)
    return types[0]


@shape_rule(*ops_with("types", "draw"))
def _draw(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """A draw by rejection: of float parameters, the int key of their row and particle, and the int column."""
    require_same(types, "a draw")
    wanted = ["float"] * (len(types) - 2) + ["int", "int"]
    require([t.dtype for t in types] == wanted, "a draw needs floats, key, column", *types)
    return types[0] if attrs.get("dtype") != "int" else Type(types[0].axes, types[0].shape, "int")


@shape_rule(*ops_with("types", "floats"))
def _floats(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "a function of floats")
    require(all(t.dtype == "float" for t in types), "a function of floats needs floats", *types)
    return types[0]


@shape_rule("solve", "linsolve")
def _linear_solve(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """A^-1 b, or A^-T b if `transposed`: matrices (..., d, d), and a vector (..., d) or rows (..., k, d) for each.

    Of `solve` they are lower triangles, and not read above their diagonals.
    """
    a, b = types
    require(a.axes == b.axes and a.dtype == b.dtype == "float" and bool(b.shape), "solve needs floats", *types)
    square = (*b.shape[-1:], *b.shape[-1:])
    require(a.shape in ((*b.shape[:-1], *square), (*b.shape[:-2], *square)), "solve", *types)
    return b


@shape_rule("cholesky", "inverse")
def _square_matrices(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    (t,) = types
    require(len(t.shape) >= 2 and t.shape[-1] == t.shape[-2] and t.dtype == "float", "square float matrices", t)
    return t


@shape_rule("det", "log_det", "sign_det")
def _determinant(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The determinant, the logarithm of its size, its sign."""
    t = _square_matrices(types, attrs)
    return Type(t.axes, t.shape[:-2], "float")


@shape_rule("lu")
def _lu(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Of a matrix with its rows in another order: both triangles (d * d), rows taken (d), sign, determinant."""
    t = _square_matrices(types, attrs)
    d = t.shape[-1]
    return Type(t.axes, (*t.shape[:-2], d * d + d + 2), "float")


@shape_rule("lu_solve")
def _lu_solve(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """`linsolve` of a matrix that is given by its `lu`."""
    return types[1]


@shape_rule("where")
def _where(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "where")
    require(types[0].dtype == "bool" and types[1].dtype == types[2].dtype, "where needs bool, T, T", *types)
    return types[1]


@shape_rule("cast")
def _cast(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(types[0].axes, types[0].shape, attrs["dtype"])


@shape_rule("stop", "mark", "kept")
def _same_type(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return types[0]


@shape_rule("scale_grad")
def _scale_grad(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "scale_grad")
    return types[0]


@shape_rule("graft")
def _graft(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The value of argument 0 with the derivative of argument 1 (straight-through)."""
    require_same(types, "graft")
    return types[0]


@shape_rule("const")
def _const(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    value = attrs["value"].value
    return Type((), value.shape, {"f": "float", "i": "int", "u": "int", "b": "bool"}[value.dtype.kind])


@shape_rule("param", "aux", "hyper", "input", "noise", "arg")
def _leaf(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(sort_axes(attrs.get("axes", ())), attrs.get("shape", ()), attrs.get("dtype", "float"))


@shape_rule("rowkey")
def _rowkey(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """One 64-bit noise key per row and particle, for external functions."""
    return Type(sort_axes(attrs["axes"]), (), "int")


@shape_rule("size", "scale")
def _scalar(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type()


@shape_rule("rowid")
def _rowid(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type((attrs["axis"],), (), "int")


@shape_rule("expand")
def _expand(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Add named `axes` and broadcast the event to `shape` (right-aligned, as in NumPy)."""
    (t,) = types
    shape, new = attrs["shape"], attrs["axes"]
    require(not set(new) & set(t.axes), "expand adds axes that are there already", t)
    require(t.branch is None or not any(a.kind is Kind.BRANCH for a in new), "branch axes are joined by route", t)
    offset = len(shape) - len(t.shape)
    fits = offset >= 0 and all(a in (1, b) for a, b in zip(t.shape, shape[offset:], strict=True))
    require(fits, f"event shape {t.shape} does not broadcast to {shape}")
    return Type(sort_axes(t.axes + new), shape, t.dtype)


@shape_rule("route")
def _route(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Assemble branch axis `to` (or none): entry t is the sum of the (argument, entry) pairs `terms[t]`."""
    to, terms = attrs["to"], attrs["terms"]
    plain = [tuple(a for a in t.axes if a.kind is not Kind.BRANCH) for t in types]
    require(all(p == plain[0] for p in plain), "route needs equal axes", *types)
    require(
        all(t.shape == types[0].shape and t.dtype == types[0].dtype for t in types),
        "route needs equal events",
        *types,
    )
    require(len(terms) == (1 if to is None else len(to.copies)), "route needs terms for every entry", *types)
    for pairs in terms:
        for arg, entry in pairs:
            branch = types[arg].branch
            require(entry < (1 if branch is None else len(branch.copies)), "route reads a missing entry", *types)
    return Type(plain[0] + (() if to is None else (to,)), types[0].shape, types[0].dtype)


@shape_rule("sum", "amax")
def _reduce(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Reduce over named `axes` and event `dims` (non-negative)."""
    (t,) = types
    require(set(attrs["axes"]) <= set(t.axes), "reduction over an axis that is not there", t)
    require(
        all(0 <= d < len(t.shape) for d in attrs["dims"]),
        f"reduction over event dimension {attrs['dims']}",
        t,
    )
    shape = tuple(n for d, n in enumerate(t.shape) if d not in attrs["dims"])
    return Type(tuple(a for a in t.axes if a not in attrs["axes"]), shape, t.dtype)


@shape_rule("argmax")
def _argmax(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    (t,) = types
    require(len(t.shape) >= 1, "argmax needs an event dimension", t)
    return Type(t.axes, t.shape[:-1], "int")


@shape_rule("cumsum")
def _cumsum(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Running sums along the last event dimension, added up in order: a zero entry changes nothing after it."""
    (t,) = types
    require(len(t.shape) >= 1 and t.dtype == "float", "cumsum needs floats with an event dimension", t)
    return t


@shape_rule("reshape")
def _reshape(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    out = Type(types[0].axes, attrs["shape"], types[0].dtype)
    require(out.event_size == types[0].event_size, f"cannot reshape the event to {attrs['shape']}", types[0])
    return out


@shape_rule("transpose")
def _transpose(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    (t,) = types
    require(sorted(attrs["perm"]) == list(range(len(t.shape))), f"bad permutation {attrs['perm']}", t)
    return Type(t.axes, tuple(t.shape[p] for p in attrs["perm"]), t.dtype)


@shape_rule("slice")
def _slice(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Strided event window: per dimension (start, length, step)."""
    (t,) = types
    require(len(attrs["window"]) == len(t.shape), "slice needs a window per event dimension", t)
    return Type(t.axes, tuple(length for _, length, _ in attrs["window"]), t.dtype)


@shape_rule("pad")
def _pad(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Adjoint of `slice`: zeros of event `shape` with the argument in `window`."""
    return Type(types[0].axes, attrs["shape"], types[0].dtype)


@shape_rule("concat")
def _concat(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    first, dim = types[0], attrs["dim"]
    rest = [t.shape[:dim] + t.shape[dim + 1 :] for t in types]
    require(
        all(t.axes == first.axes and r == rest[0] for t, r in zip(types, rest, strict=True)),
        "concatenate",
        *types,
    )
    total = sum(t.shape[dim] for t in types)
    return Type(first.axes, (*first.shape[:dim], total, *first.shape[dim + 1 :]), first.dtype)


@shape_rule("take")
def _take(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Rows of argument 0 (event (n, ...)) at the integers of argument 1 (event I), clamped to 0 ... n - 1."""
    table, index = types
    require(table.axes == index.axes and index.dtype == "int" and len(table.shape) >= 1, "take", *types)
    return Type(table.axes, index.shape + table.shape[1:], table.dtype)


@shape_rule("put")
def _put(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Adjoint of `take`: scatter-add argument 0 into `size` zero rows at argument 1, summed over `over`."""
    value, index = types
    require(value.axes == index.axes and value.shape[: len(index.shape)] == index.shape, "put", *types)
    kept = tuple(a for a in value.axes if a not in attrs["over"])
    return Type(kept, (attrs["size"], *value.shape[len(index.shape) :]), value.dtype)


@shape_rule("contract")
def _contract(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Sum of products over labels that the output lacks, as in einsum, and over the named axes `over`."""
    a, b = types
    require(a.axes == b.axes, "contract needs equal axes", a, b)
    sizes: dict[str, int] = {}
    for labels, t in ((attrs["a"], a), (attrs["b"], b)):
        require(len(labels) == len(t.shape) and len(set(labels)) == len(labels), f"contract labels {labels}", t)
        for label, n in zip(labels, t.shape, strict=True):
            require(sizes.setdefault(label, n) == n, "contracted event dimensions differ", a, b)
    shape = tuple(sizes[label] for label in attrs["out"])
    return Type(tuple(x for x in a.axes if x not in attrs["over"]), shape, "float")


@shape_rule("collect")
def _collect(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Turn fixed-size named axis `axis` into the leading event dimension."""
    (t,), axis = types, attrs["axis"]
    require(axis in t.axes and axis.size is not None, "collect needs a fixed-size axis", t)
    return Type(tuple(a for a in t.axes if a != axis), (axis.size, *t.shape), t.dtype)


@shape_rule("distribute")
def _distribute(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Turn the leading event dimension into named axis `axis`; the inverse of `collect`."""
    (t,), axis = types, attrs["axis"]
    require(len(t.shape) >= 1 and t.shape[0] == axis.size, f"distribute needs a leading dimension of {axis}", t)
    return Type(sort_axes((*t.axes, axis)), t.shape[1:], t.dtype)


@shape_rule("external")
def _external(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require(all(t.axes == attrs["axes"] for t in types), "external needs equal axes", *types)
    return Type(attrs["axes"], attrs["shape"], attrs["dtype"])


@shape_rule("loop")
def _loop(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The loop op has several results, read by `get`; its own type is that of its first result."""
    return attrs["body"].result_type(0, attrs["length"])


@shape_rule("get")
def _get(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return attrs["type"]


@shape_rule("step_input")
def _step_input(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(sort_axes(attrs["axes"]), attrs["shape"], attrs["dtype"])


@shape_rule("stacked")
def _stacked(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The first argument in all steps of a loop, time leading its event."""
    first = types[0]
    return Type(first.axes, (attrs["scan"].length, *first.shape), first.dtype)


@shape_rule("final", "entered")
def _type_of_first(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return types[0]


@shape_rule("own_density")
def _own_density(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The log-density of random node `name` at its own sample: that value, marked for estimators that treat it."""
    return types[0]


@shape_rule("sample")
def _sample(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(sort_axes(attrs["axes"]), attrs["shape"], attrs["dtype"])


@shape_rule("gemm", "turns")
def _declared_type(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Products of groups of loops, and loops over lowered bodies, of which it is the first result."""
    return attrs["type"]


@shape_rule("copy")
def _copy(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return types[0]


@shape_rule("draw_rows", "lanes")
def _row_draws(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """All draws of op `draw`, or their slopes: integers where they are counts."""
    return Type(types[0].axes, types[0].shape, "int" if attrs["draw"] in COUNTS else "float")


@shape_rule("table_dot")
def _table_dot(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """table (N, D), index (K,) or (), x (D): table[index] @ x."""
    return Type(types[1].axes, types[1].shape, "float")


@shape_rule("table_sum")
def _table_sum(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """table (N, D), index (K,), x (K): x @ table[index]."""
    return Type(types[1].axes, types[0].shape[-1:], "float")
