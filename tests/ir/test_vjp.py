"""Every vjp against central differences, twice; the table must cover every differentiable op."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from ppl.ir import cdfs, ops
from ppl.ir.differentiate import gradient, vjp
from ppl.ir.external import External
from ppl.ir.loop import stack_every
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import PRIMAL, Axis, Branch, Kind, branch_axis
from ppl.ir.vjp import NO_GRADIENT, VJPS
from tests.helpers.grads import SIZES, check_grads

pytestmark = pytest.mark.tiny

RNG = np.random.default_rng(7)

ROWS = Axis("rows", Kind.PLATE)

FIXED = Axis("fixed", Kind.PLATE, 4, depth=1)

BRANCH = branch_axis((PRIMAL, Branch(0, "z", 0, True), Branch(0, "z", 1, True)))

PLAIN = RNG.normal(size=(3, 4)) * 1.5

OTHER = RNG.normal(size=(3, 4)) + np.sign(RNG.normal(size=(3, 4)))

POSITIVE = RNG.uniform(0.3, 3.0, size=(3, 4))

WIDE = np.random.default_rng(8).uniform(0.5, 6.0, size=(3, 4))

UNIT = RNG.uniform(0.1, 0.9, size=(3, 4))

RIGHT = np.random.default_rng(9).normal(size=(2, 4, 3))

SQUARES = np.random.default_rng(9).normal(size=(2, 3, 3)) + 2.0 * np.eye(3)

DEFINITE = SQUARES @ SQUARES.swapaxes(-1, -2)

TRILS = 0.3 * np.random.default_rng(8).normal(size=(2, 3, 3)) + np.eye(3)


def varied(x, *axes):
    """`x` scaled differently in every row of `axes`, so that named axes are not only broadcasts."""
    for axis in axes:
        x = ops.mul(x, ops.add(ops.mul(ops.cast(make("rowid", axis=axis), "float"), 0.3), 1.0))
    return x


def _route(x, y):
    x, y = varied(x, ROWS), ops.expand(y, (ROWS,))
    both = make("route", x, y, to=BRANCH, terms=(((0, 0),), ((1, 0),), ((0, 0), (1, 0))), live=(True,) * 3)
    picked = make("route", both, to=None, terms=(((0, 2), (0, 1), (0, 1)),), live=(True,))
    return [ops.tanh(both), ops.mul(picked, picked)]


def _contract(a, b):
    args = (varied(a, ROWS), varied(b, ROWS))
    return [make("contract", *args, a="xy", b="yz", out="xz", over=over) for over in ((), (ROWS,))]


def _solve(op):
    """A vector or rows for each matrix, both ways."""

    def build(a, b, rows):
        given = varied(a, ROWS)
        return [make(op, given, varied(x, ROWS), transposed=flag) for flag in (False, True) for x in (b, rows)]

    return build


def _put(x):
    index = ops.add(ops.cast(make("rowid", axis=ROWS), "int"), np.array([0, 2, 0]))
    value = varied(x, ROWS)
    args = (ops.mul(value, value), ops.expand(index, (ROWS,)))
    return [make("put", *args, size=5, over=()), make("put", *args, size=5, over=(ROWS,))]


def _mass(a, w):
    return [
        ops.log_mass_between(a, ops.add(a, w)),
        ops.log_mass_between(-math.inf, a),
        ops.log_mass_between(a, math.inf),
    ]


def _quantile(p, a, w):
    return [ops.quantile_between(p, a, ops.add(a, w)), ops.quantile_between(p, -math.inf, a)]


WAVE = External(lambda x, y: np.sin(x) * y, lambda x, y, g: (np.cos(x) * y * g, np.sum(np.sin(x) * g)))
"""A function of two arguments with its gradient."""


def _external(x, y):
    x, y = varied(x, ROWS), varied(ops.reduce_sum(y), ROWS)
    return make("external", x, y, fn=WAVE, output=None, axes=(ROWS,), shape=x.type.shape, dtype="float")


SMOOTH = ("neg", "exp", "expm1", "sin", "cos", "tan", "atan", "tanh", "sigmoid", "softplus")

SMOOTH += ("erf", "erfc", "ndtr", "log_ndtr", "abs")


class Case(NamedTuple):
    """A function of nodes and the arrays to check it at."""

    fn: object
    arrays: tuple
    order: int = 2


CASES: dict[str, Case] = {
    "add": Case(ops.add, (PLAIN, OTHER[0])),
    "sub": Case(ops.sub, (PLAIN[:, :1], OTHER)),
    "mul": Case(ops.mul, (PLAIN, OTHER[0])),
    "div": Case(ops.div, (PLAIN, POSITIVE)),
    "pow": Case(ops.power, (POSITIVE, PLAIN)),
    "max": Case(ops.maximum, (PLAIN, OTHER)),
    "min": Case(ops.minimum, (PLAIN, OTHER)),
    **{op: Case(lambda x, op=op: ops.unary(op, x), (PLAIN,)) for op in SMOOTH},
    **{op: Case(lambda x, op=op: ops.unary(op, x), (POSITIVE,)) for op in ("log", "log1p", "sqrt", "lgamma")},
    "ndtri": Case(ops.ndtri, (UNIT,)),
    "erfinv": Case(ops.erfinv, (UNIT - 0.5,)),
    "log1mexp": Case(ops.log1mexp, (-POSITIVE,)),
    "log_mass_between": Case(_mass, (PLAIN, POSITIVE)),
    "quantile_between": Case(_quantile, (UNIT, PLAIN, POSITIVE)),
    "gammainc": Case(cdfs.gammainc, (POSITIVE, WIDE)),
    "gammaincc": Case(cdfs.gammaincc, (POSITIVE, WIDE)),
    "gammaincinv": Case(cdfs.gammaincinv, (POSITIVE, UNIT)),
    "gammainccinv": Case(cdfs.gammainccinv, (POSITIVE, UNIT)),
    "betainc": Case(cdfs.betainc, (POSITIVE, WIDE, UNIT)),
    "betaincinv": Case(cdfs.betaincinv, (POSITIVE, WIDE, UNIT)),
    "student_cdf": Case(cdfs.student_cdf, (WIDE, PLAIN)),
    "student_icdf": Case(cdfs.student_icdf, (WIDE, UNIT)),
    "vonmises_cdf": Case(cdfs.vonmises_cdf, (WIDE, np.clip(PLAIN, -3.0, 3.0))),
    "vonmises_icdf": Case(cdfs.vonmises_icdf, (WIDE, UNIT)),
    "log_i0e": Case(lambda x: [ops.log_i0e(x, n) for n in range(3)], (POSITIVE,)),
    "polygamma": Case(lambda x: [ops.polygamma(n, x) for n in range(3)], (POSITIVE,)),
    "log_poisson": Case(ops.log_poisson, (POSITIVE, UNIT)),
    "log_poisson_log_rate": Case(ops.log_poisson_log_rate, (POSITIVE, PLAIN)),
    "log_binomial": Case(ops.log_binomial, (POSITIVE, UNIT + 1, UNIT)),
    "log_binomial_logits": Case(ops.log_binomial_logits, (POSITIVE, UNIT, PLAIN)),
    "where": Case(lambda x, y: ops.where(np.eye(3, 4) > 0, ops.mul(x, y), ops.sin(y)), (PLAIN, OTHER)),
    "cast": Case(lambda x: ops.mul(make("cast", x, dtype="float"), x), (PLAIN,)),
    "mark": Case(lambda x: ops.mul(ops.mark(x, "x"), ops.sin(x)), (PLAIN,)),
    "kept": Case(lambda x: stack_every(ops.sin(x), 2), (PLAIN,)),
    "expand": Case(lambda x: ops.tanh(varied(ops.expand(x, (ROWS, BRANCH), (2, 3, 4)), BRANCH)), (PLAIN[:1],)),
    "route": Case(_route, (PLAIN, OTHER)),
    "sum": Case(lambda x: ops.exp(make("sum", varied(x, ROWS), axes=(ROWS,), dims=(0,))), (PLAIN / 9,)),
    "amax": Case(lambda x: ops.exp(make("amax", varied(x, ROWS), axes=(ROWS,), dims=(1,))), (PLAIN,)),
    "reshape": Case(lambda x: ops.mul(ops.reshape(x, (2, 6)), ops.sin(ops.reshape(x, (2, 6)))), (PLAIN,)),
    "transpose": Case(lambda x: ops.exp(ops.transpose(x, (2, 0, 1))), (PLAIN.reshape(3, 2, 2),)),
    "slice": Case(lambda x: ops.exp(ops.window(varied(x, ROWS), ((2, 2, -1), (0, 2, 3)))), (PLAIN,)),
    "pad": Case(lambda x: ops.exp(make("pad", x, window=((1, 3, 2), (3, 4, -1)), shape=(7, 4))), (PLAIN,)),
    "concat": Case(lambda x, y: ops.exp(ops.concat([varied(x, ROWS), y], 1)), (PLAIN, OTHER[:, :2])),
    "take": Case(lambda x: ops.exp(ops.take(varied(x, ROWS), np.array([[2, 0], [2, 1]]))), (PLAIN,)),
    "cumsum": Case(lambda x: ops.exp(ops.cumsum(varied(x, ROWS))), (PLAIN / 9,)),
    "put": Case(_put, (PLAIN,)),
    "contract": Case(_contract, (PLAIN, OTHER.T)),
    "solve": Case(_solve("solve"), (TRILS, PLAIN[:2, :3], RIGHT)),
    "linsolve": Case(_solve("linsolve"), (SQUARES, PLAIN[:2, :3], RIGHT)),
    "cholesky": Case(lambda x: ops.tanh(ops.cholesky(varied(x, ROWS))), (DEFINITE,)),
    **{op: Case(lambda x, op=op: make(op, varied(x, ROWS)), (SQUARES,)) for op in ("inverse", "det", "log_det")},
    "collect": Case(lambda x: ops.exp(ops.collect(varied(x, FIXED, ROWS), FIXED)), (PLAIN[0] / 9,)),
    "distribute": Case(lambda x: ops.exp(ops.distribute(varied(x, ROWS), FIXED)), (PLAIN.T / 9,)),
    "external": Case(_external, (PLAIN, OTHER), order=1),
}

# no derivative of the value they compute; the draws, whose path is implicit, are tested with their distributions
SPECIAL = {"scale_grad", "graft", "loggamma_draw", "loggamma_slope", "vonmises_draw", "vonmises_slope"}


@pytest.mark.parametrize("op", sorted(set(VJPS) - SPECIAL))
def test_vjp_agrees_with_central_differences(op):
    if VJPS[op] is NO_GRADIENT:
        assert op not in CASES
        return
    assert op in CASES, f"no gradient case for op {op!r}: add one to CASES"
    case = CASES[op]
    check_grads(case.fn, *case.arrays, order=case.order)


def values(outputs, **params):
    return evaluate(outputs, Env(params=params, sizes=SIZES))


def param(name, *shape):
    return make("param", name=name, shape=shape)


def test_matmul_of_all_ranks():
    stack = RNG.normal(size=(2, 4, 3))
    check_grads(ops.matmul, PLAIN[0], OTHER.T)
    check_grads(ops.matmul, PLAIN, OTHER[0])
    check_grads(ops.matmul, PLAIN, stack)
    check_grads(ops.matmul, PLAIN[0], OTHER[0])


def test_softmax_family():
    check_grads(lambda x: [ops.softmax(x), ops.log_softmax(x), ops.logsumexp(x, 0)], PLAIN)


def test_expand_sums_cotangents_of_live_entries_only():
    x = param("x", 2)
    wide = make("expand", x, axes=(BRANCH,), shape=(2,), live=(True, False, True))
    (g,) = vjp([(wide, varied(ops.const(1.0), BRANCH))], [x])
    np.testing.assert_allclose(values([g], x=np.ones(2))[0], [1.0 + 1.6] * 2)
    dead = make("expand", x, axes=(BRANCH,), shape=(2,), live=(False,) * 3)
    assert vjp([(dead, ops.const(1.0))], [x]) == [None]


def test_route_passes_gradient_of_live_entries_only():
    x = param("x")
    own = varied(ops.expand(x, (BRANCH,)), BRANCH)
    wide = branch_axis((*BRANCH.copies, Branch(1, "w", 0, False)))
    routed = ops.route_to_branch(own, wide)
    assert routed.attrs["live"] == (True, True, True, False)
    (g,) = vjp([(routed, ops.const(1.0))], [x])
    assert values([g], x=1.0)[0] == pytest.approx(1.0 + 1.3 + 1.6)
    np.testing.assert_allclose(values([routed], x=1.0)[0], [1.0, 1.3, 1.6, 1.0])


def test_scale_grad_scales_the_cotangent_and_graft_redirects_it():
    x = param("x")
    y = ops.mul(ops.scale_grad(ops.mul(x, x), 0.25), ops.graft(ops.floor(x), ops.mul(3.0, x)))
    value, slope = values([y, *gradient(y, [x])], x=1.5)
    assert value == pytest.approx(1.5**2 * 1.0)
    assert slope == pytest.approx(0.25 * 2 * 1.5 * 1.0 + 3.0 * 1.5**2)


def test_nan_in_the_branch_not_taken_stays_there():
    x = param("x", 2)
    y = ops.reduce_sum(ops.where(ops.less(0.0, x), ops.log(x), 0.0))
    (g,) = gradient(y, [x])
    np.testing.assert_array_equal(values([g], x=np.array([-1.0, 2.0]))[0][1], 0.5)
    inner = ops.where(ops.less(0.0, x), ops.log(ops.where(ops.less(0.0, x), x, 1.0)), 0.0)
    (g,) = gradient(ops.reduce_sum(inner), [x])
    np.testing.assert_array_equal(values([g], x=np.array([-1.0, 2.0]))[0], [0.0, 0.5])


def test_zeroth_power_of_zero_has_no_slope():
    x = param("x")
    slopes = [gradient(ops.power(x, k), [x])[0] for k in (0.0, 1.0, 2.0)]
    np.testing.assert_array_equal(values(slopes, x=0.0), [0.0, 1.0, 0.0])


def test_ties_share_the_gradient():
    x, y = param("x"), param("y")
    g = gradient(ops.maximum(x, y), [x, y])
    np.testing.assert_array_equal(values(g, x=1.0, y=1.0), [0.5, 0.5])
    z = param("z", 3)
    (h,) = gradient(ops.reduce("amax", z), [z])
    np.testing.assert_array_equal(values([h], z=np.array([2.0, 1.0, 2.0]))[0], [0.5, 0.0, 0.5])


def test_stop_blocks_unless_its_tag_is_erased():
    x = param("x")
    y = ops.mul(ops.stop(x), x)
    assert values(gradient(y, [x]), x=3.0)[0] == 3.0
    assert values(gradient(y, [x], erase=("theta",)), x=3.0)[0] == 6.0


def test_polygamma_of_negative_numbers_satisfies_reflection():
    x = param("x")
    for n in (1, 2):
        shifted = ops.sub(ops.polygamma(n, ops.add(x, 1.0)), ops.polygamma(n, x))
        expected = (-1) ** n * math.factorial(n) / (-1.3) ** (n + 1)
        assert values([shifted], x=-1.3)[0] == pytest.approx(expected)
