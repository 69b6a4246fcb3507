"""Sparse gradients: gradients of tables that a program reads row by row, and a request that keeps them sparse.

Such a gradient is a sum of scattered additions (`put`). Instead of the sum, the request of `sparse_request` has arrays
as outputs: for each addition the table row that it goes to, and what it adds, factored where possible into one
coefficient for each addition and one row that several additions share (`SparseTerm`).
`ppl.compiler.emit.cpu.sparse_training` adds up and updates the rows that are named."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

from ppl.compiler.lower.request import Request, offsets_of
from ppl.compiler.lower.target import Rewrites
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis

PEAK = "peak"
"""Name of the scalar that says how large the scattered additions are: the sum of squares of the arrays."""


class SparseTerm(NamedTuple):
    """Additions to a table: entry e of the array `target` names a row, to which coefs[e] · rows[e // repeat] is added.

    All names are those of arrays of the request; no `coefs` stands for ones.
    """

    target: str
    coefs: str | None
    rows: str
    repeat: int


class SparseTable(NamedTuple):
    """A parameter of `length` rows of `width` entries at `offset` of the flat vector, and the terms of its gradient."""

    name: str
    offset: int
    length: int
    width: int
    terms: tuple[SparseTerm, ...]


class ScatteredAddition(NamedTuple):
    """One `put` of a gradient."""

    value: Node
    target: Node
    negative: bool


class ProductFactor(NamedTuple):
    """A factor of a product, and which dimension of the product each of its own is."""

    node: Node
    places: tuple[int, ...]


def sparse_request(request: Request, rules: Rewrites) -> tuple[Request, tuple[SparseTable, ...]]:
    """`request` without the gradients that can stay sparse; their terms are arrays, and `PEAK` is another scalar."""
    shapes, offsets = dict(request.params), offsets_of(request.params)[0]
    arrays = TermArrays()
    tables = []
    for name, gradient in request.grads:
        shape = shapes[name]
        found = _scattered_additions(gradient, False) if math.prod(shape) >= rules.sparse_table else None
        if found:
            terms = tuple(arrays.term(a) for a in found)
            tables.append(SparseTable(name, offsets[name], shape[0], math.prod(shape[1:]), terms))
    if not tables:
        return request, ()
    sparse = {t.name for t in tables}
    kept = tuple(g for g in request.grads if g[0] not in sparse)
    scalars = (*request.scalars, (PEAK, sum_of_squares(n for _, n in arrays.named)))
    named = arrays.named
    nodes = simplify([n for group in (scalars, kept, request.aux, named) for _, n in group])
    queue = iter(nodes)
    scalars, grads, aux, outputs = (
        tuple((name, next(queue)) for name, _ in group) for group in (scalars, kept, request.aux, named)
    )
    whole = dataclasses.replace(request, scalars=scalars, grads=grads, aux=aux, arrays=outputs, whole=True)
    return whole, tuple(tables)


class TermArrays:
    """The arrays that terms refer to: equal ones have one name."""

    def __init__(self) -> None:
        self._names: dict[Node, str] = {}

    @property
    def named(self) -> tuple[tuple[str, Node], ...]:
        """(name, node) of all arrays."""
        return tuple((name, node) for node, name in self._names.items())

    def name(self, kind: str, node: Node) -> str:
        """The name of `node`."""
        return self._names.setdefault(node, f"{kind}_{len(self._names)}")

    def term(self, addition: ScatteredAddition) -> SparseTerm:
        """The term of one `put`."""
        value, index = addition.value, addition.target
        axes, lead = value.type.axes, len(index.type.shape)
        picked, width = value.type.shape[:lead], value.type.shape[lead:]
        factors = _product_factors(ProductFactor(value, tuple(range(len(value.type.shape)))))
        if any(f.places and f.places[0] < lead <= f.places[-1] for f in factors) or not width:
            rows = ops.neg(value) if addition.negative else value
            return SparseTerm(self.name("index", index), None, self.name("rows", rows), 1)
        coefs = [_broadcast_factor(f, 0, axes, picked) for f in factors if not f.places or f.places[-1] < lead]
        shared = [_broadcast_factor(f, lead, axes, width) for f in factors if f.places and f.places[0] >= lead]
        rows = self.name("rows", simplify([_multiply_all(shared, axes, width)])[0])
        coefs += [ops.expand(ops.const(-1.0), axes, picked)] if addition.negative else []
        coef = self.name("coefs", simplify([_multiply_all(coefs, axes, picked)])[0]) if coefs else None
        return SparseTerm(self.name("index", index), coef, rows, math.prod(picked))


def sum_of_squares(arrays: Iterable[Node]) -> Node:
    """Σ a² over all entries of all float arrays."""
    total = ops.const(0.0)
    for node in arrays:
        if node.type.dtype == "float":
            square, dims = ops.mul(node, node), tuple(range(len(node.type.shape)))
            total = ops.add(total, make("sum", square, axes=node.type.axes, dims=dims))
    return total


def _scattered_additions(gradient: Node, negative: bool) -> list[ScatteredAddition] | None:
    """The `put`s whose sum `gradient` is; None if it is anything else."""
    if gradient.op in ("add", "sub"):
        left, right = gradient.args
        parts = _scattered_additions(left, negative), _scattered_additions(right, negative ^ (gradient.op == "sub"))
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]
    if gradient.op == "neg":
        return _scattered_additions(gradient.args[0], not negative)
    if gradient.op != "put" or gradient.type.axes or not gradient.args[0].type.axes:
        return None
    value, index = gradient.args
    return [ScatteredAddition(value, index, negative)]


def _product_factors(factor: ProductFactor) -> list[ProductFactor]:
    """The factors of a product, each without the dimensions along which it only repeats."""
    node, places = factor
    if node.op == "mul":
        return [f for x in node.args for f in _product_factors(ProductFactor(x, places))]
    if node.op == "neg":
        return [ProductFactor(ops.const(-1.0), ()), *_product_factors(ProductFactor(node.args[0], places))]
    if (
        node.op == "contract"
        and not node.attrs["over"]
        and set(node.attrs["a"] + node.attrs["b"]) == set(node.attrs["out"])
    ):
        where = dict(zip(node.attrs["out"], places, strict=True))
        sides = zip(node.args, (node.attrs["a"], node.attrs["b"]), strict=True)
        return [f for x, labels in sides for f in _product_factors(ProductFactor(x, tuple(where[c] for c in labels)))]
    if node.op == "expand":
        inner = node.args[0]
        kept = places[len(places) - len(inner.type.shape) :]
        same = [n == m for n, m in zip(inner.type.shape, node.type.shape[len(places) - len(kept) :], strict=True)]
        if not all(same):
            inner = ops.reshape(inner, [n for n, s in zip(inner.type.shape, same, strict=True) if s])
        return _product_factors(ProductFactor(inner, tuple(p for p, s in zip(kept, same, strict=True) if s)))
    return [ProductFactor(node, places)]


def _broadcast_factor(factor: ProductFactor, start: int, axes: tuple[Axis, ...], shape: tuple[int, ...]) -> Node:
    """A factor over all `axes` and the dimensions `shape`, of which number `start` of the product is the first."""
    node, places = factor
    order = tuple(sorted(range(len(places)), key=places.__getitem__))
    node = ops.transpose(node, order) if order != tuple(range(len(places))) else node
    at = {p - start for p in places}
    return ops.expand(ops.reshape(node, [n if d in at else 1 for d, n in enumerate(shape)]), axes, shape)


def _multiply_all(nodes: list[Node], axes: tuple[Axis, ...], shape: tuple[int, ...]) -> Node:
    out = ops.expand(ops.const(1.0), axes, shape)
    for node in nodes:
        out = ops.mul(out, node)
    return out
