"""Kernels that callers reach by symbol."""

import importlib
import pickle

import numba
import numpy as np
import pytest

from ppl.kernels.code_cache import machine_code
from ppl.kernels.cpu.products import blas
from ppl.kernels.decorators import SharedKernel, jit, shared
from ppl.kernels.dispatchers import reachable_functions
from ppl.kernels.scalar.names import MODULES

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="inspects compiled code")


@shared("float64(float64[::1],int64)")
def entry_of(x, i):
    """Entry i, which must not be negative."""
    if i < 0:
        raise ValueError("negative")
    return x[i]


@jit
def twice(x, i):
    """Twice an entry."""
    return 2.0 * entry_of(x, i)


def test_callers_contain_the_name_alone():
    x, fresh = np.arange(4.0), numba.njit(twice.py_func)  # Numba shows no code that it read from its cache
    assert fresh(x, 3) == twice(x, 3) == 6.0 and twice(x, np.int32(2)) == 4.0
    (code,) = fresh.inspect_llvm().values()
    assert f"declare i32 @{entry_of.symbol}(" in code and code.count(f"@{entry_of.symbol}") == 2


@jit
def _by_module(a, b, out, n):
    blas.gemm_f64(False, False, n, n, n, 1.0, a, n, b, n, 0.0, out, n)


def _inner(fn):
    return lambda x: fn(x, 1)


def test_shared_kernels_are_found_before_a_cached_caller_is_loaded():
    assert blas.gemm_f64 in set(reachable_functions(_by_module.py_func))
    assert entry_of in set(reachable_functions(_inner(twice)))


def test_a_need_is_what_it_was_or_a_missing_file():
    need = entry_of.need
    assert pickle.loads(pickle.dumps(need)) == need
    modules = [
        (name, need.version, "")
        for name in ("no.such.module", machine_code.EMITTED_PREFIX + "0", machine_code.PRIVATE_PREFIX + "0")
    ]
    kernels = [(need.module, "other", need.symbol), (need.module, need.version, "ppl_other")]
    for fields in [*modules, *kernels, ("a later form",)]:
        with pytest.raises(OSError, match="compiled with"):
            machine_code.restore_requirement(*fields)


def test_callers_inherit_needs():
    caller = numba.njit(lambda x: twice(x, 1))
    assert caller(np.arange(4.0)) == 2.0
    (result,) = caller.overloads.values()
    assert {entry_of.need, machine_code.Requirement(__name__, entry_of.need.version)} <= set(result.reload_init)


def test_errors_reach_the_caller():
    with pytest.raises(ValueError, match="negative"):
        twice(np.arange(4.0), -1)


def test_python_calls_it_too():
    assert entry_of(np.arange(4.0), 2) == 2.0


def test_other_arrays_are_refused():
    with pytest.raises(numba.TypingError):
        twice(np.arange(4), 0)


@shared("float64(float64[::1],int64)", "float64(float64[::1],int64[::1])")
def shifted(x, by):
    """The last entry, and a number or the last entry of a vector."""
    return x[-1] + np.asarray(by).reshape(-1)[-1]


def test_arrays_and_numbers_decide_which_kernel_is_called():
    x, by = np.arange(4.0), np.array([7, 20])
    fresh = numba.njit(lambda x, by, n: (shifted(x, by), shifted(x, n)))
    assert fresh(x, by, 3) == (23.0, 6.0)
    (code,) = fresh.inspect_llvm().values()
    assert all(kernel.symbol in code for kernel in shifted.kernels)
    with pytest.raises(numba.TypingError):
        numba.njit(lambda x, by: shifted(by, x))(x, by)


@pytest.mark.parametrize("bits", ["f32", "f64"])
def test_scalar_functions_use_none(bits):
    """`link` does not import them."""
    for name in MODULES:
        module = importlib.import_module(f"ppl.kernels.generated.{bits}.scalar.{name}")
        assert not any(isinstance(value, SharedKernel) for value in vars(module).values())
