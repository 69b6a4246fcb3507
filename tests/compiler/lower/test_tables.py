"""Products with rows of tables are steps of their own; short events are computed for many rows at a time."""

import re

import numpy as np
import pytest

import ppl
from ppl.errors import ParameterError
from ppl.training import batches as fit_data

N, D, ROWS = 50, 21, 300

RNG = np.random.default_rng(0)


def model(count):
    @ppl.model
    def pairs(left, right, others):
        u = ppl.param("u", ppl.init.normal(0.3), shape=(N, D))
        v = ppl.param("v", ppl.init.normal(0.3), shape=(N, D))
        with ppl.plate("data", left, right, others) as (left, right, others):
            ppl.cost("near", ppl.softplus(-(u[right] @ v[left])))
            ppl.cost("far", np.sum(ppl.softplus(u[others] @ v[left])))

    data = RNG.integers(0, N, ROWS), RNG.integers(0, N, ROWS), RNG.integers(0, N, (ROWS, count))
    return pairs, data


def exact(u, v, left, right, others):
    """Loss and gradients."""
    sigma = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    words = np.column_stack([right, others])
    sign = np.r_[-1.0, np.ones(others.shape[1])]
    s = sign * np.einsum("rkd,rd->rk", u[words], v[left])
    g = sign * sigma(s)
    du, dv = np.zeros_like(u), np.zeros_like(v)
    np.add.at(du, words, g[:, :, None] * v[left][:, None])
    np.add.at(dv, left, np.einsum("rk,rkd->rd", g, u[words]))
    return np.logaddexp(0, s).sum(), du, dv


@pytest.mark.parametrize("count", [3, 11], ids=["side by side", "one by one"])
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-5), ("float64", 1e-11)])
def test_values_and_gradients_are_exact(count, dtype, rtol):
    pairs, data = model(count)
    program = ppl.compile(pairs, data=data, dtype=dtype)
    state = program.init(0)
    loss, grads = program.value_and_grad(state, *data)[:2]
    want, du, dv = exact(*(np.asarray(state.params[n], float) for n in "uv"), *data)
    np.testing.assert_allclose(float(loss), want, rtol=rtol)
    for name, truth in (("u", du), ("v", dv)):
        np.testing.assert_allclose(grads[name], truth, rtol=rtol, atol=rtol * np.abs(truth).max())
    assert "table_dot" in program.source and "table_sum" in program.source
    inner = "for i in range(3):" in program.source and re.search(r"_\d+h\[r \* 3\]", program.source) is not None
    assert inner == (count == 3)


@pytest.mark.parametrize("clipped", [True, False])
def test_indices_beyond_a_table_read_its_ends_and_are_refused(clipped):
    """Clipped ones are like any other. The others read nothing outside the table and show in the loss."""

    @ppl.model
    def shifted(left, right):
        u = ppl.param("u", ppl.init.normal(0.3), shape=(N, D))
        v = ppl.param("v", ppl.init.normal(0.3), shape=(N, D))
        with ppl.plate("data", left, right) as (left, right):
            index = 3 * right - 20
            ppl.cost("square", (u[np.clip(index, 0, N - 1) if clipped else index] @ v[left]) ** 2)

    left, right, _ = model(3)[1]
    program = ppl.compile(shifted, data=(left, right), dtype="float64")
    state = program.init(0)
    if not clipped:
        with pytest.raises(ParameterError, match=r"an index must be between 0 and 49, not .*argument 'right'"):
            program.value_and_grad(state, left, right)
    loss, grads = program.value_and_grad(state, left, right, nonfinite="raise" if clipped else "keep")[:2]
    u, v, row = state.params["u"], state.params["v"], np.clip(3 * right - 20, 0, N - 1)
    product = np.sum(u[row] * v[left], axis=1)
    np.testing.assert_allclose(float(loss), np.sum(product**2) if clipped else np.nan, rtol=1e-11)
    want = np.zeros_like(v)
    np.add.at(want, left, 2 * product[:, None] * u[row])
    np.testing.assert_allclose(grads["v"], want, rtol=1e-11, atol=1e-12)
    assert "table_dot" in program.source and (row == 0).any() and (row == N - 1).any()


def test_rows_in_compiled_order_are_those_of_a_sort(monkeypatch):
    for n in (1, 2, 3, 1000, 4096, 20_001, 300_000):  # some of the last agree in 32 bits
        monkeypatch.setattr(fit_data, "SHUFFLED_COMPILED", 1 << 30)
        want = fit_data.epoch_permutation(5, 2, n)
        monkeypatch.setattr(fit_data, "SHUFFLED_COMPILED", 1)
        np.testing.assert_array_equal(fit_data.epoch_permutation(5, 2, n), want)
