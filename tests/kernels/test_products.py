"""Tiles of float32 products against NumPy in float64, on this machine's vectors and on those of others."""

import itertools
import os
import platform
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest

from ppl.kernels.cpu.products import blas, tiled
from ppl.kernels.decorators import jit

F = np.float32

own = pytest.mark.skipif(tiled.LANES == 0, reason="BLAS does it all on this machine")

FORMS = [(False, False), (True, False), (False, True)]

SLABS = [(50, 784, 400), (50, 400, 784), (25, 256, 200)]


@jit
def _gemm(ta, tb, m, n, k, alpha, a, a0, lda, b, b0, ldb, beta, c, c0, ldc):
    blas.gemm_f32(ta, tb, m, n, k, alpha, a[a0:], lda, b[b0:], ldb, beta, c[c0:], ldc)


def _matrix(rng, rows, columns, pad, offset):
    """A matrix in a flat array: the array, where it begins, the distance of its rows, and itself."""
    flat = rng.normal(size=offset + rows * (columns + pad)).astype(F)
    return flat, offset, columns + pad, flat[offset:].reshape(rows, columns + pad)[:, :columns]


def check(ta, tb, m, n, k, alpha=1.0, beta=0.0, pads=(0, 0, 0), offsets=(0, 0, 0)):
    """Every entry within the rounding errors of a sum of k products, and nothing else written."""
    rng = np.random.default_rng(m + n + k)
    a, a0, lda, left = _matrix(rng, *((k, m) if ta else (m, k)), pads[0], offsets[0])
    b, b0, ldb, right = _matrix(rng, *((n, k) if tb else (k, n)), pads[1], offsets[1])
    c, c0, ldc, out = _matrix(rng, m, n, pads[2], offsets[2])
    if beta == 0:
        out[...] = np.nan
    left, right = (x.T if t else x for x, t in ((left, ta), (right, tb)))
    left, right, old, before = left.astype(float), right.astype(float), np.nan_to_num(out.astype(float)), c.copy()
    _gemm(ta, tb, m, n, k, F(alpha), a, a0, lda, b, b0, ldb, F(beta), c, c0, ldc)
    bound = (k + 3) * np.finfo(F).eps / 2 * (abs(alpha) * np.abs(left) @ np.abs(right) + abs(beta * old))
    assert np.all(np.abs(out - (alpha * left @ right + beta * old)) <= bound)
    out[...] = 0
    before[c0:].reshape(m, ldc)[:, :n] = 0
    np.testing.assert_array_equal(c, before)


def taken(ta, tb, m, n, k):
    """Whether a product is not left to BLAS."""
    a, b, c = (np.zeros(size, F) for size in (m * k, k * n, m * n))
    return tiled.try_multiply(ta, tb, m, n, k, F(1), a, m if ta else k, b, k if tb else n, F(0), c, n)


@own
@pytest.mark.parametrize(("ta", "tb"), FORMS)
@pytest.mark.parametrize(("m", "n", "k"), SLABS)
def test_slabs_of_rows_are_done_here(ta, tb, m, n, k):
    m, n, k = (n, k, m) if ta else (m, n, k)
    if tiled.LANES == 16 or not ta:
        assert taken(ta, tb, m, n, k)
    check(ta, tb, m, n, k, beta=1.0)


@pytest.mark.parametrize(("ta", "tb"), FORMS)
@pytest.mark.parametrize("m", [5, 6, 21, 33])
@pytest.mark.parametrize(("n", "k"), [(33, 96), (49, 1), (64, 97), (97, 111), (203, 513), (207, 127)])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 1.0), (-0.5, 2.0)])
def test_odd_sizes(ta, tb, m, n, k, alpha, beta):
    check(ta, tb, m, n, k, alpha, beta, pads=(3, 1, 2), offsets=(1, 5, 7))


@pytest.mark.parametrize(("ta", "tb"), [*FORMS, (True, True)])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_sizes_that_no_tile_fits(ta, tb, beta):
    for m, n, k in itertools.product((1, 4, 7, 13), (1, 3, 16, 17, 70), (1, 15, 96)):
        check(ta, tb, m, n, k, beta=beta, pads=(1, 1, 1))


@pytest.mark.parametrize(("ta", "tb"), FORMS)
def test_empty(ta, tb):
    c = np.arange(1500, dtype=F)
    some = np.ones(6000, F)
    for m, n, k in ((0, 50, 100), (30, 0, 100)):
        _gemm(ta, tb, m, n, k, F(1), some, 0, max(m if ta else k, 1), some, 0, max(k if tb else n, 1), F(0), c, 0, 50)
        np.testing.assert_array_equal(c, np.arange(1500))
    for beta in (0.5, 0.0):
        want = beta * c
        _gemm(ta, tb, 30, 50, 0, F(1), some, 0, 30, some, 0, 50, F(beta), c, 0, 50)
        np.testing.assert_array_equal(c, want)


@pytest.mark.parametrize(("ta", "tb"), FORMS)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_what_is_not_finite_goes_where_it_belongs(ta, tb, beta):
    m, n, k = 21, 83, 103
    rng = np.random.default_rng(3)
    left, right = np.abs(rng.normal(size=(m, k))).astype(F) + 1, np.abs(rng.normal(size=(k, n))).astype(F) + 1
    left[3, 0], left[4, k - 1], left[20, 50] = np.inf, np.nan, -np.inf
    right[k - 2, n - 1], right[90, 82], right[1, 79], right[88, 0] = np.inf, 1.0, np.nan, np.inf
    right[50, 7] = 0.0
    out = np.ones((m, n), F)
    with np.errstate(invalid="ignore"):
        want = (left.astype(float) @ right.astype(float) + beta).astype(F)
    a, b = (np.ascontiguousarray(x.T if t else x) for x, t in ((left, ta), (right, tb)))
    _gemm(ta, tb, m, n, k, F(1), a.ravel(), 0, a.shape[1], b.ravel(), 0, b.shape[1], F(beta), out.ravel(), 0, n)
    np.testing.assert_allclose(out, want, rtol=1e-5)
    assert np.isnan(out[20, 7]) and np.isinf(out[0, n - 1]) and np.isinf(out[3, 1])


@pytest.mark.skipif(tiled.LANES != 16, reason="other tiles")
@pytest.mark.parametrize(("kernel", "sums"), [(tiled._outer, {24, 20, 18, 15}), (tiled._dots, {24, 20})])
def test_sums_stay_in_registers(kernel, sums):
    """Each tile has a loop of as many multiply-adds as it has sums, not unrolled and without the stack."""
    compiled = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(kernel.py_func)
    compiled.compile(kernel.arguments)
    found = set()
    for block in re.split(r"\n(?=\.LBB)", compiled.inspect_asm(kernel.arguments)):
        name = block.split(":")[0]
        loop = re.match(rf"(?s).*\tj\w+\t{re.escape(name)}\b", block)
        if loop and (count := loop[0].count("vfmadd")):
            assert "%rsp" not in loop[0]
            found.add(count)
    assert found == sums


def test_large_products_are_left_to_blas():
    assert not taken(False, True, 1000, 1000, 1000)
    assert not taken(True, False, 2000, 2000, 50)


AVX2 = "+64bit,+cmov,+cx8,+fxsr,+mmx,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+xsave"


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="names of other processors")
@pytest.mark.parametrize(("name", "features", "lanes"), [("haswell", AVX2, 8), ("generic", "", 0)])
def test_on_other_machines(tmp_path, name, features, lanes):
    if lanes and not tiled.LANES:
        pytest.skip("this machine cannot run it")
    script = tmp_path / "other.py"
    script.write_text(
        textwrap.dedent(
            f"""
            from ppl.kernels.cpu.products import tiled
            from tests.kernels.test_products import FORMS, check
            assert tiled.LANES == {lanes}
            for ta, tb in FORMS:
                for m, n, k in ((5, 8, 96), (6, 9, 97), (21, 83, 103), (33, 97, 520)):
                    for beta in (0.0, 1.0):
                        check(ta, tb, m, n, k, -0.5, beta, (3, 1, 2), (1, 5, 7))
            """
        )
    )
    settings = {
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    subprocess.run([sys.executable, script], check=True, timeout=900, env={**os.environ, **settings})
