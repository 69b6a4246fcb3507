"""Entries of the branch axis that nothing reads are dropped from products, and values stay."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl.estimators import Rebar
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.branches import branch_entries_read, drop_unread_branches
from ppl.ir.types import PRIMAL, Axis, Branch, Kind, branch_axis
from ppl.ir.verify import verify
from ppl.models import sbn

pytestmark = pytest.mark.tiny

DATA = Axis("data", Kind.PLATE)

BRANCH = branch_axis((PRIMAL, Branch(0, "z", 0), Branch(0, "z", 1), Branch(1, "y", 0)))


def product(x: Node, name: str = "w") -> Node:
    """x @ w with w (3, 2)."""
    return ops.matmul(x, make("param", name=name, shape=(3, 2)))


def entry(x: Node, *which: int) -> Node:
    """The sum of some entries of x, without the branch axis."""
    return make("route", x, to=None, terms=(tuple((0, t) for t in which),), live=(True,))


def values(outputs: list[Node]) -> list[np.ndarray]:
    """Their values on five random rows."""
    rng = np.random.default_rng(0)
    leaves = {n.attrs["name"]: n for n in topological(outputs) if n.op in ("param", "input")}
    params = {k: rng.normal(size=n.type.shape) for k, n in sorted(leaves.items()) if n.op == "param"}
    inputs = {
        k: rng.normal(size=(*(5 if a is DATA else 4 for a in n.type.axes), *n.type.shape))
        for k, n in sorted(leaves.items())
        if n.op == "input"
    }
    return evaluate(outputs, Env(params=params, inputs=inputs, sizes={"data": 5}))


def widths(outputs: list[Node]) -> list[int]:
    """Branch entries of the products."""
    found = [n.type.branch for n in topological(outputs) if n.op == "contract"]
    return sorted(1 if b is None else len(b.copies) for b in found)


def test_a_product_loses_the_entries_that_no_use_reads():
    x = make("input", name="x", axes=(DATA, BRANCH), shape=(3,))
    common = ops.exp(x)
    y = ops.add(product(common), ops.tanh(product(ops.sin(common), "v")))
    outputs = [entry(y, 1), entry(y, 1, 3), entry(common, 0)]
    small = drop_unread_branches(outputs)
    verify(small)
    assert widths(outputs) == [4, 4] and widths(small) == [2, 2]
    assert [n.type for n in small] == [n.type for n in outputs]
    for a, b in zip(values(outputs), values(small), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_routes_between_axes_and_broadcasts_are_followed():
    pair = branch_axis((PRIMAL, Branch(0, "z", 0)))
    x = make("input", name="x", axes=(DATA, BRANCH), shape=(3,))
    wide = ops.mul(product(x), make("expand", ops.const(2.0), axes=(DATA, BRANCH), shape=(2,), live=None))
    joined = make("route", wide, to=pair, terms=(((0, 0), (0, 2)), ((0, 3),)), live=(True, True))
    outputs = [entry(ops.tanh(joined), 0)]
    order = topological(outputs)
    assert branch_entries_read(order, outputs)[wide] == {0, 2}
    small = drop_unread_branches(outputs)
    verify(small)
    assert widths(small) == [2]
    np.testing.assert_allclose(*values(outputs + small), rtol=1e-12)


def test_a_graph_whose_products_are_all_read_stays_as_it_is():
    x = make("input", name="x", axes=(DATA, BRANCH), shape=(3,))
    everything = ops.sum_axes(product(x), (BRANCH,))
    outputs = [everything, entry(ops.exp(x), 0)]
    assert drop_unread_branches(outputs) == outputs


def test_stopped_trunks_take_no_part_in_backward_products():
    objective = ppl.elbo(sbn.generative, sbn.guide, kl="sampled")
    program = ppl.compile(objective, estimators=Rebar(), data=ppl.spec((None, 64)))
    order = topological(list(program.prepare().variant("gradient").stages["simplify"].values()))
    backward = [n for n in order if n.op == "contract" and n.type.branch and PRIMAL not in n.type.branch.copies]
    # Back to h/0 through `down/0` and `up/1` come its two soft entries, back to h/1 through `down/1` those and its own.
    assert sorted((n.type.shape, len(n.type.branch.copies)) for n in backward) == [((32,), 4), ((64,), 2), ((64,), 2)]
