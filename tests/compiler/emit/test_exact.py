"""Exactness: int results beyond 2^24, and sums over rows of scalar outputs in float64."""

import numpy as np
import pytest

from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.executable import compile_request
from tests.compiler.graphs import DATA, Graph, check, request_of


def int_graph() -> Graph:
    g = Graph()
    x, n, flag = g.input("x", (DATA,), 3), g.input("n", (DATA,), 3, dtype="int"), g.input("flag", (DATA,), dtype="bool")
    g.arrays["float"] = ops.mul(x, 2.0)
    g.arrays["int"] = ops.add(n, 2**40 + 1)
    g.arrays["bool"] = ops.logical_not(flag)
    g.arrays["more"] = ops.mul(n, n)
    return g


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_int_and_bool_arrays_are_exact(dtype):
    g = int_graph()
    executable = check(g, dtype)
    rng = np.random.default_rng(0)
    n = rng.integers(2**24, 2**31, (5, 3))
    x, flag = rng.normal(size=(5, 3)).astype(dtype), rng.random(5) < 0.5
    arrays = executable.run(np.zeros(0, dtype), inputs=[x, n, flag], rows={"data": 5}).arrays
    assert list(arrays) == ["float", "int", "bool", "more"]
    assert arrays["int"].dtype == np.int64 and arrays["bool"].dtype == np.bool_
    np.testing.assert_array_equal(arrays["int"], n + 2**40 + 1)
    np.testing.assert_array_equal(arrays["more"], n * n)
    np.testing.assert_array_equal(arrays["bool"], ~flag)
    np.testing.assert_array_equal(arrays["float"], x * 2)
    out, empty = np.zeros(executable.out_size(5, 1), dtype), np.zeros(0, dtype)
    executable.njit(empty, out, empty, empty, np.uint64(0), 0, 0, 1.0, executable.workspace(5, 1), x, n, flag)
    views = executable.views(out, 5, 1)
    for name, array in arrays.items():
        np.testing.assert_array_equal(views[name], array)


def loss_graph() -> Graph:
    g = Graph()
    x, w = g.input("x", (DATA,), 4), g.param("w", 4)
    y = ops.mul(*ops.broadcast(x, w))
    g.scalars["loss"] = ops.mul(ops.sum_axes(ops.reduce_sum(ops.softplus(y)), (DATA,)), 0.5)
    g.scalars["cost"] = ops.sum_axes(ops.exp(ops.neg(ops.reduce_sum(ops.mul(x, x)))), (DATA,))
    return g


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1500, 200_000])
def test_float32_sums_over_rows_agree_with_float64(threads, rows):
    """What is left is the rounding of each row's term, which averages out, and that of the result: 6e-8."""
    g = loss_graph()
    request = request_of(g)
    executable = compile_request(request)
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=4).astype(np.float32), rng.normal(size=(rows, 4)).astype(np.float32)
    found = executable.run(w, inputs=[x], threads=threads)
    exact = evaluate([n for _, n in request.scalars], Env({"w": w}, {}, {}, {"x": x}, {"data": rows}))
    for (name, _), expected in zip(request.scalars, exact, strict=True):
        assert found.scalars[name] == pytest.approx(float(expected), rel=1.5e-7)
    assert found.grad.dtype == np.float32
