"""Optimizer updates against their formulas in double precision."""

import inspect

import numpy as np
import pytest

from ppl.kernels.cpu.threads import pool
from ppl.kernels.cpu.training import optimizers, parallel_optimizers

DTYPES = [np.float32, np.float64]


def _vectors(dtype, count, n=1003):
    rng = np.random.default_rng(0)
    return [rng.normal(size=n).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd(dtype):
    p, g = _vectors(dtype, 2)
    want = p.astype(float) - 0.1 * g
    optimizers.sgd(p, g, 0.1, 1.0)
    np.testing.assert_allclose(p, want, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_momentum(dtype):
    p, g, b = _vectors(dtype, 3)
    buffer = 0.9 * b.astype(float) + g
    want = p - 0.1 * buffer
    optimizers.momentum(p, g, b, 0.1, 0.9, 1.0)
    np.testing.assert_allclose(b, buffer, atol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(p, want, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(dtype):
    (p,) = _vectors(dtype, 1)
    m, v = np.zeros_like(p), np.zeros_like(p)
    want, first, second = p.astype(float), 0.0, 0.0
    for t in range(1, 6):
        g = _vectors(dtype, t)[-1]
        first = 0.9 * first + 0.1 * g.astype(float)
        second = 0.999 * second + 0.001 * g.astype(float) ** 2
        want = want - 1e-2 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        optimizers.adam(p, g, m, v, 1e-2, 0.9, 0.999, 1e-8, t, 1.0)
    np.testing.assert_allclose(p, want, atol=20 * np.finfo(dtype).eps)
    assert p.dtype == m.dtype == v.dtype == dtype


def test_the_bias_of_moments_is_a_power_of_the_step():
    for base in (0.9, 0.999, 0.0):
        for count in (0, 1, 2, 7, 1000, 10**6):
            np.testing.assert_allclose(optimizers._power(base, count), base**count, rtol=1e-13, atol=1e-300)


def test_zero_gradient_is_no_step():
    p = np.ones(5, np.float32)
    zeros = [np.zeros(5, np.float32) for _ in range(3)]
    optimizers.adam(p, *zeros, 1e-2, 0.9, 0.999, 1e-8, 1, 1.0)
    assert np.array_equal(p, np.ones(5))


RULES = [
    ("sgd", 0, (0.1, 0.5)),
    ("momentum", 1, (0.1, 0.9, 0.5)),
    ("nesterov", 1, (0.1, 0.9, 0.5)),
    ("adagrad", 1, (0.1, 1e-10, 0.5)),
    ("adam", 2, (1e-3, 0.9, 0.999, 1e-8, 3, 0.5)),
    ("lazy_adam", 2, (1e-3, 0.9, 0.999, 1e-8, 3, 0.5)),
]


@pytest.mark.parametrize(("name", "slots", "options"), RULES)
def test_in_place_gives_the_same_bits(name, slots, options):
    rng = np.random.default_rng(0)
    inputs = [np.abs(rng.normal(size=1003)).astype(np.float32) for _ in range(2 + slots)]
    fresh = [np.empty(1003, np.float32) for _ in range(1 + slots)]
    getattr(optimizers, f"{name}_into")(*fresh, *inputs, *options)
    getattr(optimizers, name)(*inputs, *options)
    for a, b in zip(fresh, [inputs[0], *inputs[2:]], strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_loops_do_not_write_over_operands():
    """A loop whose results lie over its operands fails LLVM's check for overlap and runs entry by entry."""
    assert "_into(" not in inspect.getsource(optimizers.step_on.py_func) + inspect.getsource(
        optimizers.apply_rule.py_func
    )


@pytest.mark.parametrize(("name", "slots", "options"), RULES)
def test_all_threads_give_the_same_bits(name, slots, options):
    name = f"{name}_into"
    rng = np.random.default_rng(0)
    n = 3 * parallel_optimizers.UPDATE_CHUNK + 5
    inputs = [np.abs(rng.normal(size=n)).astype(np.float32) for _ in range(2 + slots)]
    alone, together = ([np.empty(n, np.float32) for _ in range(1 + slots)] for _ in range(2))
    getattr(optimizers, name)(*alone, *inputs, *options)
    pool.start(2)
    getattr(parallel_optimizers, name)(*together, *inputs, *options, 2)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
