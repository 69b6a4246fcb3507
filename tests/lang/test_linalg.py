"""`np.linalg` and triangular systems on values: beside NumPy and SciPy, with exact first and second derivatives."""

import mpmath
import numpy as np
import pytest
from scipy import linalg

import ppl
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from tests.lang.helpers import agrees, run

rng = np.random.default_rng(3)

SQUARE, BATCH = rng.normal(size=(4, 4)), rng.normal(size=(2, 1, 3, 3))

DEFINITE = SQUARE @ SQUARE.T + np.eye(4)

VECTOR, COLUMNS, MANY = rng.normal(size=4), rng.normal(size=(4, 2)), rng.normal(size=(5, 3, 2))

SMALL = {d: rng.normal(size=(2, d, d)) for d in (1, 2, 3, 4)}

CASES = {
    "cholesky": (np.linalg.cholesky, DEFINITE),
    "cholesky upper": (lambda a: np.linalg.cholesky(a, upper=True), DEFINITE),
    "cholesky batch": (np.linalg.cholesky, BATCH @ BATCH.swapaxes(-1, -2) + np.eye(3)),
    "solve vector": (np.linalg.solve, SQUARE, VECTOR),
    "solve columns": (np.linalg.solve, SQUARE, COLUMNS),
    "solve batches": (np.linalg.solve, BATCH, MANY),
    "solve one vector": (lambda a: np.linalg.solve(a, np.arange(3.0)), BATCH),
    "solve one matrix": (lambda b: np.linalg.solve(BATCH[0, 0], b), MANY),
    "inv": (np.linalg.inv, BATCH),
    "slogdet": (np.linalg.slogdet, BATCH),
    **{f"det {d}": (np.linalg.det, x) for d, x in SMALL.items()},
    **{f"inv {d}": (np.linalg.inv, x) for d, x in SMALL.items()},
    "by name": (lambda a: np.linalg.slogdet(a).sign * np.linalg.slogdet(a).logabsdet, BATCH),
}


@pytest.mark.parametrize("name", CASES)
def test_numpy(name):
    agrees(CASES[name][0], *CASES[name][1:])


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("trans", [True, False])
@pytest.mark.parametrize("b", [VECTOR, COLUMNS])
def test_triangular_systems(lower, trans, b):
    spoiled = np.where(np.tri(4, dtype=bool) if lower else np.tri(4, dtype=bool).T, SQUARE, np.nan)
    wanted = linalg.solve_triangular(SQUARE, b, lower=lower, trans=int(trans))
    found = run(lambda a, b: ppl.solve_triangular(a, b, lower=lower, trans=trans), spoiled, b)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    array = ppl.solve_triangular(spoiled, b, lower=lower, trans=trans)
    np.testing.assert_array_equal(array, found)
    single = ppl.solve_triangular(spoiled.astype(np.float32), b.astype(np.float32), lower=lower, trans=trans)
    assert array.dtype == np.float64 and single.dtype == np.float32


def test_singular_matrices_are_no_numbers():
    matrix = np.stack([np.eye(4), np.diag([1.0, 0.0, 2.0, 3.0])])
    for function in (np.linalg.inv, lambda a: np.linalg.solve(a, np.ones(4)), np.linalg.cholesky):
        found = run(function, matrix)
        assert np.isfinite(found[0]).all() and not np.isfinite(found[1]).all()
    sign, size = run(np.linalg.slogdet, matrix)
    np.testing.assert_array_equal(sign, [1.0, 0.0])
    np.testing.assert_array_equal(size, [0.0, -np.inf])
    np.testing.assert_array_equal(run(np.linalg.det, matrix), [1.0, 0.0])


def test_a_small_determinant_has_a_gradient_at_singular_matrices():
    """The cofactors of [[1, 2, 3], [4, 5, 6], [7, 8, 9]]."""
    leaf = make("param", name="x", shape=(3, 3))
    (slope,) = gradient(ops.det(leaf), [leaf])
    found = evaluate([slope], Env({"x": np.arange(1.0, 10.0).reshape(3, 3)}, dtype=np.float64))[0]
    np.testing.assert_allclose(found, [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]], rtol=1e-12)


REFUSED = {
    "a vector": (lambda a: np.linalg.inv(a[0]), r"np.linalg.inv: it takes square matrices .* not event shape \(4,\)"),
    "not square": (lambda a: np.linalg.cholesky(a[:3]), r"square matrices"),
    "empty": (lambda a: np.linalg.det(a[:0, :0]), r"square matrices"),
    "right side": (
        lambda a: np.linalg.solve(a, np.ones(3)),
        r"np.linalg.solve: event shapes \(4, 4\) and \(3,\) do not",
    ),
    "no right side": (lambda a: np.linalg.solve(a, 1.0), r"do not fit"),
    "batches": (lambda a: np.linalg.solve(np.stack([a, a]), np.ones((3, 4, 1))), r"batches .* do not broadcast"),
    "upper": (lambda a: np.linalg.cholesky(a, upper=1), "upper must be True or False"),
    "triangle": (lambda a: ppl.solve_triangular(a, a[0, :3]), "do not fit"),
    "flag": (lambda a: ppl.solve_triangular(a, a, lower="yes"), "solve_triangular: lower must be True or False"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    function, message = REFUSED[name]
    with pytest.raises((ShapeError, ModelError), match=message):
        run(function, SQUARE)


def log_density(x, y):
    """The logarithm of a normal density with covariance K = x x^T + I, and other functions of K, as values."""
    k = x @ x.T + np.eye(x.shape[0])
    low = np.linalg.cholesky(k)
    z = ppl.solve_triangular(low, y)
    total = -0.5 * (z * z).sum() - np.log(np.diagonal(low)).sum()
    sign, size = np.linalg.slogdet(k - 3.0 * np.eye(x.shape[0]))
    return total + sign * size + np.sin(np.linalg.solve(x, y)).sum() + np.trace(np.linalg.inv(k)) + np.linalg.det(x)


def precise(x, y):
    """The same in 50 digits."""
    x, y = mpmath.matrix(x), mpmath.matrix(y)
    n = x.rows
    k = x * x.T + mpmath.eye(n)
    quadratic = (y.T * mpmath.inverse(k) * y)[0]
    det = mpmath.det(k - 3 * mpmath.eye(n))
    total = -quadratic / 2 - mpmath.log(mpmath.det(k)) / 2 + mpmath.sign(det) * mpmath.log(abs(det))
    inverse = mpmath.inverse(k)
    solved = mpmath.lu_solve(x, y)
    return total + sum(map(mpmath.sin, solved)) + sum(inverse[i, i] for i in range(n)) + mpmath.det(x)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 2e-3)])
@pytest.mark.parametrize("d", [1, 3, pytest.param(5, marks=pytest.mark.slow)])
def test_derivatives_of_first_and_second_order(d, dtype, tolerance):
    """A compiled loss, its gradient and a Hessian's product, beside differences in 50 digits."""
    own = np.random.default_rng(d)
    x, y, v = (
        own.normal(size=s) + 1.5 * np.eye(*s) if len(s) == 2 else own.normal(size=s) for s in ((d, d), (d,), (d, d))
    )

    @ppl.model
    def model():
        ppl.cost("loss", log_density(ppl.param("x", x), y))

    program = ppl.compile(model, dtype=dtype)
    state = program.init(0)
    loss, grads, *_ = program.step(state)
    curved = program.hvp(state, {"x": v})["x"]
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -15

        def moved(*directions):
            at = mpmath.matrix(x)
            for scale, direction in directions:
                at += scale * mpmath.matrix(direction)
            return precise(at.tolist(), y)

        def unit(i, j):
            out = np.zeros((d, d))
            out[i, j] = 1.0
            return out

        def second(i, j):
            e = unit(i, j)
            ends = [a * b * moved((a * h, e), (b * h, v)) for a in (1, -1) for b in (1, -1)]
            return float(sum(ends) / (4 * h * h))

        wanted = float(precise(x, y))
        first = [
            [float((moved((h, unit(i, j))) - moved((-h, unit(i, j)))) / (2 * h)) for j in range(d)] for i in range(d)
        ]
        twice = [[second(i, j) for j in range(d)] for i in range(d)]
    for found, exact in ((loss, wanted), (grads["x"], np.array(first)), (curved, np.array(twice))):
        np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
