"""Factors and systems of matrices of all sizes around the block, beside LAPACK's by way of SciPy."""

import numpy as np
import pytest
from scipy import linalg

from ppl.kernels.generated.f32.cpu import matrices as single
from ppl.kernels.generated.f64.cpu import matrices as double
from ppl.tuning import MATRIX_BLOCK

SIZES = (1, 2, 3, 17, MATRIX_BLOCK, MATRIX_BLOCK + 1, 2 * MATRIX_BLOCK + 13)

KINDS = {
    np.float32: (single.cholesky_f32, single.solve_lower_f32, single.lu_f32, single.lu_solve_f32),
    np.float64: (double.cholesky_f64, double.solve_lower_f64, double.lu_f64, double.lu_solve_f64),
}


def squares(d, count, kind, seed=0):
    """Well-conditioned matrices without a diagonal that dominates: rotations, stretched up to 4 times."""
    rng = np.random.default_rng(seed)
    turned = [linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2 * count)]
    return np.stack([(a * rng.uniform(0.5, 2.0, d)) @ b for a, b in zip(turned[::2], turned[1::2], strict=True)])


def near(found, exact, kind, d):
    """Within 100 roundings times the root of the dimension, of the largest entry."""
    bound = 100 * np.finfo(kind).eps * np.sqrt(d) * np.abs(exact).max()
    np.testing.assert_allclose(found.reshape(exact.shape), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", SIZES)
def test_factors_and_triangular_systems(d, kind):
    cholesky, solve_lower, _, _ = KINDS[kind]
    x = squares(d, 2, kind)
    x = x @ x.swapaxes(-1, -2)
    spoiled = np.where(np.tri(d, dtype=bool), x, np.nan).astype(kind)
    out = np.full(2 * d * d, np.nan, kind)
    cholesky(spoiled.ravel(), out, 2, d)
    exact = np.stack([linalg.cholesky(m, lower=True) for m in x])
    near(out, exact, kind, d)
    for k in (1, 5):
        b = np.random.default_rng(1).normal(size=(2, k, d))
        for back in (0, 1):
            y = np.empty(b.size, kind)
            solve_lower(np.where(np.tri(d, dtype=bool), exact, np.nan).astype(kind).ravel(),
                        b.astype(kind).ravel(), y, 2, k, d, back)  # fmt: skip
            wanted = [linalg.solve_triangular(m, v.T, lower=True, trans=back).T for m, v in zip(exact, b, strict=True)]
            near(y, np.stack(wanted), kind, d)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", SIZES)
def test_general_systems_and_determinants(d, kind):
    _, _, lu, lu_solve = KINDS[kind]
    x, size = squares(d, 3, kind), d * d + d + 2
    out = np.full(3 * size, np.nan, kind)
    lu(x.astype(kind).ravel(), out, 3, d)
    signs, logs = np.linalg.slogdet(x)
    np.testing.assert_array_equal(out.reshape(3, size)[:, -2], signs)
    np.testing.assert_allclose(out.reshape(3, size)[:, -1], signs * np.exp(logs), rtol=100 * d * np.finfo(kind).eps)
    for k in (1, 5):
        b = np.random.default_rng(1).normal(size=(3, k, d))
        for back in (0, 1):
            y = np.empty(b.size, kind)
            lu_solve(out, b.astype(kind).ravel(), y, 3, k, d, back)
            wanted = [linalg.solve(m.T if back else m, v.T).T for m, v in zip(x, b, strict=True)]
            near(y, np.stack(wanted), kind, d)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", (1, 3, MATRIX_BLOCK + 1))
@pytest.mark.parametrize("value", (0.0, -1e-3, np.nan))
def test_no_number_of_a_factor_that_does_not_exist(d, kind, value):
    x = np.stack([np.eye(d)] * 3)
    x[1, -1, -1] = value
    out = np.empty(x.size, kind)
    KINDS[kind][0](x.astype(kind).ravel(), out, 3, d)
    out = out.reshape(x.shape)
    assert np.isnan(out[1][np.tri(d, dtype=bool)]).all()
    np.testing.assert_array_equal(out[[0, 2]], x[[0, 2]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", (1, 3, MATRIX_BLOCK + 1))
def test_singular_matrices_and_nan(d, kind):
    _, _, lu, lu_solve = KINDS[kind]
    x, size = np.stack([np.eye(d)] * 3), d * d + d + 2
    x[0, -1, -1], x[1, 0, 0] = 0.0, np.nan
    out, y = np.empty(3 * size, kind), np.empty(3 * d, kind)
    lu(x.astype(kind).ravel(), out, 3, d)
    ends = out.reshape(3, size)[:, -2:]
    np.testing.assert_array_equal(ends, [[0.0, 0.0], [np.nan, np.nan], [1.0, 1.0]])
    for back in (0, 1):
        lu_solve(out, np.ones(3 * d, kind), y, 3, 1, d, back)
        assert np.isnan(y[:d]).all() and np.isnan(y[d]) and (y[2 * d :] == 1).all()
