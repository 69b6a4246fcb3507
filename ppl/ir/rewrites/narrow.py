"""Drop branch entries that nothing reads, so that products have no rows for them.

Reverse mode multiplies cotangents back through a value for all of its branch entries, but the trunk's value is
mostly stopped: only the side branches' entries of that product are read. What is read is known only from all uses
of a value together, so this is a pass over the whole graph and not a rewrite rule. A narrowed branch axis may lack
the trunk; it is meant for graphs that are differentiated no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.ir.node import Node, make, remake, topological
from ppl.ir.op_facts import of_role
from ppl.ir.types import Axis, Kind

Entries = frozenset[int]
WITH_BODIES = of_role("loop")


def narrow(outputs: Sequence[Node]) -> list[Node]:
    """The same values, computed for the branch entries that are read; the same nodes if no product gains by it."""
    order = topological(outputs)
    read = entries_read(order, outputs)
    if not any(n.op == "contract" and n.type.branch is not None and len(read[n]) < _count(n) for n in order):
        return list(outputs)
    made: dict[Node, Node] = {}
    for node in order:
        made[node] = _route(node, read, made) if node.op == "route" else _other(node, read, made)
    return [made[n] for n in outputs]


def entries_read(order: Sequence[Node], outputs: Sequence[Node]) -> dict[Node, Entries]:
    """The branch entries of every node that some use reads; `order` has arguments before their uses."""
    read: dict[Node, Entries] = {n: _all(n) for n in outputs}
    for node in reversed(order):
        own = read[node] = read[node] if _narrows(node) else _all(node)
        for i, arg in enumerate(node.args):
            if arg.type.branch is None:
                continue
            if node.op == "route":
                wanted = frozenset(s for t in own for j, s in node.attrs["terms"][t] if j == i)
            elif node.type.branch == arg.type.branch and node.op not in WITH_BODIES:
                wanted = own
            else:
                wanted = _all(arg)
            read[arg] = read.get(arg, frozenset()) | wanted
    return read


def _narrows(node: Node) -> bool:
    """Whether `node` can be made with fewer branch entries."""
    branch = node.type.branch
    makes = node.op in ("route", "expand")
    return (
        branch is not None and node.op not in WITH_BODIES and (makes or any(a.type.branch == branch for a in node.args))
    )


def _count(node: Node) -> int:
    branch = node.type.branch
    return 1 if branch is None else len(branch.copies)


def _all(node: Node) -> Entries:
    return frozenset(range(_count(node)))


def _axis(branch: Axis, entries: Entries) -> Axis:
    """The branch axis with some of its entries."""
    copies = tuple(c for t, c in enumerate(branch.copies) if t in entries)
    return Axis(branch.name, Kind.BRANCH, len(copies), branch.depth, copies)


def _other(node: Node, read: dict[Node, Entries], made: dict[Node, Node]) -> Node:
    """`node`, no route, on the entries that are read."""
    branch, entries = node.type.branch, read[node]
    through = node.op not in WITH_BODIES
    args = tuple(
        _pick(made[a], a, entries, read) if through and branch is not None and a.type.branch == branch else made[a]
        for a in node.args
    )
    if node.op == "expand" and branch in node.attrs["axes"] and branch is not None:
        axes = tuple(_axis(branch, entries) if a == branch else a for a in node.attrs["axes"])
        live = node.attrs["live"]
        kept = None if live is None else tuple(x for t, x in enumerate(live) if t in entries)
        return make("expand", *args, axes=axes, shape=node.attrs["shape"], live=kept)
    return remake(node, args)


def _route(node: Node, read: dict[Node, Entries], made: dict[Node, Node]) -> Node:
    """A route to the entries that are read."""
    entries, to = read[node], node.attrs["to"]
    places = [{s: k for k, s in enumerate(sorted(read[a]))} for a in node.args]
    kept = [t for t in range(len(node.attrs["terms"])) if t in entries]
    terms = tuple(tuple((i, places[i][s]) for i, s in node.attrs["terms"][t]) for t in kept)
    live = tuple(node.attrs["live"][t] for t in kept)
    axis = None if to is None else _axis(to, entries)
    return make("route", *(made[a] for a in node.args), to=axis, terms=terms, live=live)


def _pick(new: Node, old: Node, entries: Entries, read: dict[Node, Entries]) -> Node:
    """Those entries of `new`, which has the entries of `old` that are read."""
    if entries == read[old]:
        return new
    assert old.type.branch is not None
    have = sorted(read[old])
    terms = tuple(((0, have.index(t)),) for t in sorted(entries))
    return make("route", new, to=_axis(old.type.branch, entries), terms=terms, live=(True,) * len(terms))
