"""Bounds of expressions hold every value, against draws; and are as narrow as poles need them."""

import numpy as np
import pytest

from ppl.distributions.bounds import bounds_of, mark_inside
from ppl.distributions.intervals import CLOSED_UNIT, REAL, UNIT, Interval
from ppl.ir import ops
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

pytestmark = pytest.mark.tiny

X, Y = (make("param", name=name, shape=(3,)) for name in "xy")

MATRIX = np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.0, -1.0, 3.0]])

INSIDES = [
    REAL,
    UNIT,
    CLOSED_UNIT,
    Interval(-0.7, 2.5, False, True),
    Interval(1.0, 4.0),
    Interval(-3.0, -0.5, False, False),
]

RULES = {
    "square": lambda x, y: ops.mul(x, x),
    "even product": lambda x, y: ops.mul(ops.mul(x, y), ops.mul(y, x)),
    "odd product": lambda x, y: ops.mul(ops.mul(x, y), x),
    "powers": lambda x, y: ops.power(x, np.array([2.0, 3.0, 4.0])),
    "negative power": lambda x, y: ops.power(ops.add(1.0, ops.mul(x, x)), -1.5),
    "sine": lambda x, y: ops.sin(ops.mul(1.3, x)),
    "cosine": lambda x, y: ops.cos(ops.sub(x, 0.4)),
    "tangent": lambda x, y: ops.tan(ops.mul(0.3, x)),
    "floor": lambda x, y: ops.floor(x),
    "cumulated": lambda x, y: ops.cumsum(x),
    "squared length": lambda x, y: ops.matmul(x, x),
    "product of vectors": lambda x, y: ops.matmul(x, y),
    "constant matrix": lambda x, y: ops.matmul(MATRIX, x),
    "share": lambda x, y: ops.div(ops.exp(x), ops.reduce_sum(ops.exp(x), -1, keepdims=True)),
    "above": lambda x, y: ops.where(ops.less(0.2, x), x, 0.3),
    "size": lambda x, y: ops.where(ops.less(ops.stop(x, "formula"), 0.0), ops.neg(x), x),
    "between": lambda x, y: ops.where(ops.logical_and(ops.less(-0.5, x), ops.less_equal(x, 0.5)), x, 0.0),
    "not above": lambda x, y: ops.where(ops.logical_not(ops.less(x, 0.1)), ops.neg(x), -0.2),
    "trigamma": lambda x, y: ops.polygamma(1, ops.exp(x)),
}


def draws(inside, rng, n=400):
    lo, hi = max(inside.lo, -4.0), min(inside.hi, 4.0)
    found = rng.uniform(lo, hi, (n, 3))
    found[0] = np.nextafter(lo, hi) if inside.lo_open else lo
    found[1] = np.nextafter(hi, lo) if inside.hi_open else hi
    return found


@pytest.mark.parametrize("inside", INSIDES, ids=str)
@pytest.mark.parametrize("label", RULES)
def test_bounds_hold_every_value(label, inside):
    rng = np.random.default_rng(3)
    node = RULES[label](mark_inside(X, inside), mark_inside(Y, inside))
    bounds = bounds_of(node)
    for x, y in zip(draws(inside, rng), draws(inside, rng), strict=True):
        value = evaluate([node], Env(params={"x": x, "y": y}, dtype=np.float64))[0]
        assert np.all(bounds.lo - 1e-12 <= value) and np.all(value <= bounds.hi + 1e-12), (bounds, x, value)


def test_ends_that_poles_ask_for():
    positive = mark_inside(X, Interval(0.0, np.inf))
    assert bounds_of(ops.matmul(np.tril(np.ones((3, 3))), positive)) == Interval(0.0, np.inf)
    assert bounds_of(ops.add(1.0, ops.mul(X, X))) == Interval(1.0, np.inf, False)
    assert bounds_of(ops.where(ops.less(0.2, X), X, 0.3)) == Interval(0.2, np.inf)
    assert bounds_of(ops.where(ops.less_equal(0.2, X), X, 0.3)) == Interval(0.2, np.inf, False)
    assert bounds_of(ops.cos(mark_inside(X, Interval(-1.0, 1.0)))) == Interval(np.cos(1.0), 1.0, True, False)
