"""Products with data that is mostly zeros: equal to NumPy on either path, on both sides of the threshold."""

import numpy as np
import pytest

from ppl.kernels.cpu.checks import count_inside
from ppl.kernels.cpu.sparse import SPARSE, data_gemm_f32, data_gemm_f64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.0, 0.1, 1 / SPARSE, 0.6, 1.0])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_data_gemm_is_the_product(dtype, density, transposed, beta):
    rng = np.random.default_rng(0)
    rows, columns, n = 13, 37, 21
    data = (rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < density)).astype(dtype)
    left = data.T if transposed else data
    right = rng.normal(size=(left.shape[1], n)).astype(dtype)
    out = rng.normal(size=(left.shape[0], n)).astype(dtype)
    want = left.astype(float) @ right + beta * out
    gemm = data_gemm_f32 if dtype is np.float32 else data_gemm_f64
    flat = out.reshape(-1)
    gemm(transposed, False, *left.shape[:1], n, left.shape[1], 1.0, data.reshape(-1), columns, right.reshape(-1), n,
         beta, flat, n)  # fmt: skip
    np.testing.assert_allclose(flat.reshape(want.shape), want, atol=40 * np.finfo(dtype).eps)


def test_nan_in_sparse_data_is_not_lost():
    data, right, out = np.zeros(8, np.float32), np.ones(4, np.float32), np.zeros(2, np.float32)
    data[5] = np.nan
    data_gemm_f32(False, False, 2, 1, 4, 1.0, data, 4, right, 1, 0.0, out, 1)
    assert out[0] == 0 and np.isnan(out[1])


def test_count_inside_leaves_nan_out():
    x = np.array([0.0, 1.0, 0.5, np.nan, 2.0, -0.1, np.inf], np.float32)
    assert count_inside(x, np.float32(0), np.float32(1)) == 3
    assert count_inside(x, np.float32(-np.inf), np.float32(np.inf)) == 6
