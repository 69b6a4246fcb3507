"""Rules of `route`: identities go, compositions merge, and pure broadcasts are expands."""

from __future__ import annotations

from ppl.ir.node import Node, make
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.rewrites.match import Rule, strip


def _make(args: list[Node], n: Node, terms: list[tuple[tuple[int, int], ...]]) -> Node:
    """A route like `n` with other arguments, of which only those read are kept, each once."""
    distinct = list(dict.fromkeys(args[i] for pairs in terms for i, _ in pairs)) or args[:1]
    index = {arg: i for i, arg in enumerate(distinct)}
    renamed = tuple(tuple((index[args[i]], s) for i, s in pairs) for pairs in terms)
    return make("route", *distinct, to=n.attrs["to"], terms=renamed, live=n.attrs["live"])


def unread_arguments(n: Node) -> Node | None:
    """Convert a route to one without arguments that it does not read or has twice."""
    new = _make(list(n.args), n, list(n.attrs["terms"]))
    return None if new is n else new


def identity_route(n: Node) -> Node | None:
    """Convert a route that reads its argument's own entries in order to the argument."""
    terms = tuple(((0, t),) for t in range(len(n.attrs["terms"])))
    same = len(n.args) == 1 and n.attrs["to"] == n.args[0].type.branch and n.attrs["terms"] == terms
    return n.args[0] if same and all(n.attrs["live"]) else None


def uniform_route(n: Node) -> Node | None:
    """Convert a route that reads one entry everywhere to an expand of that entry."""
    to, terms = n.attrs["to"], n.attrs["terms"]
    if to is None or len(set(terms)) != 1 or len(terms[0]) != 1:
        return None
    one = make("route", *n.args, to=None, terms=(terms[0],), live=(True,))
    live = None if all(n.attrs["live"]) else n.attrs["live"]
    return make("expand", one, axes=(to,), shape=n.type.shape, live=live)


def route_of_broadcast(n: Node) -> Node | None:
    """Convert route(expand(x) over the branch axis) to a route that reads x itself."""
    args, changed = list(n.args), False
    flat = []
    for i, x in enumerate(n.args):
        branch, found = x.type.branch, strip(x)
        flat.append(branch is not None and branch in found.added)
        if flat[i]:
            plain = tuple(a for a in x.type.axes if a is not branch)
            missing = tuple(a for a in plain if a not in found.core.type.axes)
            same = not missing and found.core.type.shape == x.type.shape
            args[i] = found.core if same else make(
                "expand", found.core, axes=missing, shape=x.type.shape, live=None)  # fmt: skip
            changed = True
    if not changed:
        return None
    terms = [tuple((i, 0 if flat[i] else s) for i, s in pairs) for pairs in n.attrs["terms"]]
    return _make(args, n, terms)


def merge_routes(n: Node) -> Node | None:
    """Convert route(route(x)) to one route when every entry that is read has at most one source."""
    args: list[Node] = list(n.args)
    terms: list[tuple[tuple[int, int], ...]] = []
    changed = False
    for pairs in n.attrs["terms"]:
        new: list[tuple[int, int]] = []
        for i, s in pairs:
            x = n.args[i]
            inner = x.attrs["terms"][s] if x.op == "route" and all(x.attrs["live"]) else None
            if inner is None or len(inner) > 1:
                new.append((i, s))
                continue
            changed = True
            for j, u in inner:
                args.append(x.args[j])
                new.append((len(args) - 1, u))
        terms.append(tuple(new))
    return _make(args, n, terms) if changed else None


def _entry(x: Node, pair: tuple[int, int]) -> Node:
    """One branch entry of `x`, without the axis."""
    return make("route", x, to=None, terms=((pair,),), live=(True,))


def pick_of_contract(n: Node) -> Node | None:
    """Convert a sum of entries of a contract to contracts of entries: dW reads live entries only."""
    if n.attrs["to"] is not None or len(n.args) != 1 or n.args[0].op != "contract" or not n.attrs["terms"][0]:
        return None
    x = n.args[0]
    if x.type.branch is None:
        return None
    parts = [make("contract", *(_entry(a, pair) for a in x.args), **x.attrs) for pair in n.attrs["terms"][0]]
    total = parts[0]
    for part in parts[1:]:
        total = make("add", total, part)
    return total


def pick_of_elementwise(n: Node) -> Node | None:
    """Convert an entry of an elementwise op to the op of entries of broadcast or assembled operands."""
    if n.attrs["to"] is not None or len(n.attrs["terms"][0]) != 1 or n.args[0].op not in ELEMENTWISE:
        return None
    ((_, entry),) = n.attrs["terms"][0]
    x = n.args[0]
    for a in x.args:
        assembled = a.op == "route" and all(a.attrs["live"]) and len(a.attrs["terms"][entry]) == 1
        plain = assembled and a.args[a.attrs["terms"][entry][0][0]].type.branch is None
        if not plain and a.type.branch not in strip(a).added:
            return None
    return make(x.op, *(_entry(a, (0, entry)) for a in x.args), **x.attrs)


RULES: dict[str, list[Rule]] = {
    "route": [
        unread_arguments,
        identity_route,
        uniform_route,
        route_of_broadcast,
        merge_routes,
        pick_of_contract,
        pick_of_elementwise,
    ]
}
