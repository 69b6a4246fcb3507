"""Matrix products on flat arrays, and the guard that keeps the BLAS on one thread."""

import itertools
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from ppl.kernels.cpu.products import blas
from ppl.kernels.decorators import jit

GEMM = {np.float32: blas.gemm_f32, np.float64: blas.gemm_f64}

needs_control = pytest.mark.skipif(not blas.has_thread_control, reason="SciPy's BLAS is not a known OpenBLAS")


@pytest.fixture
def four_threads():
    """Start from four BLAS threads, so that a count of one is not the default."""
    before = blas.get_threads()
    blas.set_threads(4)
    yield
    blas.set_threads(before)


@pytest.mark.parametrize("dtype", GEMM)
@pytest.mark.parametrize(("ta", "tb"), [*itertools.product([False, True], repeat=2)])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (5, 7, 3), (33, 20, 41), (4, 1, 6), (3, 4, 0)])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 1.0), (-0.5, 2.0)])
def test_gemm(dtype, ta, tb, m, n, k, alpha, beta):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(k, m + 2) if ta else (m, k + 2)).astype(dtype)
    b = rng.normal(size=(n, k + 1) if tb else (k, n + 1)).astype(dtype)
    c = rng.normal(size=(m, n + 3)).astype(dtype)
    want = c.astype(np.float64)
    left = a[:, :m].T if ta else a[:, :k]
    right = b[:, :k].T if tb else b[:, :n]
    want[:, :n] = alpha * (left.astype(np.float64) @ right) + beta * want[:, :n]
    GEMM[dtype](ta, tb, m, n, k, alpha, a.ravel(), a.shape[1], b.ravel(), b.shape[1], beta, c.ravel(), c.shape[1])
    # rounding of a sum of k products of normals
    np.testing.assert_allclose(c, want, rtol=0, atol=20 * np.finfo(dtype).eps * (k + 1))


@pytest.mark.parametrize("dtype", GEMM)
def test_gemm_ignores_nan_when_beta_is_zero_and_takes_offsets(dtype):
    a = np.arange(10, dtype=dtype)
    c = np.full(6, np.nan, dtype)
    GEMM[dtype](False, False, 2, 2, 2, 1, a[1:], 2, a[2:], 2, 0, c[1:], 2)
    want = a[1:5].reshape(2, 2) @ a[2:6].reshape(2, 2)
    np.testing.assert_array_equal(c[1:5].reshape(2, 2), want)
    assert np.isnan(c[0]) and np.isnan(c[5])


@needs_control
def test_guard_nests(four_threads):
    blas.enter_single()
    blas.enter_single()
    assert blas.get_threads() == 1
    blas.leave_single()
    assert blas.get_threads() == 1
    blas.leave_single()
    assert blas.get_threads() == 4
    blas.leave_single()  # one too many changes nothing
    assert blas.get_threads() == 4


@jit
def _use_guard(times):
    wrong = 0
    for _ in range(times):
        blas.enter_single()
        wrong += blas.get_threads() != 1
        blas.leave_single()
    return wrong


@needs_control
def test_guard_under_contention(four_threads):
    _use_guard(1)
    wrong = []
    threads = [threading.Thread(target=lambda: wrong.append(_use_guard(20000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0] * 4
    assert blas.get_threads() == 4


def test_without_a_known_blas(tmp_path):
    """Where the library is not found, the guard does nothing and products still work."""
    script = tmp_path / "unknown.py"
    script.write_text(
        textwrap.dedent(
            """
            import glob
            glob.glob = lambda pattern: []
            import numpy as np
            from ppl.kernels.cpu.products import blas
            assert not blas.has_thread_control
            blas.enter_single(); blas.set_threads(3)
            assert blas.get_threads() == 1
            c = np.zeros(1)
            blas.gemm_f64(False, False, 1, 1, 2, 1, np.ones(2), 2, np.ones(2), 1, 0, c, 1)
            blas.leave_single()
            assert c[0] == 2
            """
        )
    )
    subprocess.run([sys.executable, script], check=True, timeout=600)


@needs_control
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_guard_after_fork(tmp_path):
    script = tmp_path / "forking.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            from ppl.kernels.cpu.threads import thread_count
            from ppl.kernels.cpu.products import blas
            blas.set_threads(3)
            blas.enter_single()
            child = os.fork()
            if child == 0:
                state = (blas.get_threads(), thread_count.num_threads())
                blas.enter_single(); blas.leave_single()
                os._exit(0 if state == (3, 1) and blas.get_threads() == 3 else 1)
            blas.leave_single()
            raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """
        )
    )
    subprocess.run([sys.executable, script], check=True, timeout=600)
