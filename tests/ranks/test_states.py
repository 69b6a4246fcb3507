"""States of expressions on a part of the rows: each rule against the sums that it speaks of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ppl.ir import ops
from ppl.ir.loop import trace_loop
from ppl.ir.node import Node, make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind
from ppl.ranks.data_parallel import COUPLED, MEAN, MIXED, NOTHING, PLAIN, RowDependence, RowDependences

ROWS = Axis("rows", Kind.PLATE)

X = make("input", name="x", axes=(ROWS,), shape=(), dtype="float")

P = make("param", name="p", shape=())

SCALE, SIZE = make("scale", axis=ROWS), ops.size(ROWS)

SUM, ZERO_OR_NAN = ops.sum_axes(X, (ROWS,)), ops.sum_axes(ops.where(ops.less(X, 100.0), 0.0, np.nan), (ROWS,))


def over_time(step: Callable[[Node, Node], Node]) -> Node:
    """A carry after three steps, from 0."""
    return trace_loop(lambda i, c, v, k: ([step(c[0], k[0])], []), [ops.const(0.0)], [], [X], 3)[0][0]


CASES: dict[str, tuple[Node, RowDependence]] = {
    "a parameter": (ops.mul(P, ops.exp(P)), PLAIN),
    "rows": (ops.exp(ops.mul(X, ops.expand(P, (ROWS,)))), PLAIN),
    "a sum": (SUM, RowDependence("sum", 0)),
    "a scaled sum": (ops.mul(SUM, SCALE), RowDependence("sum", 1)),
    "squares of scaled rows": (ops.sum_axes(ops.mul(*[ops.mul(X, ops.expand(SCALE, (ROWS,)))] * 2), (ROWS,)),
                               RowDependence("sum", 2)),
    "a mean over rows": (ops.div(SUM, SIZE), RowDependence("sum", 1)),
    "with a global term": (ops.add(ops.mul(P, P), ops.mul(SUM, SCALE)), MEAN),
    "times a parameter": (ops.mul(P, ops.add(P, ops.div(SUM, SIZE))), MEAN),
    "a guard": (ZERO_OR_NAN, NOTHING),
    "with a guard": (ops.add(ops.mul(SUM, SCALE), ZERO_OR_NAN), RowDependence("sum", 1)),
    "sums of two degrees": (ops.add(SUM, ops.mul(SUM, SCALE)), MIXED),
    "a function of a sum": (ops.exp(ops.mul(SUM, SCALE)), MIXED),
    "a product of sums": (ops.mul(SUM, SUM), MIXED),
    "rows that read a sum": (ops.mul(X, ops.expand(SUM, (ROWS,))), COUPLED),
    "a maximum over rows": (make("amax", X, axes=(ROWS,), dims=()), COUPLED),
    "a function of scaled rows": (ops.sum_axes(ops.exp(ops.mul(X, ops.expand(SCALE, (ROWS,)))), (ROWS,)), COUPLED),
    "a loop that adds up": (over_time(lambda c, x: ops.add(ops.mul(0.5, c), ops.sum_axes(x, (ROWS,)))),
                            RowDependence("sum", 0)),
    "a loop that bends a sum": (over_time(lambda c, x: ops.tanh(ops.add(c, ops.sum_axes(x, (ROWS,))))), MIXED),
    "a loop whose rows read a sum": (over_time(
        lambda c, x: ops.add(1.0, ops.sum_axes(ops.mul(x, ops.expand(c, (ROWS,))), (ROWS,)))), COUPLED),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_states(name: str) -> None:
    """The state, and where it says how to add up, that the parts add up to the whole."""
    node, wanted = CASES[name]
    found = RowDependences(ROWS).find([node])[node]
    assert found == wanted
    x, total = np.array([0.3, -1.2, 2.0, 0.7, 1.1]), 20

    def value(rows: np.ndarray) -> float:
        env = Env(params={"p": np.array(0.7)}, inputs={"x": rows}, sizes={"rows": len(rows)},
                  scales={"rows": total / len(rows)}, dtype=np.float64)  # fmt: skip
        return np.asarray(evaluate([node], env)[0])

    if found in (MIXED, COUPLED) or ROWS in node.type.axes:
        return
    degree = 1 if found == MEAN else found.degree
    shares = (2 / 5, 3 / 5)
    parts = [share**degree * value(rows) for share, rows in zip(shares, (x[:2], x[2:]), strict=True)]
    together = parts[0] if found == PLAIN else sum(parts)
    np.testing.assert_allclose(together, value(x), rtol=1e-12)
