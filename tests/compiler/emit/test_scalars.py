"""Scalar functions and users' functions in compiled programs that the test graphs leave out."""

import numpy as np
import pytest
import scipy.special

from ppl.ir import ops
from ppl.ir.external import External
from ppl.ir.node import make
from ppl.runtime.executable import compile_request
from tests.compiler import functions
from tests.compiler.graphs import DATA, Graph, check, request_of


@pytest.mark.parametrize(("dtype", "tol"), [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("order", [2, 3, 5])
def test_polygamma_of_higher_order(order, dtype, tol):
    g = Graph()
    x = g.input("x", (DATA,), 8)
    w = g.param("w", 8)
    y = ops.mul(*ops.broadcast(x, w))
    g.total(ops.polygamma(order, y))
    g.arrays["y"] = ops.polygamma(order, y)
    executable = compile_request(request_of(g), dtype)
    points = np.random.default_rng(0).uniform(0.2, 20, (6, 8)).astype(dtype)
    found = executable.run(np.ones(8, dtype), inputs=[points])
    wide = points.astype(np.float64)
    np.testing.assert_allclose(found.arrays["y"], scipy.special.polygamma(order, wide), rtol=tol)
    slope = (scipy.special.polygamma(order + 1, wide) * wide).sum(0)
    np.testing.assert_allclose(found.grad, slope, rtol=3 * tol)


@pytest.mark.parametrize("gradient", [functions.square_gradient, functions.square_gradient_tuple])
def test_a_gradient_function_of_one_input_returns_a_value_or_a_tuple(gradient):
    g = Graph()
    x, w = g.input("x", (DATA,), 2), g.param("w", 2)
    y = ops.mul(*ops.broadcast(x, w))
    fn = External(functions.square, gradient, False, "square")
    g.total(make("external", y, fn=fn, output=None, axes=(DATA,), shape=(), dtype="float"))
    check(g, "float64", threads=(1, 2))
