"""NumPy and SciPy functions on values against the same functions on arrays."""

import numpy as np
import pytest
import scipy.special as sp

import ppl
from ppl.errors import ModelError, ShapeError
from ppl.lang.numpy_functions import FUNCTIONS, LINALG_FUNCTIONS, UFUNCS
from tests.lang.helpers import agrees, run

pytestmark = pytest.mark.tiny

rng = np.random.default_rng(0)

A = rng.normal(size=(3, 4))

B = rng.normal(size=(4,))

P = rng.uniform(0.1, 0.9, size=(3, 4))

M = rng.normal(size=(4, 5))

S = rng.normal(size=(4, 4))

K = rng.integers(-5, 9, size=(3, 4))

J = rng.integers(1, 4, size=(4,))

T = rng.normal(size=(2, 3, 4))

UNARY = [
    "absolute fabs negative positive sign floor ceil trunc exp exp2 expm1 sin cos tan arctan sinh cosh tanh "
    "square reciprocal deg2rad rad2deg isnan isfinite isinf logical_not"
][0].split()

UNARY_UNIT = ["log", "log2", "log10", "log1p", "sqrt", "arcsin", "arccos", "arctanh"]

BINARY = [
    "add subtract multiply divide true_divide floor_divide remainder maximum minimum logaddexp hypot less "
    "less_equal greater greater_equal equal not_equal logical_and logical_or logical_xor vecdot"
][0].split()


@pytest.mark.parametrize("name", UNARY)
def test_unary_ufunc(name):
    agrees(getattr(np, name), A)


@pytest.mark.parametrize("name", UNARY_UNIT)
def test_unary_ufunc_on_unit_interval(name):
    agrees(getattr(np, name), P)


@pytest.mark.parametrize("name", [n for n in BINARY if hasattr(np, n)])
def test_binary_ufunc(name):
    agrees(getattr(np, name), A, B)


@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "less", "equal"]
)
def test_integer_ufunc(name):
    agrees(getattr(np, name), K, J)


@pytest.mark.parametrize(
    "name",
    [
        "expit",
        "log_expit",
        "logit",
        "gammaln",
        "psi",
        "digamma",
        "erf",
        "erfc",
        "ndtr",
        "ndtri",
        "log_ndtr",
        "entr",
    ],
)
def test_scipy_unary(name):
    agrees(getattr(sp, name), P, rtol=1e-9)


@pytest.mark.parametrize("name", ["xlogy", "xlog1py", "betaln"])
def test_scipy_binary(name):
    agrees(getattr(sp, name), P, P[::-1] + 0.05, rtol=1e-9)


def test_edges():
    x, y = np.array([0.0, 0.0, 1.0, 2.0]), np.array([0.0, 0.5, 0.0, 3.0])
    agrees(sp.xlogy, x, y)
    agrees(sp.xlog1py, x, y - 1)
    agrees(sp.entr, np.array([-1.0, 0.0, 0.5]))
    inf = np.array([np.inf, -np.inf, -np.inf, 1.0])
    agrees(np.logaddexp, inf, np.array([np.inf, -np.inf, 2.0, -np.inf]))
    odd = np.array([np.nan, np.inf, -np.inf, 1.0])
    agrees(np.isnan, odd)
    agrees(np.isfinite, odd)
    agrees(np.isinf, odd)


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2, 3, 4, -1, -2, 2.0, 1.7, -0.3])
def test_powers(exponent):
    agrees(lambda x: x**exponent, P)
    agrees(lambda x: np.power(x, exponent), P)


def test_power_of_values():
    agrees(lambda a, b: a**b, P, A)
    agrees(lambda b: 2.0**b, A)
    agrees(lambda i: i**2, K)


def test_every_ufunc_rule_names_a_ufunc():
    known = set(dir(np)) | set(dir(sp))
    assert {n for n in UFUNCS if n not in known} <= {"vecdot"}


CALLS = {
    "where": (lambda a, b: np.where(a > 0, a, b), A, B),
    "select": (lambda a: np.select([a > 1, a > 0], [a, 2 * a], -1.0), A),
    "clip": (lambda a: np.clip(a, -0.5, 0.5), A),
    "clip_one": (lambda a: np.clip(a, None, 0.5), A),
    "sum": (np.sum, A),
    "sum_axis": (lambda a: np.sum(a, axis=1, keepdims=True), A),
    "sum_axes": (lambda a: np.sum(a, axis=(0, 2)), T),
    "sum_int": (np.sum, K),
    "sum_bool": (lambda a: np.sum(a > 0, axis=-1), A),
    "mean": (lambda a: np.mean(a, axis=0), A),
    "max": (lambda a: np.max(a, axis=0), A),
    "amax": (np.amax, A),
    "min": (lambda a: np.min(a, axis=-1), A),
    "amin": (np.amin, K),
    "var": (lambda a: np.var(a, axis=0, ddof=1), A),
    "std": (np.std, A),
    "any": (lambda a: np.any(a > 1, axis=1), A),
    "all": (lambda a: np.all(a > -1, axis=0), A),
    "average": (lambda a: np.average(a, axis=1, weights=np.arange(4.0)), A),
    "argmax": (lambda a: np.argmax(a, axis=0), A),
    "argmax_flat": (np.argmax, A),
    "argmin": (lambda a: np.argmin(a, axis=1), A),
    "cumsum": (lambda a: np.cumsum(a, axis=0), A),
    "cumsum_flat": (np.cumsum, K),
    "diff": (np.diff, A),
    "norm": (np.linalg.norm, A),
    "norm_axis": (lambda a: np.linalg.norm(a, axis=1), A),
    "norm_1": (lambda b: np.linalg.norm(b, 1), B),
    "norm_inf": (lambda b: np.linalg.norm(b, np.inf), B),
    "concatenate": (lambda a, b: np.concatenate([a, b[None]], axis=0), A, B),
    "concatenate_flat": (lambda a, b: np.concatenate([a, b], axis=None), A, B),
    "concatenate_bool": (lambda a: np.concatenate([a > 0, a > 1]), A),
    "stack": (lambda a, p: np.stack([a, p], axis=1), A, P),
    "stack_last": (lambda a, p: np.stack([a, p, 2 * a], axis=-1), A, P),
    "stack_scalars": (lambda b: np.stack([b[0], b[1], 1.0]), B),
    "vstack": (lambda a, b: np.vstack([a, b]), A, B),
    "hstack": (lambda b: np.hstack([b, b]), B),
    "hstack2": (lambda a: np.hstack([a, a]), A),
    "split": (lambda b: np.split(b, 2), B),
    "split_at": (lambda a: np.split(a, [1, 3], axis=1), A),
    "array_split": (lambda a: np.array_split(a, 3, axis=1), A),
    "tile": (lambda a: np.tile(a, (2, 1, 2)), A),
    "repeat": (lambda a: np.repeat(a, 2, axis=1), A),
    "roll": (lambda a: np.roll(a, 1, axis=1), A),
    "roll_flat": (lambda a: np.roll(a, -2), A),
    "flip": (lambda a: np.flip(a, axis=1), A),
    "reshape": (lambda a: np.reshape(a, (2, -1)), A),
    "ravel": (np.ravel, A),
    "transpose": (np.transpose, T),
    "transpose_perm": (lambda t: np.transpose(t, (1, 0, 2)), T),
    "expand_dims": (lambda a: np.expand_dims(a, (0, -1)), A),
    "squeeze": (lambda a: np.squeeze(a[:, :1], axis=1), A),
    "moveaxis": (lambda t: np.moveaxis(t, 0, -1), T),
    "swapaxes": (lambda t: np.swapaxes(t, 0, -1), T),
    "broadcast_to": (lambda b: np.broadcast_to(b, (3, 4)), B),
    "take": (lambda a: np.take(a, [0, 2, 2], axis=1), A),
    "take_flat": (lambda a: np.take(a, 5), A),
    "diagonal": (np.diagonal, S),
    "diag": (np.diag, B),
    "diag_of": (np.diag, S),
    "trace": (np.trace, S),
    "tril": (lambda a: np.tril(a, -1), S),
    "triu": (np.triu, A),
    "dot": (np.dot, A, B),
    "dot_scalar": (lambda a: np.dot(a, 2.0), A),
    "vdot": (np.vdot, A, P),
    "inner": (np.inner, A, B),
    "outer": (np.outer, B, A),
    "tensordot": (lambda a, m: np.tensordot(a, m, 1), A, M),
    "tensordot_axes": (lambda a, t: np.tensordot(a, t, ([0], [1])), A, T),
    "matmul": (np.matmul, T, M),
    "zeros_like": (np.zeros_like, A),
    "ones_like": (np.ones_like, A),
    "full_like": (lambda a: np.full_like(a, 3.0), A),
    "copy": (np.copy, A),
    "add_reduce": (np.add.reduce, A),
    "maximum_reduce": (lambda a: np.maximum.reduce(a, axis=1), A),
    "add_accumulate": (np.add.accumulate, A),
    "multiply_outer": (np.multiply.outer, B, A),
}


@pytest.mark.parametrize("name", CALLS)
def test_function(name):
    function, *arrays = CALLS[name]
    agrees(function, *arrays)


def test_every_function_is_tested():
    said = (
        {n.split("_")[0] for n in CALLS} | set(CALLS) | {f.__name__ for f in LINALG_FUNCTIONS}
    )  # those by `test_linalg`
    shapes_only = {"shape", "ndim", "size", "einsum"}
    assert {f.__name__ for f in FUNCTIONS} - said <= shapes_only


@pytest.mark.parametrize(
    "subscripts",
    [
        "ij,j->i",
        "ij,jk->ik",
        "ij,jk",
        "ij,jk->ki",
        "ij,jk->",
        "ij,jk->j",
        "ij,jk->jik",
        "ij,lk->ik",
        "ij,jk->i",
    ],
)
def test_einsum(subscripts):
    b = B if subscripts == "ij,j->i" else (rng.normal(size=(2, 5)) if "lk" in subscripts else M)
    agrees(lambda x, y: np.einsum(subscripts, x, y), A, b)


def test_einsum_other_forms():
    agrees(lambda t: np.einsum("ijk->kj", t), T)
    agrees(lambda t, m: np.einsum("...j,jk->...k", t, m), T, M)
    agrees(lambda a, m, b: np.einsum("ij,jk,j->ik", a, m, b), A, M, B)
    agrees(lambda a, b: np.einsum("i,j->ij", a, b), B, B)
    with pytest.raises(ShapeError, match="repeat a label"):
        run(lambda s: np.einsum("ii->i", s), S)
    with pytest.raises(ShapeError, match="do not fit event shape"):
        run(lambda s: np.einsum("ijk->i", s), S)


def test_matmul_shapes():
    agrees(lambda a, m: a @ m, A, M)
    agrees(lambda b, m: b @ m, B, M)
    agrees(lambda a, b: a @ b, A, B)
    agrees(lambda b: b @ b, B)
    agrees(lambda t, u: t @ u, T, rng.normal(size=(2, 4, 2)))
    agrees(lambda m: A @ m, M)
    agrees(lambda a: a @ M, A)
    with pytest.raises(ShapeError, match=r"\(3, 4\) and \(3, 4\).*\n  at test_numpy.py:\d+"):
        run(lambda a: a @ a, A)


def test_operators_with_arrays_and_numbers():
    agrees(lambda a: 1.0 - a / 2 + np.ones((3, 1)) * a, A)
    agrees(lambda a: np.arange(4) * a - a * np.arange(4.0), A)
    agrees(lambda a: np.float64(2.0) * a + np.float32(1.0), A)
    agrees(lambda a: [1.0, 2.0, 3.0, 4.0] * a, A)
    agrees(lambda i: i // 2 + i % 3 - 7 // (i * i + 1), K)
    agrees(lambda a: abs(-a) + (+a), A)
    agrees(lambda a: ((a > 0) & (a < 1)) | ~(a >= -1), A)
    agrees(lambda a: (a > 0) ^ (a != 1), A)
    agrees(lambda a: 0.5 < a, A)  # noqa: SIM300
    agrees(lambda a: np.float64(0.5) >= a, A)
    agrees(lambda a: sum([a, a]), A)


def test_methods():
    agrees(lambda a: a.T, A)
    agrees(lambda a: a.sum(0) + a.mean(axis=0) - a.max(0) * a.min(0), A)
    agrees(lambda a: a.var(0) + a.std(1, keepdims=True).sum(), A)
    agrees(lambda a: a.reshape(2, 6), A)
    agrees(lambda a: a.reshape((4, -1)).ravel(), A)
    agrees(lambda t: t.transpose(2, 0, 1), T)
    agrees(lambda a: a.clip(0, 1), A)
    agrees(lambda a: (a * 3).astype(int), np.abs(A))
    agrees(lambda a: a.argmax(1), A)
    agrees(lambda a: a.dot(M), A)
    agrees(lambda a: a[:, :1].squeeze(), A)
    agrees(lambda a: (a > 0).any(0), A)
    agrees(lambda a: list(a), A)


def test_shape_attributes():
    value = ppl.constant(T)
    assert (value.shape, value.ndim, value.size, len(value)) == ((2, 3, 4), 3, 24, 2)
    assert np.shape(value) == (2, 3, 4) and np.ndim(value) == 3 and np.size(value) == 24
    assert value.dtype == "float" and ppl.constant(K).dtype == "int" and (value > 0).dtype == "bool"


def test_functional_on_arrays_and_values():
    for f in (ppl.softmax, ppl.log_softmax, ppl.sigmoid, ppl.log_sigmoid, ppl.softplus, ppl.relu):
        agrees(f, A)
    agrees(lambda a: ppl.softmax(a, axis=0), A)
    agrees(ppl.logsumexp, A)
    agrees(lambda a: ppl.logsumexp(a, axis=1, keepdims=True), A)
    agrees(lambda j: ppl.one_hot(j, 5), J)


def test_shape_errors_name_function_and_line():
    with pytest.raises(ShapeError, match=r"np.add: .*\(3, 4\), \(5,\).*\n  at test_numpy.py:\d+: run"):
        run(lambda a: np.add(a, np.ones(5)), A)
    with pytest.raises(ShapeError, match=r"sum: axis 3 .*\(3, 4\)"):
        run(lambda a: a.sum(3), A)
    with pytest.raises(ShapeError, match=r"np.stack: event shapes \(3, 4\), \(4,\)"):
        run(lambda a, b: np.stack([a, b]), A, B)
    with pytest.raises(ShapeError, match="cannot reshape"):
        run(lambda a: a.reshape(5, -1), A)


def test_unsupported_functions_say_so():
    with pytest.raises(ModelError, match=r"np.prod has no rule.*np.exp\(np.sum\(np.log"):
        run(np.prod, A)
    with pytest.raises(ModelError, match=r"np.cbrt has no rule"):
        run(np.cbrt, A)
    with pytest.raises(ModelError, match=r"np.arctan2 has no rule.*np.arctan"):
        run(lambda a: np.arctan2(a, a), A)
    with pytest.raises(
        ModelError, match=r"np.linalg.pinv has no rule .*: np.linalg.inv, np.invert, scipy.special.erfinv"
    ):
        run(np.linalg.pinv, S)
    with pytest.raises(ModelError, match=r"np.multiply.reduce has no rule"):
        run(np.multiply.reduce, A)
    with pytest.raises(ModelError, match=r"np.sum: dtype= cannot be used"):
        run(lambda a: np.sum(a, dtype=np.float32), A)
    with pytest.raises(ModelError, match="drop out="):
        run(lambda a: np.add(a, a, out=np.zeros((3, 4))), A)
    with pytest.raises(ModelError, match="softmax"):
        run(sp.softmax, A)
