"""Products with data that is mostly zeros: equal to NumPy on either path, on both sides of the threshold."""

import numpy as np
import pytest

from ppl.kernels.cpu.data_checks import count_in_range
from ppl.kernels.cpu.products.sparse_algorithms import BINARY, DENSE, FEW, _sparsity_of
from ppl.kernels.generated.f32.cpu.sparse import data_gemm_f32
from ppl.kernels.generated.f64.cpu.sparse import data_gemm_f64
from ppl.tuning import ZEROS_PER_ROW


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("density", [0.0, 0.1, 1 / ZEROS_PER_ROW, 0.6, 1.0])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_data_gemm_is_the_product(dtype, binary, density, transposed, beta):
    rng = np.random.default_rng(0)
    gemm = data_gemm_f32 if dtype is np.float32 else data_gemm_f64
    for rows, columns, n, second in ((13, 37, 21, False), (70, 133, 151, False), (70, 133, 181, True)):
        data = rng.random((rows, columns)) < density
        data = (data if binary else data * rng.normal(size=data.shape)).astype(dtype)
        left = data.T if transposed else data
        right = rng.normal(size=(left.shape[1], n)).astype(dtype)
        out = rng.normal(size=(left.shape[0], n)).astype(dtype)
        want = left.astype(float) @ right + beta * out
        size = np.abs(left.astype(float)) @ np.abs(right) + np.abs(out)
        flat, b, ldb = out.reshape(-1), right.T.copy() if second else right, left.shape[1] if second else n
        gemm(transposed, second, left.shape[0], n, left.shape[1], 1.0, data.reshape(-1), columns, b.reshape(-1), ldb,
             beta, flat, n)  # fmt: skip
        assert (np.abs(flat.reshape(want.shape) - want) <= 4 * np.finfo(dtype).eps * size).all()


def test_bits_decide_the_path():
    bits = np.zeros((20, 64), np.float32)
    bits[:, ::8] = 1
    few, half, real = bits.copy(), bits.copy(), bits.copy()
    half[:, ::2] = 1
    real[3, ::2] = 0.5
    found = [_sparsity_of(x.reshape(-1), 20, 64, 64) for x in (few, half, real, real + 1)]
    assert found == [(FEW, True), (BINARY, True), (FEW, False), (DENSE, False)]


def test_zeros_select_nothing_of_what_is_not_finite():
    """Rows of the second operand that are not selected may be NaN or infinite, on both paths."""
    for density in (0.1, 0.5):
        data = (np.random.default_rng(0).random((40, 64)) < density).astype(np.float32)
        data[:, 7] = 0
        right = np.ones((64, 40), np.float32)
        right[7] = np.nan
        out = np.empty(1600, np.float32)
        data_gemm_f32(False, False, 40, 40, 64, 1.0, data.reshape(-1), 64, right.reshape(-1), 40, 0.0, out, 40)
        np.testing.assert_array_equal(out.reshape(40, 40), np.repeat(data.sum(1), 40).reshape(40, 40))


def test_nan_in_sparse_data_is_not_lost():
    data, right, out = np.zeros(8, np.float32), np.ones(4, np.float32), np.zeros(2, np.float32)
    data[5] = np.nan
    data_gemm_f32(False, False, 2, 1, 4, 1.0, data, 4, right, 1, 0.0, out, 1)
    assert out[0] == 0 and np.isnan(out[1])


def test_count_inside_leaves_nan_out():
    x = np.array([0.0, 1.0, 0.5, np.nan, 2.0, -0.1, np.inf], np.float32)
    assert count_in_range(x, np.float32(0), np.float32(1)) == 3
    assert count_in_range(x, np.float32(-np.inf), np.float32(np.inf)) == 6
