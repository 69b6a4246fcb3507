"""Tables that threads share by columns: programs that read rows of tables only through inner products.

Where rows are shared, a thread reads rows that another has just written. Here every part has some columns of all
tables, and nobody else touches them: a step takes the products of the columns of each part, adds these up, and from the
coefficients that come out each part moves its own columns. What threads exchange is a number per product.

====================  ====================================  ======================================================
op                    arguments                             value
====================  ====================================  ======================================================
`column_dot`          rows (K,) or (), row ()               Σⱼ left[rows, j] · right[row, j] over the columns of `part`
====================  ====================================  ======================================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ppl.compiler.lower.request import Request
from ppl.compiler.lower.sparse import PEAK, Arrays, Table, Term, squares
from ppl.compiler.lower.views import row_axis
from ppl.ir import ops
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis
from ppl.training.columns.parts import Columns, Rows, Summand
from ppl.tuning import COLUMN_ENTRIES, COLUMN_PART, COLUMN_TABLE_WIDTH


class Read(NamedTuple):
    """`table[rows]`, for one or several rows per data row."""

    table: str
    rows: Node


Part = tuple[Read, Node | None]
"""Rows of a table and their coefficients, None for ones."""


def by_columns(request: Request, tables: Sequence[Table]) -> tuple[Request, Columns] | None:
    """A sparse `request` in which products of table rows are taken by columns; None if tables are read in another way.

    `tables` and `request` are those of `scatter.sparse_request`.
    """
    shapes = dict(request.params)
    wide = tuple(t for t in tables if len(shapes[t.name]) == 2 and t.width >= COLUMN_TABLE_WIDTH)
    if not 0 < sum(t.length * t.width for t in wide) <= COLUMN_ENTRIES:
        return None
    parts = max(2, -(-max(t.width for t in wide) // COLUMN_PART))
    cut = _Cut(request, {t.name: t.width for t in wide}, parts)
    named = dict(request.arrays)
    rest = [t for t in tables if t not in wide]
    for table in rest:
        cut.keep(n for term in table.terms for n in term if isinstance(n, str))
    moved = []
    for table in wide:
        terms = [cut.term(term, named) for term in table.terms]
        if any(t is None for t in terms):
            return None
        moved.append(table._replace(terms=tuple(t for t in terms if t is not None)))
    found = cut.request()
    return None if found is None else (found, Columns(parts, tuple(_ordered(moved)), cut.rows))


def _ordered(tables: Sequence[Table]) -> list[Table]:
    """Tables with the most additions first: those after them may move when their rows have been read."""
    return sorted(tables, key=lambda t: -sum(term.repeat for term in t.terms))


class _Cut:
    """The arrays and products of a request whose tables, of these `widths`, are cut into `parts`."""

    def __init__(self, request: Request, widths: dict[str, int], parts: int):
        self._request, self._widths, self._parts = request, widths, parts
        self._arrays, self._kept = Arrays(), dict(request.arrays)
        self._outputs: dict[str, Node] = {}
        self._needed: set[str] = set()
        self._multiplied: set[str] = set()
        self.rows: dict[str, Rows] = {}

    def keep(self, names: Any) -> None:
        """Keep arrays as they are."""
        for name in names:
            self._outputs[name] = self._kept[name]
            self._needed.add(name)

    def _name(self, kind: str, node: Node) -> str:
        """The name of the array `node`, which is computed if it has none."""
        name = next((n for n, x in self._kept.items() if x is node), None)
        name = self._arrays.name(f"more_{kind}", node) if name is None else name
        self._outputs[name] = node
        return name

    def term(self, term: Term, named: dict[str, Node]) -> Term | None:
        """`term` if its rows are sums of table rows, else None."""
        rows, target = named[term.rows], named[term.target]
        shared = len(rows.type.shape) == 1 and math.prod(target.type.shape) == term.repeat
        parts = self._sum(rows, None, False) if shared and _by_rows(rows) else None
        if parts is None:
            return None
        if term.rows not in self.rows:
            self._found(term.rows, parts)
        for name in (term.target, term.coefs):
            if name is not None:
                self._outputs[name] = named[name]
        return term

    def _found(self, rows: str, parts: Sequence[Part]) -> None:
        """Name what the array `rows` consists of."""
        summands = []
        for read, coefs in parts:
            name = None if coefs is None else self._name("coefs", simplify([coefs])[0])
            index = self._name("index", read.rows)
            summands.append(Summand(read.table, index, name, math.prod(read.rows.type.shape)))
        self.rows[rows] = Rows(tuple(summands))

    def _read(self, node: Node) -> Read | None:
        """The table rows that `node` is."""
        if node.op != "take" or len(node.args[1].type.shape) > 1 or not _by_rows(node.args[1]):
            return None
        table, index = node.args
        while table.op == "expand" and table.type.shape == table.args[0].type.shape:
            table = table.args[0]
        return Read(table.attrs["name"], index) if table.op == "param" and table.attrs["name"] in self._widths else None

    def _sum(self, node: Node, factor: Node | None, negative: bool) -> list[Part] | None:
        """`node` times `factor`, a number per data row, or its negative, as table rows and their coefficients."""
        read, axes = self._read(node), node.type.axes
        if read is not None:
            one = ops.expand(ops.const(1.0), axes) if factor is None and negative else factor
            return None if read.rows.type.shape else [(read, ops.neg(one) if one is not None and negative else one)]
        if node.op in ("add", "sub"):
            second = negative ^ (node.op == "sub")
            sides = self._sum(node.args[0], factor, negative), self._sum(node.args[1], factor, second)
            return None if sides[0] is None or sides[1] is None else sides[0] + sides[1]
        if node.op == "neg":
            return self._sum(node.args[0], factor, not negative)
        if node.op == "mul":
            for x, other in (node.args, node.args[::-1]):
                number = _constant_along_rows(other)
                if number is not None:
                    return self._sum(x, _times(number, factor, axes), negative)
        return self._weighted(node, factor, negative) if node.op == "contract" else None

    def _weighted(self, node: Node, factor: Node | None, negative: bool) -> list[Part] | None:
        """As `_sum`, of a product of rows with numbers."""
        for x, lx, other, lo in _sides(node):
            read = self._read(x)
            if node.attrs["over"] or lx[-1:] != node.attrs["out"] or lo != lx[:-1]:
                continue
            coefs = _times(other, factor, node.type.axes)
            if read is not None and len(lo) == 1:
                return [(read, ops.neg(coefs) if negative else coefs)]
            if not lo:
                return self._sum(x, coefs, negative)
        return None

    def _dots(self, left: Read, right: Read) -> list[Node]:
        """The products of the columns of each part."""
        names = self._name("index", left.rows), self._name("index", right.rows)
        attrs = {"tables": (left.table, right.table), "names": names, "width": self._widths[left.table]}
        self._multiplied.update(names)
        return [make("column_dot", left.rows, right.rows, part=p, **attrs) for p in range(self._parts)]

    def _dot(self, node: Node) -> Node | None:
        """A product of table rows as a sum over parts; None if `node` is no such product."""
        if node.op != "contract" or node.attrs["over"]:
            return None
        for x, lx, other, lo in _sides(node):
            left, right = self._read(x), self._read(other)
            if left is None or right is None or lo != lx[-1:] or right.rows.type.shape or node.attrs["out"] != lx[:-1]:
                continue
            total, *more = self._dots(left, right)
            for part in more:
                total = ops.add(total, part)
            return total
        return None

    def request(self) -> Request | None:
        """The request, if no table is read in another way; indices of products are at hand without being outputs."""
        old = self._request
        scalars = tuple(s for s in old.scalars if s[0] != PEAK)
        groups = scalars, old.grads, old.aux, tuple(self._outputs.items())
        nodes = rebuild([n for group in groups for _, n in group], lambda n, args: self._dot(n) or remake(n, args))
        if any(n.op == "param" and n.attrs["name"] in self._widths for n in topological(nodes)):
            return None
        queue = iter(nodes)
        scalars, grads, aux, outputs = (tuple((name, next(queue)) for name, _ in group) for group in groups)
        arrays = tuple(x for x in outputs if x[0] not in self._multiplied - self._needed)
        peak = PEAK, squares(n for _, n in arrays)
        return dataclasses.replace(old, scalars=(*scalars, peak), grads=grads, aux=aux, arrays=arrays)


def _by_rows(node: Node) -> bool:
    """Whether `node` has one entry per row of a data set, and no other named axes."""
    axes = node.type.axes
    return len(axes) == 1 and axes[0].size is None and row_axis(axes) == axes[0]


def _times(a: Node, b: Node | None, axes: tuple[Axis, ...]) -> Node:
    """The product over `axes`, of the event of `a`, with a number `b` per row."""
    whole = ops.expand(a, axes, a.type.shape)
    return whole if b is None else ops.mul(whole, ops.expand(b, axes, a.type.shape))


def _sides(node: Node) -> list[tuple[Node, str, Node, str]]:
    """Both orders of the operands of a product, with their labels."""
    (a, b), la, lb = node.args, node.attrs["a"], node.attrs["b"]
    return [(a, la, b, lb), (b, lb, a, la)]


def _constant_along_rows(node: Node) -> Node | None:
    """The number per data row that `node`, of shape (D,), repeats."""
    if node.op != "expand" or len(node.type.shape) != 1:
        return None
    inner = node.args[0]
    if inner.type.shape in ((), (1,)):
        return ops.reshape(inner, ())
    return None if inner.type.axes == node.type.axes else _constant_along_rows(inner)
