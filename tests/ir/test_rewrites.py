"""Every rule of the simplifier by name: what it converts, and into what."""

from __future__ import annotations

import numpy as np
import pytest

from ppl.ir import ops
from ppl.ir.loop import Body
from ppl.ir.node import make, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import RULES, erase_markers, simplify
from ppl.ir.types import PARTICLES, PRIMAL, Axis, Branch, Kind, branch_axis

pytestmark = pytest.mark.tiny

SIZES = {"data": 3, "particles": 2}

N = Axis("data", Kind.PLATE)

K = PARTICLES

FIVE = Axis("five", Kind.PLATE, 5, depth=1)

B = branch_axis((PRIMAL, Branch(0, "z", 0, True), Branch(0, "z", 1)))


def leaf(name, *shape, axes=(), dtype="float"):
    return make("input", name=name, axes=axes, shape=shape, dtype=dtype)


s, t = leaf("s"), leaf("t")

x, y = leaf("x", 3), leaf("y", 3)

m, w = leaf("m", 2, 3), leaf("w", 3, 4)

xn, yn, sn = leaf("xn", 3, axes=(N,)), leaf("yn", 3, axes=(N,)), leaf("sn", axes=(N,))

xk, xnk, snk = leaf("xk", 3, axes=(K,)), leaf("xnk", 3, axes=(N, K)), leaf("snk", axes=(N, K))

gnk = leaf("gnk", 4, axes=(N, K))

xf, mf = leaf("xf", 3, axes=(FIVE,)), leaf("mf", 2, 3, axes=(FIVE,))

c, d = leaf("c", 3, dtype="bool"), leaf("d", dtype="bool")

i = leaf("i", 4, dtype="int")

i_n = leaf("i_n", 4, axes=(N,), dtype="int")

u, l9, vn = leaf("u", 1, 3), leaf("l9", 9), leaf("vn", 4, axes=(N,))

drawn = ops.noise("u", 0, (), (3,))

xb, yb = leaf("xb", 3, axes=(B,)), leaf("yb", 3, axes=(B,))


def _scan(carried):
    """Powers of two, with the factor as a carry that does not change or as a constant."""
    index, p, q = (
        make("arg", uid=-k, axes=(), shape=(), dtype=dt) for k, dt in ((1, "int"), (2, "float"), (3, "float"))
    )
    carries = (q, ops.mul(p, q)) if carried else (ops.mul(p, q),)
    body = Body(index, (q, p) if carried else (p, q), carries, (), 0)
    args = (t, s) if carried else (s, t)
    node = make("loop", *args, body=body, length=3, reverse=False)
    return make("get", node, index=len(carries) - 1, type=s.type)


def expanded(value, *axes, shape=None):
    return ops.expand(value, (*value.type.axes, *axes), shape)


def total(value, axes=(), dims=()):
    return make("sum", value, axes=axes, dims=dims)


def contract(a, b, la, lb, out, over=()):
    return make("contract", a, b, a=la, b=lb, out=out, over=over)


def route(*args, to, terms):
    return make("route", *args, to=to, terms=terms, live=(True,) * len(terms))


def entry(value, e):
    return route(value, to=None, terms=(((0, e),),))


def live_expand(value, *axes):
    return make("expand", value, axes=axes, shape=value.type.shape, live=None)


SIG, EXP, LOG = ops.sigmoid, ops.exp, ops.log

EACH = (((0, 0),), ((0, 1),), ((0, 2),))

FLIP = (((0, 2),), ((0, 1),), ((0, 0),))

TABLE = {
    # constants
    "uniform_constant": (ops.const(np.full(3, 2.0)), ops.expand(ops.const(2.0), (), (3,))),
    "fixed_size": (make("size", axis=FIVE), ops.const(5.0)),
    "fold": (ops.add(ops.mul(ops.const([1.0, 2.0]), 3.0), 1.0), ops.const([4.0, 7.0])),
    # arithmetic
    "constant_to_the_right": (ops.add(2.0, s), ops.add(s, 2.0)),
    "add_zero": (ops.sub(ops.add(x, 0.0), 0.0), x),
    "sub_from_zero": (ops.sub(0.0, x), ops.neg(x)),
    "times_one": (ops.div(ops.mul(x, 1.0), 1.0), x),
    "times_minus_one": (ops.mul(x, -1.0), ops.neg(x)),
    "double_negation": (ops.logical_not(ops.logical_not(c)), c),
    "negated_difference": (ops.neg(ops.sub(x, y)), ops.sub(y, x)),
    "negated_shift": (ops.neg(ops.add(s, 2.0)), ops.sub(-2.0, s)),
    "negated_multiple": (ops.neg(ops.mul(s, 2.0)), ops.mul(s, -2.0)),
    "sub_negative": (ops.sub(x, ops.neg(y)), ops.add(x, y)),
    "add_negative": (ops.add(ops.neg(x), y), ops.sub(y, x)),
    "sub_constant": (ops.sub(s, 2.0), ops.add(s, -2.0)),
    "add_constants": (ops.add(ops.sub(1.0, ops.add(s, 2.0)), 4.0), ops.sub(3.0, s)),
    "sub_from_shift": (ops.sub(1.0, ops.add(s, 2.0)), ops.sub(-1.0, s)),
    "multiply_constants": (ops.mul(ops.mul(s, 2.0), 3.0), ops.mul(s, 6.0)),
    "cancel_quotient": (ops.mul(y, ops.div(x, y)), x),
    "gather_multiple": (ops.mul(ops.mul(s, 2.0), ops.mul(t, 3.0)), ops.mul(ops.mul(s, t), 6.0)),
    "gather_multiple_div": (ops.div(ops.mul(s, 2.0), t), ops.mul(ops.div(s, t), 2.0)),
    "gather_sign": (ops.mul(ops.neg(x), ops.neg(y)), ops.mul(x, y)),
    "divide_by_constant_twice": (ops.div(ops.div(s, 2.0), 3.0), ops.div(s, 6.0)),
    "floor_of_whole": (
        ops.floor(ops.floor(ops.add(x, ops.floor(ops.cast(c, "float"))))),
        ops.floor(ops.add(x, ops.cast(c, "float"))),
    ),
    "equal_to_itself": (ops.logical_and(d, ops.equal(*[ops.cast(leaf("k", dtype="int"), "float")] * 2)), d),
    "absolute_of_negative": (ops.absolute(ops.neg(ops.absolute(x))), ops.absolute(x)),
    "integer_power": (ops.power(s, 2.0), ops.mul(s, s)),
    "idempotent": (ops.maximum(x, x), x),
    "decided_logic": (ops.logical_or(ops.logical_and(d, True), False), d),
    "decided_where": (ops.where(True, x, ops.where(c, y, y)), x),
    "where_not": (ops.where(ops.logical_not(c), x, y), ops.where(c, y, x)),
    "where_of_where": (ops.where(c, ops.where(c, x, y), y), ops.where(c, x, y)),
    "redundant_cast": (ops.cast(ops.cast(c, "int"), "float"), ops.cast(c, "float")),
    # stable forms
    "log_sigmoid": (LOG(SIG(x)), ops.neg(ops.softplus(ops.neg(x)))),
    "log1p_minus_sigmoid": (ops.log1p(ops.neg(SIG(x))), ops.neg(ops.softplus(x))),
    "log1p_minus_uniform": (ops.log1p(ops.neg(drawn)), LOG(ops.sub(1.0, drawn))),
    "one_minus_sigmoid": (ops.sub(1.0, SIG(s)), SIG(ops.neg(s))),
    "cancelled_term": (ops.sub(ops.add(s, ops.sin(x)), s), ops.sin(x)),
    "inverse_pair": (LOG(EXP(EXP(LOG(x)))), x),
    "log1p_tanh": (ops.log1p(ops.neg(ops.tanh(x))), ops.sub(np.log(2.0), ops.softplus(ops.mul(x, 2.0)))),
    "log1p_exp": (ops.log1p(EXP(x)), ops.softplus(x)),
    "log_one_plus_exp": (LOG(ops.add(1.0, EXP(s))), ops.softplus(s)),
    "logistic": (ops.div(1.0, ops.add(1.0, EXP(ops.neg(s)))), SIG(s)),
    "log_softmax": (LOG(ops.div(EXP(x), s)), ops.sub(x, expanded(LOG(s), shape=(3,)))),
    # views
    "trivial_view": (make("slice", make("transpose", x, perm=(0,)), window=((0, 3, 1),)), x),
    "merge_reshapes": (ops.reshape(ops.reshape(m, (6,)), (3, 2)), ops.reshape(m, (3, 2))),
    "merge_transposes": (ops.transpose(ops.transpose(m)), m),
    "transpose_to_reshape": (ops.transpose(u), ops.reshape(u, (3, 1))),
    "merge_slices": (
        ops.window(ops.window(l9, ((8, 4, -2),)), ((1, 2, 2),)),
        ops.window(l9, ((6, 2, -4),)),
    ),
    "slice_of_concat": (ops.window(ops.concat([x, y]), ((5, 3, -1),)), ops.window(y, ((2, 3, -1),))),
    "slice_of_pad": (ops.window(make("pad", x, window=((1, 3, 1),), shape=(6,)), ((1, 3, 1),)), x),
    "trivial_pad": (make("pad", x, window=((0, 3, 1),), shape=(3,)), x),
    "single_concat": (make("concat", x, dim=0), x),
    "inverse_axes": (ops.distribute(ops.collect(xf, FIVE), FIVE), xf),
    # routes
    "unread_arguments": (route(xb, yb, to=B, terms=FLIP), route(xb, to=B, terms=FLIP)),
    "identity_route": (route(xb, to=B, terms=EACH), xb),
    "uniform_route": (route(x, to=B, terms=(((0, 0),),) * 3), live_expand(x, B)),
    "route_of_broadcast": (
        route(live_expand(x, B), yb, to=B, terms=(((0, 2),), ((1, 1),), ())),
        route(x, yb, to=B, terms=(((0, 0),), ((1, 1),), ())),
    ),
    "pick_of_elementwise": (
        route(
            ops.mul(live_expand(x, B), route(y, x, x, to=B, terms=(((0, 0),), ((1, 0),), ((1, 0),)))),
            to=None,
            terms=(((0, 0),),),
        ),
        ops.mul(x, y),
    ),
    "merge_routes": (route(route(xb, to=B, terms=FLIP), to=B, terms=FLIP), xb),
    "pick_of_contract": (
        route(contract(xb, yb, "x", "y", "xy"), to=None, terms=(((0, 1), (0, 2)),)),
        ops.add(*(contract(entry(xb, e), entry(yb, e), "x", "y", "xy") for e in (1, 2))),
    ),
    # broadcasts
    "trivial_expand": (make("expand", x, axes=(), shape=(3,), live=None), x),
    "merge_expands": (expanded(expanded(s, N), K, shape=(3,)), expanded(s, N, K, shape=(3,))),
    "expand_of_padding": (expanded(ops.reshape(x, (1, 3)), shape=(2, 3)), expanded(x, shape=(2, 3))),
    "sink_elementwise": (
        EXP(ops.add(expanded(x, N, K, shape=(2, 3)), expanded(sn, K, shape=(2, 3)))),
        expanded(EXP(ops.add(expanded(x, N), expanded(sn, shape=(3,)))), K, shape=(2, 3)),
    ),
    "sink_named": (ops.take(expanded(x, N), expanded(i, N)), expanded(ops.take(x, i), N)),
    "reshape_of_expand": (ops.reshape(expanded(s, N, shape=(2, 3)), (6,)), expanded(s, N, shape=(6,))),
    "transpose_of_expand": (
        ops.transpose(expanded(x, N, shape=(2, 3))),
        expanded(ops.reshape(x, (3, 1)), N, shape=(3, 2)),
    ),
    "slice_of_expand": (
        ops.window(expanded(x, N, shape=(2, 3)), ((1, 1, 1), (0, 2, 1))),
        expanded(ops.window(x, ((0, 2, 1),)), N, shape=(1, 2)),
    ),
    "collect_of_expand": (ops.collect(expanded(xn, FIVE), FIVE), expanded(xn, shape=(5, 3))),
    "distribute_of_expand": (ops.distribute(expanded(xn, shape=(5, 3)), FIVE), expanded(xn, FIVE)),
    "route_of_expand": (
        route(expanded(x, N), expanded(yb, N), to=B, terms=(((0, 0),), ((1, 1),), ())),
        expanded(route(x, yb, to=B, terms=(((0, 0),), ((1, 1),), ())), N),
    ),
    # reductions
    "empty_reduction": (total(x), x),
    "unit_reduction": (total(u, dims=(0, 1)), total(ops.reshape(u, (3,)), dims=(0,))),
    "merge_reductions": (total(total(mf, dims=(0,)), (FIVE,), (0,)), total(mf, (FIVE,), (0, 1))),
    "reduce_expand": (
        total(expanded(sn, FIVE, shape=(2, 3)), (FIVE,), (1,)),
        expanded(ops.mul(sn, 15.0), shape=(2,)),
    ),
    "sum_of_multiple": (
        total(ops.mul(expanded(s, N, shape=(3,)), xn), (N,), (0,)),
        ops.mul(total(xn, (N,), (0,)), s),
    ),
    "sum_of_negative": (total(ops.neg(xn), (N,)), ops.neg(total(xn, (N,)))),
    "sum_of_selection": (
        total(ops.where(expanded(c, N), xn, 0.0), (N,)),
        ops.where(c, total(xn, (N,)), 0.0),
    ),
    "sum_of_contract": (
        total(contract(xnk, gnk, "x", "y", "xy"), (N,)),
        contract(xnk, gnk, "x", "y", "xy", (N,)),
    ),
    "sum_of_put": (
        total(make("put", vn, i_n, size=6, over=()), (N,)),
        make("put", vn, i_n, size=6, over=(N,)),
    ),
    "sum_of_view": (total(ops.transpose(mf), (FIVE,)), ops.transpose(total(mf, (FIVE,)))),
    "sum_all_of_view": (total(ops.reshape(m, (6,)), dims=(0,)), total(m, dims=(0, 1))),
    # loops
    "constant_carry": (_scan(carried=True), _scan(carried=False)),
    # contractions
    "contract_broadcast_axes": (
        contract(expanded(xn, K), gnk, "x", "y", "xy", (N, K)),
        contract(xn, total(gnk, (K,)), "x", "y", "xy", (N,)),
    ),
    "contract_broadcast_labels": (
        contract(expanded(s, shape=(3,)), w, "x", "xy", "y"),
        ops.mul(total(w, dims=(0,)), s),
    ),
    "sum_private_labels": (
        contract(m, y, "xy", "z", "yz"),
        contract(total(m, dims=(0,)), y, "y", "z", "yz"),
    ),
    "contract_of_transpose": (
        contract(expanded(ops.transpose(m), N), xn, "yx", "y", "x"),
        contract(expanded(m, N), xn, "xy", "y", "x"),
    ),
    "transpose_of_contract": (
        ops.transpose(contract(m, w, "xy", "yz", "xz")),
        contract(m, w, "xy", "yz", "zx"),
    ),
    "contract_of_negative": (
        contract(m, ops.neg(w), "xy", "yz", "xz"),
        ops.neg(contract(m, w, "xy", "yz", "xz")),
    ),
    "contract_of_multiple": (
        contract(ops.mul(m, s), w, "xy", "yz", "xz"),
        ops.mul(contract(m, w, "xy", "yz", "xz"), s),
    ),
    "contract_with_number": (contract(sn, xn, "", "x", "x"), ops.mul(xn, sn)),
    "sum_of_added_tables": (
        total(ops.sub(contract(xn, yn, "x", "y", "xy"), ops.mul(contract(yn, xn, "x", "y", "xy"), s)), (N,)),
        ops.sub(contract(xn, yn, "x", "y", "xy", (N,)), ops.mul(contract(yn, xn, "x", "y", "xy", (N,)), s)),
    ),
    "put_broadcast_axes": (
        make("put", vn, expanded(i, N), size=6, over=(N,)),
        make("put", total(vn, (N,)), i, size=6, over=()),
    ),
}


def rule_names():
    return sorted({rule.__name__ for rules in RULES.values() for rule in rules})


def plain(outputs):
    """Without live masks, which `ops.expand` puts on branch axes."""
    return erase_markers(outputs)


@pytest.mark.parametrize("name", rule_names())
def test_rule_converts(name):
    assert name in TABLE, f"no example for rule {name!r}: add one to TABLE"
    before, after = TABLE[name]
    assert simplify(plain([before]), strict=True) == plain([after])
    assert simplify([after], strict=True) == [after]


def test_sums_of_added_puts_come_apart():
    before = total(ops.sub(make("put", vn, i_n, size=4, over=()), vn), (N,))
    after = ops.sub(make("put", vn, i_n, size=4, over=(N,)), total(vn, (N,)))
    assert simplify([before], strict=True) == [after]


@pytest.mark.parametrize("name", rule_names())
def test_rule_preserves_values(name):
    rng = np.random.default_rng(1)
    inputs = {}
    for leaf_ in {n for graph in TABLE[name] for n in topological([graph]) if n.op == "input"}:
        shape = Env(sizes=SIZES).shape(leaf_.type)
        kinds = {
            "float": rng.uniform(0.2, 2.0, shape),
            "int": rng.integers(0, 3, shape),
            "bool": rng.random(shape) < 0.5,
        }
        inputs[leaf_.attrs["name"]] = kinds[leaf_.type.dtype]
    before, after = evaluate(TABLE[name], Env(inputs=inputs, sizes=SIZES))
    np.testing.assert_allclose(after, before, rtol=1e-12)


@pytest.mark.parametrize("name", rule_names())
def test_rule_itself_applies_somewhere_on_its_example(name):
    """The example exercises this rule, not only others that lead to the same result."""
    fired = []
    for op, rules in list(RULES.items()):
        RULES[op] = [_spy(r, fired) if r.__name__ == name else r for r in rules]
    try:
        simplify(plain([TABLE[name][0]]))
    finally:
        for op, rules in list(RULES.items()):
            RULES[op] = [getattr(r, "original", r) for r in rules]
    assert fired


def _spy(rule, fired):
    def spied(node):
        new = rule(node)
        if new is not None:
            fired.append(new)
        return new

    spied.original, spied.__name__ = rule, rule.__name__
    return spied


def test_rules_have_docstrings_that_say_convert():
    for rules in RULES.values():
        for rule in rules:
            assert rule.__doc__.startswith("Convert "), rule.__name__
