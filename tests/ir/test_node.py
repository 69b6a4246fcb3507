"""Hash-consing, walks, the verifier and listings."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.loop import Body, trace_loop
from ppl.ir.node import Node, _interned, make, substitute, topological
from ppl.ir.show import show
from ppl.ir.types import PARTICLES, PRIMAL, Axis, Branch, Kind, Type, branch_axis
from ppl.ir.verify import verify

pytestmark = pytest.mark.tiny

DATA = Axis("data", Kind.PLATE)

SCALAR = Type()

BRANCH = branch_axis((PRIMAL, Branch(0, "z", 0)))


def param(name="x", *shape):
    return make("param", name=name, shape=shape)


def forged(op, args=(), attrs=None, type_=SCALAR):
    """A node that bypasses the shape rules."""
    return Node(op, tuple(args), attrs or {}, type_, ())


def test_equal_expressions_are_one_object():
    assert ops.add(param(), 1.0) is ops.add(param(), 1.0)
    assert ops.add(param(), 1.0) is not ops.add(param(), 2.0)
    assert ops.const(0.0) is not ops.const(-0.0)
    assert ops.const(np.nan) is ops.const(np.nan)


def test_constants_keep_their_shape_and_do_not_freeze_the_callers_array():
    array = np.ones(3)
    node = ops.const(array)
    array[0] = 2.0
    assert node.attrs["value"].value[0] == 1.0
    assert ops.const(1.0).type.shape == ()


def test_unused_nodes_are_released():
    node = ops.exp(param("released"))
    key = node.key
    assert key in _interned
    del node
    gc.collect()
    assert key not in _interned


def test_nodes_are_frozen():
    with pytest.raises(AttributeError, match="frozen"):
        param().op = "other"


def test_deep_graphs_need_no_recursion():
    x = y = param()
    for _ in range(20_000):
        y = ops.sin(y)
    assert len(topological([y])) == 20_001
    assert substitute([y], {x: param("other")})[0] is not y


def test_verify_accepts_a_good_graph():
    carries, ys = trace_loop(lambda i, c, v, k: ([ops.mul(c[0], k[0])], [c[0]]), [param()], [], [param("w")], 3)
    verify([*carries, *ys, ops.add(ops.expand(param(), (BRANCH,)), ops.expand(param(), (DATA,)))])


def _bad_graphs():
    x, wide = param("x", 2), ops.expand(param("x", 2), (DATA,))
    out_of_order = Type((PARTICLES, DATA))
    unsorted = Axis("branch", Kind.BRANCH, 2, 0, (Branch(0, "z", 0), PRIMAL))
    arg = make("arg", uid=-1, axes=(), shape=(), dtype="float")
    index = make("arg", uid=-2, axes=(), shape=(), dtype="int")
    learnable = Body(index, (arg,), (ops.mul(arg, param()),), (), 0)
    mistyped = Body(index, (arg,), (ops.mul(arg, arg),), (), 0)
    good = make("loop", param(), body=mistyped, length=2, reverse=False)
    return {
        "unknown": forged("frobnicate"),
        "exp": forged("exp", (x,), type_=Type()),
        "add": forged("add", (x, wide), type_=x.type),
        "mul": forged("mul", (x,), type_=x.type),
        "input": forged("input", (), {"axes": (DATA, PARTICLES), "shape": ()}, out_of_order),
        "expand": make("expand", x, axes=(unsorted,), shape=(2,), live=None),
        "arg": ops.exp(arg),
        "param": make("loop", param(), body=learnable, length=2, reverse=False),
        "loop": make("loop", x, body=mistyped, length=2, reverse=False),
        "get": forged("get", (good,), {"index": 3, "type": Type()}, Type()),
    }


@pytest.mark.parametrize("op", sorted(_bad_graphs()))
def test_verify_names_the_bad_op(op):
    with pytest.raises(AssertionError, match="frobnicate" if op == "unknown" else op):
        verify([_bad_graphs()[op]])


def test_shape_errors_are_raised_when_building():
    with pytest.raises(ShapeError, match="do not broadcast"):
        ops.add(param("x", 2), param("y", 3))
    with pytest.raises(ShapeError, match="matmul"):
        ops.matmul(param("x", 2), param("y", 3))


def test_show_lists_nodes_and_bodies():
    x = make("input", name="x", axes=(DATA,), shape=(64,))
    assert "%2 = mul %0 %1 : float[data:? | 64]" in show([ops.mul(x, ops.exp(x))])
    carries, ys = trace_loop(lambda i, c, v, k: ([ops.mul(c[0], v[0])], [c[0]]), [param()], [param("v", 3)], [], 3)
    text = show([*carries, *ys], ["last", "all"])
    assert "    %4 = carry %0 : float[]" in text
    assert "    carry (%6) stack (%4)" in text
    assert text.splitlines()[-2:] == ["return last = %7", "return all = %8"]
