"""Second derivatives of polynomials, forward, against exact second differences; degrees of every op."""

import math

import numpy as np
import pytest

from ppl.ir import ops
from ppl.ir.loop import stack_every
from ppl.ir.node import make, substitute, topological
from ppl.ir.op_facts import LINEAR, LINEAR_ARGUMENTS, PRODUCTS
from ppl.ir.polynomial import degree_of, second_derivative
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import PRIMAL, Axis, Branch, Kind, branch_axis
from ppl.ir.verify import verify

pytestmark = pytest.mark.tiny

RNG = np.random.default_rng(11)

ROWS, FIXED = Axis("rows", Kind.PLATE), Axis("fixed", Kind.PLATE, 3, depth=1)

DIRECTIONS = Axis("directions", Kind.ENUM, 2)

BRANCH = branch_axis((PRIMAL, Branch(0, "z", 1), Branch(0, "z", 2)))

OTHER = RNG.normal(size=(3, 4))

SIZES = {"rows": 2}


def varied(axis):
    """A number that differs along `axis`."""
    if axis.kind is Kind.BRANCH:
        pieces = {c: ops.const(1.0 + 0.3 * i) for i, c in enumerate(axis.copies)}
        return ops.assemble_branches(pieces, axis)
    return ops.add(ops.mul(ops.cast(make("rowid", axis=axis), "float"), 0.3), 1.0)


def _routed(x):
    side = ops.add(ops.mul(x, x), varied(ROWS))
    both = ops.assemble_branches({PRIMAL: x, BRANCH.copies[1]: side, BRANCH.copies[2]: ops.const(OTHER)}, BRANCH)
    return ops.add(both, ops.mul(ops.pick_branch(both, BRANCH.copies[1]), 0.5))


CONDITION = OTHER > 0

TRIANGLES = np.tril(RNG.normal(size=(3, 4, 4))) + 3.0 * np.eye(4)

INDEX = np.array([[2, 0], [2, 1]])

PAD = {"window": ((1, 3, 1), (0, 4, 1)), "shape": (5, 4)}


def _put(x):
    index = ops.const(np.array([0, 2, 0]))
    return make("put", ops.mul(x, x), index, size=4, over=())


CASES = {
    "neg": lambda x: ops.neg(ops.mul(x, x)),
    "add": lambda x: ops.add(ops.mul(x, x), ops.add(x, OTHER)),
    "sub": lambda x: ops.sub(OTHER, ops.sub(ops.mul(x, OTHER), ops.mul(x, x))),
    "mul": lambda x: ops.mul(ops.sub(x, 0.3), ops.mul(OTHER, ops.add(x, varied(ROWS)))),
    "contract": lambda x: ops.matmul(ops.matmul(x, OTHER.T), ops.matmul(OTHER, ops.transpose(x))),
    "contract over rows": lambda x: make(
        "contract", *(ops.mul(x, varied(ROWS)) for _ in range(2)), a="xy", b="zy", out="xz", over=(ROWS,)
    ),
    "cumsum": lambda x: ops.cumsum(ops.mul(x, x)),
    "solve": lambda x: ops.solve_lower(TRIANGLES, ops.mul(x, x)),
    "linsolve": lambda x: ops.linsolve(TRIANGLES[0] + OTHER[0], ops.mul(x, x)),
    "div": lambda x: ops.div(ops.mul(x, x), varied(ROWS)),
    "pow": lambda x: ops.mul(ops.power(ops.sub(x, 0.2), np.full((3, 4), 2.0)), varied(ROWS)),
    "first power": lambda x: ops.mul(ops.power(x, 1.0), x),
    "where": lambda x: ops.where(CONDITION, ops.mul(x, x), ops.where(ops.less(OTHER, -0.5), x, 0.7)),
    "cast": lambda x: ops.mul(make("cast", x, dtype="float"), x),
    "mark": lambda x: ops.mul(ops.mark(x, "y"), x),
    "kept": lambda x: stack_every(ops.mul(x, x), 2),
    "own_density": lambda x: ops.mul(make("own_density", x, name="y"), x),
    "expand": lambda x: ops.mul(ops.expand(ops.mul(x, x), (ROWS, BRANCH), (2, 3, 4)), varied(BRANCH)),
    "route": _routed,
    "sum": lambda x: make("sum", ops.mul(ops.mul(x, x), varied(ROWS)), axes=(ROWS,), dims=(0,)),
    "reshape": lambda x: ops.mul(ops.reshape(x, (2, 6)), ops.reshape(x, (2, 6))),
    "transpose": lambda x: ops.transpose(ops.mul(x, x)),
    "slice": lambda x: ops.mul(ops.window(x, ((0, 2, 1), (0, 4, 1))), ops.window(x, ((1, 2, 1), (0, 4, 1)))),
    "pad": lambda x: make("pad", ops.mul(x, x), **PAD),
    "concat": lambda x: ops.concat([ops.mul(x, x), ops.const(OTHER), x], 1),
    "take": lambda x: ops.take(ops.mul(x, x), INDEX),
    "put": _put,
    "collect": lambda x: ops.collect(ops.mul(ops.mul(x, x), varied(FIXED)), FIXED),
    "distribute": lambda x: ops.distribute(ops.mul(ops.mul(x, x), varied(ROWS)), FIXED),
}


def value(node, **params):
    return evaluate([node], Env(params=params, sizes=SIZES))[0]


def _differences(output, x, u, v):
    """f(x + u + v) - f(x + u) - f(x + v) + f(x): the mixed second derivative of a quadratic f."""
    total = ops.const(0.0)
    for a, b in ((1, 1), (1, 0), (0, 1), (0, 0)):
        moved = ops.add(x, ops.add(ops.mul(u, float(a)), ops.mul(v, float(b))))
        (shifted,) = substitute([output], {x: moved})
        total = ops.add(total, ops.mul((-1.0) ** (a + b), shifted))
    return total


def test_every_polynomial_op_has_a_case():
    ops_used = {n.op for build in CASES.values() for n in topological([build(make("param", name="x", shape=(3, 4)))])}
    assert ops_used >= LINEAR | PRODUCTS | set(LINEAR_ARGUMENTS) | {"pow"}


@pytest.mark.parametrize("label", CASES)
def test_second_derivative_is_the_second_difference(label):
    x = make("param", name="x", shape=(3, 4))
    output = CASES[label](x)
    at, u, v = (RNG.normal(size=(3, 4)) for _ in range(3))
    directions = [ops.distribute(ops.const(np.stack([d, -2.0 * d[::-1]])), DIRECTIONS) for d in (u, v)]
    second = second_derivative(output, x, *directions)
    verify([second])
    assert set(second.type.axes) == {*output.type.axes, DIRECTIONS} and second.type.shape == output.type.shape
    found = np.moveaxis(value(second, x=at), second.type.axes.index(DIRECTIONS), 0)
    for k, (a, b) in enumerate(((u, v), (-2 * u[::-1], -2 * v[::-1]))):
        wanted = value(_differences(output, x, a, b), x=at)
        np.testing.assert_allclose(found[k], wanted, rtol=1e-9, atol=1e-11)
        assert np.abs(wanted).max() > 1e-3


def test_linear_outputs_and_others_have_no_second_derivative():
    x, y = make("param", name="x", shape=(2,)), make("param", name="y", shape=(2,))
    unit = ops.const(np.array([1.0, 0.0]))
    for output in (ops.mul(x, y), ops.add(ops.reduce_sum(x), ops.exp(y)), ops.exp(y)):
        assert second_derivative(output, x, unit, unit) is None
    with pytest.raises(AssertionError, match="exp is no polynomial"):
        second_derivative(ops.exp(x), x, unit, unit)


X = make("param", name="x", shape=())

DEGREES = [
    (ops.add(X, 1.0), [3.0, 0.0], 3.0),
    (ops.mul(X, X), [1.0, 2.0], 3.0),
    (ops.div(X, X), [2.0, 0.0], 2.0),
    (ops.div(X, X), [0.0, 1.0], math.inf),
    (ops.power(X, 3.0), [2.0, 0.0], 6.0),
    (ops.power(X, 0.0), [1.0, 0.0], math.inf),
    (ops.power(X, -2.0), [1.0, 0.0], math.inf),
    (ops.power(X, 1.5), [1.0, 0.0], math.inf),
    (ops.power(X, X), [1.0, 0.0], math.inf),
    (ops.power(2.0, X), [0.0, 1.0], math.inf),
    (ops.where(ops.less(X, 0.0), X, 0.0), [0.0, 1.0, 2.0], 2.0),
    (ops.where(ops.less(X, 0.0), X, 0.0), [1.0, 0.0, 0.0], math.inf),
    (ops.stop(X), [1.0], math.inf),
    (ops.stop(X, "formula"), [1.0], 0.0),
    (ops.exp(X), [1.0], math.inf),
    (ops.exp(X), [0.0], 0.0),
    (ops.cast(X, "int"), [1.0], math.inf),
    (ops.cast(X, "bool"), [1.0], math.inf),
    (ops.cast(make("param", name="n", shape=(), dtype="int"), "float"), [1.0], 1.0),
    (ops.add(make("param", name="n", shape=(), dtype="int"), 1), [1.0, 0.0], math.inf),
    (ops.maximum(X, 0.0), [1.0, 0.0], math.inf),
]


@pytest.mark.parametrize(("node", "degrees", "wanted"), DEGREES)
def test_degrees(node, degrees, wanted):
    assert degree_of(node, degrees) == wanted
