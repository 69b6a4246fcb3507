"""An unplated array seen as the rows of a long plate of fixed size: every tile and slab reads its own part."""

import pytest

from ppl.ir import ops
from ppl.ir.types import Axis, Kind
from tests.compiler.graphs import Graph, assume, check

LONG = Axis("long", Kind.PLATE, 300)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_a_parameter(dtype, monkeypatch):
    assume(monkeypatch, buffers={"product_tile": 4000})
    g = Graph()
    z, w = ops.distribute(g.param("z", 300, 40), LONG), g.param("w", 40, 32)
    hidden = ops.matmul(ops.reshape(z, (1, 40)), ops.expand(w, (LONG,)))
    g.total(ops.add(ops.reduce_sum(ops.tanh(hidden)), ops.reduce_sum(ops.softplus(z))))
    check(g, dtype, threads=(1, 2))
