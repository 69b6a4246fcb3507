"""Bounds of expressions are sound, supports are read off them, guards appear exactly where needed."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import leaf, value_of

from ppl.distributions import (
    Bernoulli,
    Categorical,
    Exponential,
    LogNormal,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    Support,
    Uniform,
    support_of,
)
from ppl.distributions.bounds import bounds_of, softmax_argument
from ppl.distributions.intervals import Interval
from ppl.ir import ops
from ppl.ir.node import topological
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Site, SiteKind, sample_node

PLATE = Axis("data", Kind.PLATE)

X, Y, V = leaf("x"), leaf("y"), leaf("v", (3,))


def sample(dist):
    return sample_node(Site("z", SiteKind.RANDOM, (PLATE,), "here", dist=dist), (PLATE,))


SUPPORTS = [
    (X, Support.REAL),
    (ops.exp(X), Support.POSITIVE),
    (ops.add(ops.exp(X), ops.softplus(Y)), Support.POSITIVE),
    (ops.add(ops.exp(X), 1e-6), Support.POSITIVE),
    (ops.mul(ops.exp(X), ops.exp(Y)), Support.POSITIVE),
    (ops.mul(ops.exp(X), -1.0), Support.REAL),
    (ops.mul(ops.maximum(X, 0.0), ops.exp(Y)), Support.NONNEGATIVE),
    (ops.div(ops.exp(X), ops.softplus(Y)), Support.POSITIVE),
    (ops.div(1.0, X), Support.REAL),
    (ops.mul(X, X), Support.NONNEGATIVE),
    (ops.mul(X, Y), Support.REAL),
    (ops.power(X, 2.0), Support.NONNEGATIVE),
    (ops.power(X, 3.0), Support.REAL),
    (ops.add(1.0, ops.mul(X, X)), Support.POSITIVE),
    (ops.sqrt(ops.add(1.0, ops.mul(X, X))), Support.POSITIVE),
    (ops.sub(1.0, ops.mul(X, X)), Support.REAL),
    (ops.absolute(X), Support.NONNEGATIVE),
    (ops.maximum(X, 0.0), Support.NONNEGATIVE),
    (ops.maximum(X, 0.1), Support.POSITIVE),
    (ops.sigmoid(X), Support.UNIT_INTERVAL),
    (ops.sub(1.0, ops.sigmoid(X)), Support.UNIT_INTERVAL),
    (ops.mul(ops.sigmoid(X), ops.sigmoid(Y)), Support.UNIT_INTERVAL),
    (ops.add(ops.sigmoid(X), ops.sigmoid(Y)), Support.POSITIVE),
    (ops.add(0.5, ops.mul(0.5, ops.tanh(X))), Support.UNIT_INTERVAL),
    (ops.ndtr(X), Support.UNIT_INTERVAL),
    (ops.const([0.2, 0.7]), Support.UNIT_INTERVAL),
    (ops.const([0.2, 7.0]), Support.POSITIVE),
    (ops.const([0.0, 7.0]), Support.NONNEGATIVE),
    (ops.const([0.2, np.nan]), Support.REAL),
    (ops.const([0.0, 1.0]), Support.BINARY),
    (ops.cast(ops.less(X, Y), "float"), Support.BINARY),
    (ops.softmax(V), Support.SIMPLEX),
    (ops.stop(ops.softmax(V)), Support.SIMPLEX),
    (ops.expand(ops.softmax(V), (PLATE,), (2, 3)), Support.SIMPLEX),
    (ops.reshape(ops.softmax(V), (3, 1)), Support.UNIT_INTERVAL),
    (ops.window(ops.softmax(V), ((0, 2, 1),)), Support.UNIT_INTERVAL),
    (ops.transpose(ops.softmax(leaf("m", (3, 3)))), Support.UNIT_INTERVAL),
    (ops.softmax(leaf("m", (3, 3)), 0), Support.POSITIVE),
    (ops.reduce_sum(ops.exp(V)), Support.POSITIVE),
    (ops.matmul(ops.exp(V), ops.exp(leaf("w", (3,)))), Support.POSITIVE),
    (ops.where(ops.less(X, 0.0), ops.exp(X), 0.5), Support.POSITIVE),
    (ops.where(ops.less(X, 0.0), ops.exp(X), Y), Support.REAL),
    (ops.concat([ops.reshape(ops.exp(X), (1,)), ops.sigmoid(V)]), Support.POSITIVE),
    (sample(Normal(X, 1.0)), Support.REAL),
    (sample(Exponential(2.0)), Support.POSITIVE),
    (sample(LogNormal(X, 1.0)), Support.POSITIVE),
    (sample(Uniform(0.0, 1.0)), Support.UNIT_INTERVAL),
    (sample(Uniform(X, Y)), Support.INTERVAL),
    (ops.add(sample(Uniform(2.0, 3.0)), 0.0), Support.POSITIVE),
    (sample(Bernoulli(0.5)), Support.BINARY),
    (ops.add(1.0, sample(Bernoulli(0.5))), Support.POSITIVE),
    (sample(Categorical([0.5, 0.5])), Support.INTEGER),
    (sample(OneHotCategorical([0.5, 0.5])), Support.ONE_HOT),
    (sample(RelaxedOneHotCategorical(1.0, [0.5, 0.5])), Support.SIMPLEX),
    (ops.expand(sample(LogNormal(X, 1.0)), (), (3,)), Support.POSITIVE),
]


@pytest.mark.parametrize(("node", "wanted"), SUPPORTS, ids=[f"{n.op}-{i}" for i, (n, _) in enumerate(SUPPORTS)])
def test_support_of(node, wanted):
    assert support_of(node) is wanted


def test_supports_nest():
    assert Support.SIMPLEX.within(Support.UNIT_INTERVAL) and Support.UNIT_INTERVAL.within(Support.POSITIVE)
    assert not Support.INTERVAL.within(Support.INTERVAL) and not Support.NONNEGATIVE.within(Support.POSITIVE)
    assert not Support.ONE_HOT.within(Support.SIMPLEX)


def test_bounds_are_sound_on_random_expressions():
    """No value of a random expression lies outside its bounds (up to rounding)."""
    rng = np.random.default_rng(7)
    unary = [ops.exp, ops.sigmoid, ops.softplus, ops.tanh, ops.neg, ops.absolute, ops.sin, ops.atan, ops.sqrt]
    unary += [ops.log, ops.log1p, ops.ndtr, ops.floor, ops.sign, lambda a: ops.power(a, 2.0), ops.reduce_sum]
    binary = [ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum]
    binary += [lambda a, b: ops.where(ops.less(a, b), a, b), lambda a, b: ops.mul(a, a)]
    informative = 0
    for _ in range(400):
        pool = [
            leaf("a", (4,)),
            leaf("b", (4,)),
            ops.const([0.5, 2.0, 0.0, 1.0]),
            ops.sigmoid(leaf("a", (4,))),
        ]
        for _ in range(5):
            if rng.random() < 0.5:
                pool.append(unary[rng.integers(len(unary))](pool[rng.integers(len(pool))]))
            else:
                i, j = rng.integers(len(pool), size=2)
                pool.append(binary[rng.integers(len(binary))](pool[i], pool[j]))
        bounds = bounds_of(pool[-1])
        informative += bounds.within(Interval(-1e300, np.inf)) or bounds.within(Interval(-np.inf, 1e300))
        for scale in (0.1, 3.0):
            x = value_of(pool[-1], a=rng.normal(size=4) * scale, b=rng.normal(size=4) * scale)
            x = x[~np.isnan(x)]
            slack = 1e-9 * np.maximum(1, np.abs(x[np.isfinite(x)]).max(initial=0))
            assert (x >= bounds.lo - slack).all() and (x <= bounds.hi + slack).all(), (pool[-1], bounds)
    assert informative > 150


def test_rounding_to_a_limit_does_not_reach_it():
    assert support_of(ops.sigmoid(ops.const([60.0, -800.0]))) is Support.UNIT_INTERVAL
    assert support_of(ops.exp(ops.const(-1e4))) is Support.UNIT_INTERVAL
    assert support_of(ops.exp(ops.const(-np.inf))) is Support.NONNEGATIVE
    assert support_of(ops.sub(1.0, ops.sigmoid(ops.const(60.0)))) is Support.UNIT_INTERVAL


def test_softmax_is_recognised_and_nothing_else():
    assert softmax_argument(ops.softmax(V)) is V
    e = ops.exp(V)
    assert softmax_argument(ops.div(e, ops.reduce_sum(ops.exp(ops.neg(V)), -1, keepdims=True))) is None
    assert softmax_argument(ops.div(e, leaf("w", (3,)))) is None
    m = leaf("m", (3, 3))
    assert softmax_argument(ops.softmax(m, 0)) is None


@pytest.mark.parametrize(
    ("dist", "inside", "loose"),
    [
        (LogNormal(X, 1.0), ops.exp(Y), Y),
        (LogNormal(X, 1.0), ops.add(1.0, ops.mul(Y, Y)), ops.mul(Y, Y)),
        (LogNormal(X, 1.0), sample(Exponential(1.0)), sample(Normal(X, 1.0))),
        (Exponential(ops.exp(X)), ops.mul(Y, Y), Y),
        (Uniform(0.0, 1.0), ops.sigmoid(Y), ops.exp(Y)),
        (Uniform(0.0, 1.0), sample(Bernoulli(0.5)), sample(Normal(X, 1.0))),
        (Uniform(-2.0, 3.0), ops.mul(2.0, ops.sin(Y)), ops.mul(4.0, ops.sin(Y))),
        (Uniform(X, Y), sample(Uniform(X, Y)), sample(Uniform(Y, X))),
        (Uniform(X, Y), sample(Uniform(X, Y)), ops.sigmoid(Y)),
        (RelaxedBernoulli(0.5, logits=X), ops.sigmoid(Y), ops.exp(Y)),
        (RelaxedOneHotCategorical(0.5, logits=V), ops.softmax(ops.neg(V)), ops.sigmoid(V)),
        (Normal(X, 1.0), Y, None),
        (Bernoulli(logits=X), sample(Bernoulli(0.5)), None),
        (Categorical(logits=V), sample(Categorical([0.2, 0.3, 0.5])), sample(Categorical([0.25] * 4))),
    ],
)
def test_guards_where_needed(dist, inside, loose):
    assert not any(map(is_guard, topological([dist.node_log_prob(inside)])))
    if loose is not None:
        assert any(map(is_guard, topological([dist.node_log_prob(loose)])))


def is_guard(node):
    """Whether `node` selects -inf."""
    if node.op != "where":
        return False
    last = node.args[2]
    while last.op == "expand":
        last = last.args[0]
    return last.op == "const" and (last.attrs["value"].value == -np.inf).all()


def test_a_guarded_density_has_finite_gradients_outside():
    from ppl.ir.differentiate import gradient

    for dist in (LogNormal(X, 1.0), Exponential(ops.exp(X)), RelaxedBernoulli(0.5, logits=X)):
        for at in (-1.0, 0.0, 2.0):
            node = dist.node_log_prob(Y)
            grads = [value_of(g, x=0.3, y=at) for g in gradient(node, [X, Y])]
            assert np.isfinite(grads).all(), (dist, at)
