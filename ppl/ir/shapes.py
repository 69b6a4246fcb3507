"""Shape and dtype rules: one per op. `make` calls them, and the verifier calls them again.

Ops of a common signature have theirs by the column `types` of the table of facts (`ppl.ir.signatures.common`); those of
ops that only compiled programs have stand in `ppl.ir.signatures.lowered`.

The rules are strict: arguments of an elementwise op have equal axes and equal event shapes. Broadcasting is
explicit, through `expand` and `route`, which `ppl.ir.ops` inserts.
"""

from __future__ import annotations

from typing import Any

from ppl.ir.signatures import common as _common  # noqa: F401  (registers its rules)
from ppl.ir.signatures import lowered as _lowered  # noqa: F401
from ppl.ir.signatures import matrices as _matrices  # noqa: F401
from ppl.ir.signatures.rule import require, require_same, rule
from ppl.ir.types import Kind, Type, sort_axes


@rule("where")
def _where(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "where")
    require(types[0].dtype == "bool" and types[1].dtype == types[2].dtype, "where needs bool, T, T", *types)
    return types[1]


@rule("cast")
def _cast(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(types[0].axes, types[0].shape, attrs["dtype"])


@rule("stop", "mark", "kept")
def _stop(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return types[0]


@rule("scale_grad")
def _scale_grad(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require_same(types, "scale_grad")
    return types[0]


@rule("graft")
def _graft(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The value of argument 0 with the derivative of argument 1 (straight-through)."""
    require_same(types, "graft")
    return types[0]


@rule("const")
def _const(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    value = attrs["value"].value
    return Type((), value.shape, {"f": "float", "i": "int", "u": "int", "b": "bool"}[value.dtype.kind])


@rule("param", "aux", "hyper", "input", "noise", "arg")
def _symbol(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(sort_axes(attrs.get("axes", ())), attrs.get("shape", ()), attrs.get("dtype", "float"))


@rule("rowkey")
def _rowkey(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """One 64-bit noise key per row and particle, for external functions."""
    return Type(sort_axes(attrs["axes"]), (), "int")


@rule("size", "scale")
def _scalar(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type()


@rule("rowid")
def _rowid(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type((attrs["axis"],), (), "int")


@rule("expand")
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


@rule("route")
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


@rule("sum", "amax")
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


@rule("argmax")
def _argmax(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    (t,) = types
    require(len(t.shape) >= 1, "argmax needs an event dimension", t)
    return Type(t.axes, t.shape[:-1], "int")


@rule("cumsum")
def _cumsum(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Running sums along the last event dimension, added up in order: a zero entry changes nothing after it."""
    (t,) = types
    require(len(t.shape) >= 1 and t.dtype == "float", "cumsum needs floats with an event dimension", t)
    return t


@rule("reshape")
def _reshape(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    out = Type(types[0].axes, attrs["shape"], types[0].dtype)
    require(out.event_size == types[0].event_size, f"cannot reshape the event to {attrs['shape']}", types[0])
    return out


@rule("transpose")
def _transpose(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    (t,) = types
    require(sorted(attrs["perm"]) == list(range(len(t.shape))), f"bad permutation {attrs['perm']}", t)
    return Type(t.axes, tuple(t.shape[p] for p in attrs["perm"]), t.dtype)


@rule("slice")
def _slice(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Strided event window: per dimension (start, length, step)."""
    (t,) = types
    require(len(attrs["window"]) == len(t.shape), "slice needs a window per event dimension", t)
    return Type(t.axes, tuple(length for _, length, _ in attrs["window"]), t.dtype)


@rule("pad")
def _pad(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Adjoint of `slice`: zeros of event `shape` with the argument in `window`."""
    return Type(types[0].axes, attrs["shape"], types[0].dtype)


@rule("concat")
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


@rule("take")
def _take(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Rows of argument 0 (event (n, ...)) at the integers of argument 1 (event I), clamped to 0 ... n - 1."""
    table, index = types
    require(table.axes == index.axes and index.dtype == "int" and len(table.shape) >= 1, "take", *types)
    return Type(table.axes, index.shape + table.shape[1:], table.dtype)


@rule("put")
def _put(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Adjoint of `take`: scatter-add argument 0 into `size` zero rows at argument 1, summed over `over`."""
    value, index = types
    require(value.axes == index.axes and value.shape[: len(index.shape)] == index.shape, "put", *types)
    kept = tuple(a for a in value.axes if a not in attrs["over"])
    return Type(kept, (attrs["size"], *value.shape[len(index.shape) :]), value.dtype)


@rule("contract")
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


@rule("collect")
def _collect(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Turn fixed-size named axis `axis` into the leading event dimension."""
    (t,), axis = types, attrs["axis"]
    require(axis in t.axes and axis.size is not None, "collect needs a fixed-size axis", t)
    return Type(tuple(a for a in t.axes if a != axis), (axis.size, *t.shape), t.dtype)


@rule("distribute")
def _distribute(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """Turn the leading event dimension into named axis `axis`; the inverse of `collect`."""
    (t,), axis = types, attrs["axis"]
    require(len(t.shape) >= 1 and t.shape[0] == axis.size, f"distribute needs a leading dimension of {axis}", t)
    return Type(sort_axes((*t.axes, axis)), t.shape[1:], t.dtype)


@rule("external")
def _external(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    require(all(t.axes == attrs["axes"] for t in types), "external needs equal axes", *types)
    return Type(attrs["axes"], attrs["shape"], attrs["dtype"])


@rule("loop")
def _loop(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The loop op has several results, read by `get`; its own type is that of its first result."""
    return attrs["body"].result_type(0, attrs["length"])


@rule("get")
def _get(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return attrs["type"]


@rule("step_input")
def _step_input(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(sort_axes(attrs["axes"]), attrs["shape"], attrs["dtype"])


@rule("stacked")
def _stacked(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The first argument in all steps of a loop, time leading its event."""
    first = types[0]
    return Type(first.axes, (attrs["scan"].length, *first.shape), first.dtype)


@rule("final", "entered")
def _final(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return types[0]


@rule("own_density")
def _own_density(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    """The log-density of random node `name` at its own sample: that value, marked for estimators that treat it."""
    return types[0]


@rule("sample")
def _sample(types: tuple[Type, ...], attrs: dict[str, Any]) -> Type:
    return Type(sort_axes(attrs["axes"]), attrs["shape"], attrs["dtype"])
