"""Rules of `route`, and the pass that drops branch entries that nothing reads.

Routes: identities go, compositions merge, and pure broadcasts are expands. `drop_unread_branches` is a pass over the
whole graph, since all uses of a value together say which entries are read: reverse mode multiplies cotangents back
through a value for all of its branch entries, but the primal entry is mostly stopped, so that products need no rows for
it. A narrowed branch axis may lack the primal entry; it is meant for graphs that are differentiated no more."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.ir.node import Node, make, remake, topological
from ppl.ir.op_facts import ELEMENTWISE, ops_of_role
from ppl.ir.rewrites.patterns import Rule, strip_expands
from ppl.ir.types import Axis, Kind


def _make_route(args: list[Node], n: Node, terms: list[tuple[tuple[int, int], ...]]) -> Node:
    """A route like `n` with other arguments, of which only those read are kept, each once."""
    distinct = list(dict.fromkeys(args[i] for pairs in terms for i, _ in pairs)) or args[:1]
    index = {arg: i for i, arg in enumerate(distinct)}
    renamed = tuple(tuple((index[args[i]], s) for i, s in pairs) for pairs in terms)
    return make("route", *distinct, to=n.attrs["to"], terms=renamed, live=n.attrs["live"])


def unread_arguments(n: Node) -> Node | None:
    """Convert a route to one without arguments that it does not read or has twice."""
    new = _make_route(list(n.args), n, list(n.attrs["terms"]))
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
        branch, found = x.type.branch, strip_expands(x)
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
    return _make_route(args, n, terms)


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
    return _make_route(args, n, terms) if changed else None


def _branch_entry(x: Node, pair: tuple[int, int]) -> Node:
    """One branch entry of `x`, without the axis."""
    return make("route", x, to=None, terms=((pair,),), live=(True,))


def pick_of_contract(n: Node) -> Node | None:
    """Convert a sum of entries of a contract to contracts of entries: dW reads live entries only."""
    if n.attrs["to"] is not None or len(n.args) != 1 or n.args[0].op != "contract" or not n.attrs["terms"][0]:
        return None
    x = n.args[0]
    if x.type.branch is None:
        return None
    parts = [make("contract", *(_branch_entry(a, pair) for a in x.args), **x.attrs) for pair in n.attrs["terms"][0]]
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
        if not plain and a.type.branch not in strip_expands(a).added:
            return None
    return make(x.op, *(_branch_entry(a, (0, entry)) for a in x.args), **x.attrs)


ROUTE_RULES: dict[str, list[Rule]] = {
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

Entries = frozenset[int]

LOOP_OPS = ops_of_role("loop")


def drop_unread_branches(outputs: Sequence[Node]) -> list[Node]:
    """The same values, computed for the branch entries that are read; the same nodes if no product gains by it."""
    order = topological(outputs)
    read = branch_entries_read(order, outputs)
    if not any(n.op == "contract" and n.type.branch is not None and len(read[n]) < _branch_count(n) for n in order):
        return list(outputs)
    made: dict[Node, Node] = {}
    for node in order:
        made[node] = _narrow_route(node, read, made) if node.op == "route" else _narrow_node(node, read, made)
    return [made[n] for n in outputs]


def branch_entries_read(order: Sequence[Node], outputs: Sequence[Node]) -> dict[Node, Entries]:
    """The branch entries of every node that some use reads; `order` has arguments before their uses."""
    read: dict[Node, Entries] = {n: _all_entries(n) for n in outputs}
    for node in reversed(order):
        own = read[node] = read[node] if _can_narrow(node) else _all_entries(node)
        for i, arg in enumerate(node.args):
            if arg.type.branch is None:
                continue
            if node.op == "route":
                wanted = frozenset(s for t in own for j, s in node.attrs["terms"][t] if j == i)
            elif node.type.branch == arg.type.branch and node.op not in LOOP_OPS:
                wanted = own
            else:
                wanted = _all_entries(arg)
            read[arg] = read.get(arg, frozenset()) | wanted
    return read


def _can_narrow(node: Node) -> bool:
    """Whether `node` can be made with fewer branch entries."""
    branch = node.type.branch
    makes = node.op in ("route", "expand")
    return branch is not None and node.op not in LOOP_OPS and (makes or any(a.type.branch == branch for a in node.args))


def _branch_count(node: Node) -> int:
    branch = node.type.branch
    return 1 if branch is None else len(branch.copies)


def _all_entries(node: Node) -> Entries:
    return frozenset(range(_branch_count(node)))


def _narrowed_axis(branch: Axis, entries: Entries) -> Axis:
    """The branch axis with some of its entries."""
    copies = tuple(c for t, c in enumerate(branch.copies) if t in entries)
    return Axis(branch.name, Kind.BRANCH, len(copies), branch.depth, copies)


def _narrow_node(node: Node, read: dict[Node, Entries], made: dict[Node, Node]) -> Node:
    """`node`, no route, on the entries that are read."""
    branch, entries = node.type.branch, read[node]
    through = node.op not in LOOP_OPS
    args = tuple(
        _pick_entries(made[a], a, entries, read)
        if through and branch is not None and a.type.branch == branch
        else made[a]
        for a in node.args
    )
    if node.op == "expand" and branch in node.attrs["axes"] and branch is not None:
        axes = tuple(_narrowed_axis(branch, entries) if a == branch else a for a in node.attrs["axes"])
        live = node.attrs["live"]
        kept = None if live is None else tuple(x for t, x in enumerate(live) if t in entries)
        return make("expand", *args, axes=axes, shape=node.attrs["shape"], live=kept)
    return remake(node, args)


def _narrow_route(node: Node, read: dict[Node, Entries], made: dict[Node, Node]) -> Node:
    """A route to the entries that are read."""
    entries, to = read[node], node.attrs["to"]
    places = [{s: k for k, s in enumerate(sorted(read[a]))} for a in node.args]
    kept = [t for t in range(len(node.attrs["terms"])) if t in entries]
    terms = tuple(tuple((i, places[i][s]) for i, s in node.attrs["terms"][t]) for t in kept)
    live = tuple(node.attrs["live"][t] for t in kept)
    axis = None if to is None else _narrowed_axis(to, entries)
    return make("route", *(made[a] for a in node.args), to=axis, terms=terms, live=live)


def _pick_entries(new: Node, old: Node, entries: Entries, read: dict[Node, Entries]) -> Node:
    """Those entries of `new`, which has the entries of `old` that are read."""
    if entries == read[old]:
        return new
    assert old.type.branch is not None
    have = sorted(read[old])
    terms = tuple(((0, have.index(t)),) for t in sorted(entries))
    return make("route", new, to=_narrowed_axis(old.type.branch, entries), terms=terms, live=(True,) * len(terms))
