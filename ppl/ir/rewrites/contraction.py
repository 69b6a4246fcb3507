"""Rules of `contract` and `put`: contract small operands, and only over what both of them vary along."""

from __future__ import annotations

from ppl.ir.node import Node, make
from ppl.ir.rewrites.match import (
    Rule,
    op,
    reshaped,
    spread,
    spread_like,
    strip,
    summed,
    times_sizes,
    without,
)


def _with(n: Node, x: Node, y: Node, /, **changes: object) -> Node:
    return make("contract", x, y, **{**n.attrs, **changes})


def contract_broadcast_axes(n: Node) -> Node | None:
    """Convert contract(expand(x), y) to a contraction without the named axes A that x only repeats along.

    Kept axes that neither operand varies along are added afterwards; summed axes of that kind multiply by
    their length; summed axes that only one operand varies along are summed in that operand first.
    """
    a, b = n.args
    over = n.attrs["over"]
    lazy_a, lazy_b = set(strip(a).added), set(strip(b).added)
    gone = {x for x in a.type.axes if (x in lazy_a and x in lazy_b) or (x in over and x in lazy_a | lazy_b)}
    if not gone:
        return None

    def shrink(x: Node, lazy: set) -> Node:
        return summed(without(x, gone & lazy), tuple(s for s in x.type.axes if s in gone - lazy), ())

    small = _with(n, shrink(a, lazy_a), shrink(b, lazy_b), over=tuple(x for x in over if x not in gone))
    doubled = tuple(x for x in a.type.axes if x in over and x in lazy_a & lazy_b)
    return spread_like(times_sizes(small, doubled), n.type)


def contract_broadcast_labels(n: Node) -> Node | None:
    """Convert contract(expand(x), y) to a contraction without the event labels that x only repeats along."""
    out = n.attrs["out"]
    for mine, other, i in ((n.attrs["a"], n.attrs["b"], 0), (n.attrs["b"], n.attrs["a"], 1)):
        found = strip(n.args[i])
        gone = found.missing(range(len(mine)))
        if not gone:
            continue
        labels = "".join(c for d, c in enumerate(mine) if d not in gone)
        small = reshaped(found.core, tuple(m for d, m in enumerate(found.padded) if d not in gone))
        dims = [d for d in range(len(mine)) if d not in gone]
        small = spread(small, found.full.type.axes, tuple(found.full.type.shape[d] for d in dims))
        sizes = dict(zip(mine, found.full.type.shape, strict=True))
        lost = [mine[d] for d in gone if mine[d] not in other]
        count = 1
        for c in lost:
            count *= 1 if c in out else sizes[c]
        new_out = "".join(c for c in out if c not in lost)
        args = (small, n.args[1]) if i == 0 else (n.args[0], small)
        result = _with(n, *args, a=labels if i == 0 else other, b=other if i == 0 else labels, out=new_out)
        result = times_sizes(result, (), count)
        shape = tuple(1 if c in lost else m for c, m in zip(out, n.type.shape, strict=True))
        return spread_like(reshaped(result, shape), n.type)
    return None


def sum_private_labels(n: Node) -> Node | None:
    """Convert a contraction over a label that only one operand has to a contraction of that operand's sum."""
    labels = [n.attrs["a"], n.attrs["b"]]
    args = list(n.args)
    for i in (0, 1):
        mine, other = labels[i], labels[1 - i]
        dims = tuple(d for d, c in enumerate(mine) if c not in other and c not in n.attrs["out"])
        if dims:
            args[i] = summed(args[i], (), dims)
            labels[i] = "".join(c for d, c in enumerate(mine) if d not in dims)
    return _with(n, *args, a=labels[0], b=labels[1]) if args[0] is not n.args[0] or args[1] is not n.args[1] else None


def contract_of_transpose(n: Node) -> Node | None:
    """Convert contract(transpose(x), y) to a contraction with the labels of x permuted."""
    labels, args = [n.attrs["a"], n.attrs["b"]], list(n.args)
    for i, x in enumerate(n.args):
        found = strip(x)
        if found.core.op != "transpose" or found.core.type.shape != found.full.type.shape:
            continue
        perm = found.core.attrs["perm"]
        back = [perm.index(d) for d in range(len(perm))]
        labels[i] = "".join(labels[i][d] for d in back)
        inner = found.core.args[0]
        args[i] = spread(inner, x.type.axes, inner.type.shape)
    changed = any(a is not b for a, b in zip(args, n.args, strict=True))
    return _with(n, *args, a=labels[0], b=labels[1]) if changed else None


def transpose_of_contract(n: Node) -> Node | None:
    """Convert transpose(contract(x, y)) to a contraction with the output labels permuted."""
    (x,) = n.args
    if x.op != "contract":
        return None
    return _with(x, *x.args, out="".join(x.attrs["out"][p] for p in n.attrs["perm"]))


def contract_of_negative(n: Node) -> Node | None:
    """Convert contract(-x, y) and contract(x, -y) to -contract(x, y)."""
    a, b = n.args
    if a.op == "neg":
        return op("neg", _with(n, a.args[0], b))
    return op("neg", _with(n, a, b.args[0])) if b.op == "neg" else None


def contract_of_multiple(n: Node) -> Node | None:
    """Convert contract(x · s, y) to contract(x, y) · s when s is one number for all rows."""
    for i in (0, 1):
        x = n.args[i]
        if x.op != "mul":
            continue
        for factor, rest in ((x.args[1], x.args[0]), (x.args[0], x.args[1])):
            core = strip(factor).core
            if not core.type.axes and not core.type.shape:
                args = (rest, n.args[1]) if i == 0 else (n.args[0], rest)
                return op("mul", _with(n, *args), spread_like(core, n.type))
    return None


def contract_with_number(n: Node) -> Node | None:
    """Convert a contraction that sums over nothing and has a label-free operand to a product."""
    a, b = n.attrs["a"], n.attrs["b"]
    if n.attrs["over"] or (a and b):
        return None
    x, y, labels = (n.args[0], n.args[1], b) if not a else (n.args[1], n.args[0], a)
    if labels != n.attrs["out"]:
        return None
    return op("mul", y, spread_like(x, n.type))


def put_broadcast_axes(n: Node) -> Node | None:
    """Convert put(expand(x), expand(i)) to a put without the named axes that the index only repeats along."""
    value, index = n.args
    over = n.attrs["over"]
    lazy_value, lazy_index = set(strip(value).added), set(strip(index).added)
    gone = {a for a in lazy_index if a in over or a in lazy_value}
    if not gone:
        return None
    small_value = without(value, gone & lazy_value)
    small_value = summed(small_value, tuple(a for a in value.type.axes if a in gone - lazy_value), ())
    kept = tuple(a for a in over if a not in gone)
    small = make("put", small_value, without(index, gone), size=n.attrs["size"], over=kept)
    doubled = tuple(a for a in value.type.axes if a in over and a in gone & lazy_value)
    return spread_like(times_sizes(small, doubled), n.type)


RULES: dict[str, list[Rule]] = {
    "contract": [
        contract_broadcast_axes,
        contract_broadcast_labels,
        sum_private_labels,
        contract_of_transpose,
        contract_of_negative,
        contract_of_multiple,
        contract_with_number,
    ],
    "transpose": [transpose_of_contract],
    "put": [put_broadcast_axes],
}
