"""Optional arguments and kinds of results of NumPy functions on values: as NumPy's on arrays, or refused.

What is refused is what NumPy refuses, or what has no rule; an argument that is read by nobody would fail here.
"""

import operator

import numpy as np
import pytest

import ppl
from ppl.errors import ModelError
from tests.lang.helpers import agrees, run

pytestmark = pytest.mark.tiny

rng = np.random.default_rng(3)
V = rng.normal(size=4)
A = rng.normal(size=(3, 4))
S = rng.normal(size=(4, 4))
T = rng.normal(size=(2, 3, 4))
K = rng.integers(-5, 9, size=(3, 4))
I = np.array([0, 1, 2, 3])  # noqa: E741
P, Q = np.array([False, False, True, True]), np.array([False, True, False, True])
NAN = np.array([1.0, np.nan, 3.0])

OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "and_", "or_", "xor",
             "lt", "le", "gt", "ge", "eq", "ne", "matmul"]  # fmt: skip
BINARY = ["add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "minimum", "matmul",
          "vecdot", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or",
          "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"]  # fmt: skip
UNARY = ["negative", "positive", "absolute", "sign", "floor", "ceil", "trunc", "square", "invert", "logical_not",
         "isnan", "isfinite"]  # fmt: skip


def as_numpy(function, *arrays):
    """`function` gives what it gives on arrays, with the kind of its result; what NumPy refuses is a ModelError."""
    try:
        with np.errstate(all="ignore"):
            function(*arrays)
    except TypeError:
        with pytest.raises(ModelError):
            run(function, *arrays)
        return
    with np.errstate(all="ignore"):
        agrees(function, *arrays)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_truth_values(name):
    function = getattr(operator, name)
    as_numpy(function, P, Q)
    as_numpy(lambda p: function(p, Q), P)
    if name != "matmul":
        as_numpy(lambda p: function(p, True), P)
        as_numpy(lambda p: function(False, p), P)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "lt", "eq", "matmul"])
@pytest.mark.parametrize("pair", [(P, I), (I, Q), (I, I[::-1].copy()), (V, Q), (P, V)],
                         ids=["truth,int", "int,truth", "int,int", "float,truth", "truth,float"])  # fmt: skip
def test_operators_of_mixed_kinds(name, pair):
    as_numpy(getattr(operator, name), *pair)


@pytest.mark.parametrize("name", BINARY)
def test_ufuncs_of_truth_values(name):
    as_numpy(getattr(np, name), P, Q)


@pytest.mark.parametrize("name", UNARY)
def test_unary_ufuncs_keep_the_kind(name):
    as_numpy(getattr(np, name), P)
    if name != "invert":
        as_numpy(getattr(np, name), K)


@pytest.mark.parametrize("name", ["neg", "pos", "invert", "abs"])
def test_unary_operators_of_truth_values(name):
    as_numpy(getattr(operator, name), P)


def test_compiled_truth_values():
    """The same in machine code: a table of sums, products and extremes of comparisons with a draw."""

    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Normal(np.zeros(64), 1.0))
        p, q = z > -0.3, z > 0.4
        kinds = [p + q, p * q, np.maximum(p, q), np.minimum(p, ~q), p ^ q, np.abs(p), np.max(p) * p, p @ q]
        for n, truth in enumerate(kinds):
            ppl.deterministic(f"t{n}", np.where(truth, 2.5, -1.0))
        ppl.cost("c", np.sum(z))

    program = ppl.compile(model)
    found = program.sample(program.init(seed=0), seed=5)
    z = np.asarray(found["z"], np.float64)
    p, q = z > -0.3, z > 0.4
    wanted = [p | q, p & q, p | q, p & ~q, p ^ q, p, p.any() & p, (p & q).any(-1)]
    assert 0 < p.sum() < q.size + p.size and q.any()
    for n, truth in enumerate(wanted):
        np.testing.assert_array_equal(found[f"t{n}"], np.where(truth, 2.5, -1.0))


def of(function, *args, **options):
    """A call of `function` with everything but its first argument, which comes later."""
    return lambda x: function(x, *args, **options)


SAME = {
    "roll both axes": (of(np.roll, (1, 1), axis=(0, 1)), A),
    "roll from the end": (of(np.roll, (1, -2), axis=(0, -1)), T),
    "roll one shift": (of(np.roll, 1, axis=(0, 1)), A),
    "roll one axis": (of(np.roll, (1, 2), axis=0), A),
    "roll one axis twice": (of(np.roll, (1, 1), axis=(0, 0)), A),
    "roll flat by several": (of(np.roll, (1, 2)), A),
    "roll arrays": (of(np.roll, np.array([1, 2]), axis=[0, 1]), A),
    "roll no axes": (of(np.roll, 1, axis=()), A),
    "roll far": (of(np.roll, 103, 1), A),
    **{f"diagonal {k}": (of(np.diagonal, k), S) for k in range(-4, 5)},
    **{f"diagonal of a rectangle {k}": (of(np.diagonal, offset=k), A) for k in range(-3, 5)},
    "diagonal of matrices": (of(np.diagonal, 1, 1, 2), T),
    "diagonal of other axes": (of(np.diagonal, axis1=-1, axis2=0), T),
    "diagonal of first axes": (np.diagonal, T),
    "diagonal across": (of(np.diagonal, 1, 1, 0), S),
    **{f"trace {k}": (of(np.trace, offset=k), S) for k in (-2, 1, 4)},
    "trace of a rectangle": (of(np.trace, 1), A),
    "trace of matrices": (of(np.trace, 0, 1, 2), T),
    "trace of truth values": (lambda a: np.trace(a > 0), S),
    **{f"diag of {k}": (of(np.diag, k), S) for k in (-4, -1, 0, 1, 2)},
    **{f"diag of a rectangle {k}": (of(np.diag, k=k), A) for k in (-1, 2)},
    **{f"diag {k}": (of(np.diag, k), V) for k in (-2, -1, 1, 3)},
    "diag of integers": (np.diag, I),
    "diag of truth values": (of(np.diag, 1), P),
    "diag beside NaN": (np.diag, NAN),
    "tril of truth values": (lambda a: np.tril(a > 0, 1), A),
    "argmax keepdims": (of(np.argmax, axis=1, keepdims=True), A),
    "argmin keepdims": (of(np.argmin, keepdims=True), A),
    "argmin of truth values": (lambda a: np.argmin(a > 0, axis=1), A),
    "diff of truth values": (lambda a: np.diff(a > 0, 2), A),
    "full_like of integers": (of(np.full_like, 2.7), K),
    "full_like of truth values": (of(np.full_like, 2), P),
    "full_like of floats": (of(np.full_like, 2), A),
    "full_like by rows": (of(np.full_like, np.arange(4.0)), A),
    "zeros_like of integers": (np.zeros_like, K),
    "ones_like of truth values": (np.ones_like, P),
    "max of truth values": (lambda a: np.max(a > 0, axis=0), A),
    "min of truth values": (lambda a: np.min(a > 0), A),
    "clip keywords": (of(np.clip, a_min=-0.5, a_max=0.5), A),
    "clip crossed": (of(np.clip, 1.0, -1.0), A),
    "clip integers by floats": (of(np.clip, 0.5, 2.5), K),
    "var ddof by position": (of(np.var, 1, None, None, 1), A),
    "std ddof half": (of(np.std, axis=(0, 2), ddof=0.5, keepdims=True), T),
    "sum axes keepdims": (of(np.sum, (0, -1), keepdims=True), T),
    "average axes": (of(np.average, axis=(0, 2)), T),
    "norm of integers": (of(np.linalg.norm, 1), I),
    "norm of integers, largest": (of(np.linalg.norm, np.inf), I),
    "norm keepdims": (of(np.linalg.norm, np.inf, 1, True), A),
    "norm of matrices": (of(np.linalg.norm, axis=(0, 1)), T),
    "dot of integers": (lambda k: np.dot(k, k), I),
    "dot of truth values": (lambda k: np.dot(k > 1, k > 0), I),
    "vdot of integers": (lambda k: np.vdot(k, k), K),
    "inner of integers": (lambda k: np.inner(k, k), K),
    "outer of truth values": (lambda k: np.outer(k > 0, k > 1), I),
    "tensordot of integers": (lambda k: np.tensordot(k, k, 2), K),
    "tensordot of truth values": (lambda a: np.tensordot(a > 0, a > 1, ((0,), (0,))), A),
    "einsum of integers": (lambda k: np.einsum("ij,kj->ik", k, k), K),
    "einsum of truth values": (lambda a: np.einsum("ij,ij->i", a > 0, a < 1), A),
    "einsum of one truth value": (lambda a: np.einsum("ij->i", a > 0), A),
    "einsum optimize": (lambda a: np.einsum("ij->j", a, optimize=True), A),
    "add.reduce axes": (of(np.add.reduce, axis=(0, 1)), T),
    "add.reduce all": (of(np.add.reduce, axis=None, keepdims=True), T),
    "add.reduce of truth values": (lambda a: np.add.reduce(a > 0), A),
    "less.outer": (lambda v: np.less.outer(v, v), V),
    **{f"integers to the power {n}": (lambda k, n=n: k**n, K) for n in (0, 1, 2, 5)},
    "truth values squared": (lambda p: p**2, P),
    "transpose None": (lambda t: t.transpose(None), T),
    "transpose method": (lambda t: t.transpose((1, 0, 2)), T),
    "expand axes": (of(np.expand_dims, (0, 2)), A),
    "moveaxis several": (of(np.moveaxis, (0, 1), (-1, 0)), T),
    "split unsorted": (lambda a: np.split(a, [3, 1], 1), A),
    "hstack of rank 3": (lambda t: np.hstack([t, t]), T),
    "sum of a list of truth values": (lambda k: sum([k > 1, k > 2]), I),
    "a number of an array and rows": (lambda k: 1 - (k > 1) * 2.5, I),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_call(name):
    function, array = SAME[name]
    agrees(function, array)


REDUCTIONS = (np.sum, np.mean, np.max, np.min, np.var, np.std, np.any, np.all)
OPTIONS = {np.sum: "where initial dtype out", np.mean: "where dtype out", np.max: "where initial out",
           np.min: "where initial out", np.var: "where dtype out mean correction",
           np.std: "where dtype out mean correction", np.any: "where out", np.all: "where out"}  # fmt: skip
VALUES = {"where": A > 0, "initial": 1.5, "dtype": np.float32, "out": np.zeros(4), "mean": 0.0, "correction": 1}

REFUSED = {
    **{f"{f.__name__} {option}": (of(f, axis=0, **{option: VALUES[option]}), A)
       for f in REDUCTIONS for option in OPTIONS[f].split()},
    "sum where false": (of(np.sum, where=False), A),
    "max initial 0": (of(np.max, initial=0), A),
    "average returned": (of(np.average, returned=True), A),
    "average keepdims": (of(np.average, axis=1, keepdims=True), A),
    "argmax out": (of(np.argmax, 0, np.zeros(4, int)), A),
    "cumsum dtype": (of(np.cumsum, 0, int), A),
    "diff prepend": (of(np.diff, prepend=0.0), A),
    "norm of an operator": (of(np.linalg.norm, 2), A),
    "norm 3": (of(np.linalg.norm, 3), V),
    "norm nuc": (of(np.linalg.norm, "nuc"), A),
    "norm no axes": (of(np.linalg.norm, axis=()), A),
    "concatenate dtype": (lambda a: np.concatenate([a, a], dtype=int), A),
    "stack casting": (lambda a: np.stack([a, a], casting="no"), A),
    "take clip": (of(np.take, [0, 9], axis=1, mode="clip"), A),
    "take wrap": (of(np.take, [0, 9], axis=1, mode="wrap"), A),
    "take out of range": (of(np.take, [0, 9], axis=1), A),
    "roll lengths": (of(np.roll, (1, 2, 3), axis=(0, 1)), A),
    "roll fraction": (of(np.roll, (1, 1.5), axis=(0, 1)), A),
    "roll table": (of(np.roll, ((1, 2), (3, 4)), axis=0), A),
    "diagonal fraction": (of(np.diagonal, 1.0), S),
    "diagonal one axis": (of(np.diagonal, 0, 1, 1), S),
    "diagonal of a vector": (np.diagonal, V),
    "diag fraction": (of(np.diag, 0.5), V),
    "diag of rank 3": (np.diag, T),
    "trace dtype": (of(np.trace, dtype=int), S),
    "reshape order": (of(np.reshape, (4, 3), order="F"), A),
    "ravel order": (of(np.ravel, "F"), A),
    "copy order": (of(np.copy, order="F"), A),
    "zeros_like dtype": (of(np.zeros_like, dtype=int), A),
    "zeros_like shape": (of(np.zeros_like, shape=(2,)), A),
    "full_like dtype": (of(np.full_like, 2.7, dtype=float), K),
    "broadcast_to subok": (of(np.broadcast_to, (3, 4), subok=True), V),
    "transpose empty": (lambda t: t.transpose(()), T),
    "einsum order": (lambda a: np.einsum("ij->ji", a, order="F"), A),
    "einsum dtype": (lambda a: np.einsum("ij->j", a, dtype=np.float32), A),
    "ufunc where": (of(np.add, 1, where=A > 0), A),
    "ufunc dtype": (of(np.add, 1, dtype=np.float32), A),
    "ufunc out": (of(np.add, 1, np.zeros((3, 4))), A),
    "ufunc casting": (of(np.add, 1, casting="unsafe"), A),
    "matmul axes": (lambda s: np.matmul(s, s, axes=[(1, 0), (0, 1), (0, 1)]), S),
    "vecdot axis": (lambda a: np.vecdot(a, a, axis=0), A),
    "reduce where": (of(np.add.reduce, where=A > 0), A),
    "reduce initial": (of(np.maximum.reduce, initial=3.0), A),
    "accumulate dtype": (of(np.add.accumulate, 1, int), A),
    "accumulate of others": (np.maximum.accumulate, A),
    "outer where": (lambda v: np.add.outer(v, v, where=False), V),
    "reciprocal of integers": (np.reciprocal, I + 1),
    "minus of truth values": (lambda p: -p, P),
    "difference of truth values": (lambda p: p - ~p, P),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    function, array = REFUSED[name]
    with pytest.raises(ModelError, match=r"\n  at "):
        run(function, array)
