"""LLVM is told which buffers of a function do not overlap, so that short loops over parts of one array are vectors."""

import functools
import re
import sys

import numba
import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features

import ppl
from ppl.checked import CHECKED
from ppl.compiler.emit import python
from ppl.compiler.emit.code import Argument, Function, Name, assign, call, do, loop
from ppl.runtime import cache
from tests.compiler.emit.test_llvm import N, X, both, check, made

pytestmark = pytest.mark.skipif(CHECKED, reason="Numba compiles the functions of the checked build")

A, B, C, K, R = map(Name, "abckr")


def kernel(*body, apart=("a", "b", "c")):
    """A function `g` of the array x and three positions in it."""
    return Function("g", tuple(map(Argument, ("x", "a", "b", "c", "n"))), body, "", "jit", apart)


def module(g, *calls):
    """A module whose function `f` makes these calls of `g`."""
    return made(*(do("g", X, *places, N) for places in calls), more=(g,))


def code(found) -> str:
    """The LLVM code of the function `g` beside `found`."""
    g = found.py_func.__globals__["g"].bare()
    (text,) = (g.inspect_llvm(s) for s in g.signatures)
    return text


def product_of(size):
    """A product of a square matrix at `a` with rows at `c`."""
    out = X.at(B + R * size + "i")
    more = out + X.at(A + K * size + "i") * X.at(C + R * size + "k")
    sums = loop("k", size, [loop("i", size, [assign(out, more)])])
    return loop("r", N, [loop("i", size, [assign(out, 0.0)]), sums])


def run(g, *calls, n=3, size=600):
    """Results of the text and of the code, and the code."""
    functions = both(module(g, *calls))
    ends = []
    for f in functions:
        x = np.random.default_rng(0).normal(size=size).astype(np.float32)
        f(x, x.copy(), n)
        ends.append(x)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5, atol=1e-5)
    return code(functions[1])


FEATURES = get_host_cpu_features()

WIDEST = 16 if FEATURES.get("avx512f") else 8 if FEATURES.get("avx") else 4
"""Floats in a vector of this processor."""


@functools.cache
def width_of_loops():
    """Floats in a vector of a loop that Numba compiles: on some processors LLVM prefers less than the widest."""

    @numba.njit
    def double(x):
        for i in range(x.size):
            x[i] *= np.float32(2)

    double(np.ones(100, np.float32))
    return max(int(width) for width in re.findall(r"<(\d+) x float>", double.inspect_llvm(double.signatures[0])))


@pytest.mark.parametrize(("size", "vector"), [(16, 16), (11, 8), (48, 16)])
def test_products_with_small_matrices_are_made_of_vectors_without_tests_masks_or_gathers(size, vector):
    text = run(kernel(product_of(size)), (0, size * size, size * (size + 4)), size=size * (size + 8))
    assert f"<{min(vector, width_of_loops())} x float>" in text
    assert "masked" not in text and "memcheck" not in text


@pytest.mark.parametrize("size", [8, 10, 15, 23, 64, 65])
def test_loops_of_any_length_compute_what_the_text_says(size):
    doubled = loop("i", size, [assign(X.at(B + "i"), X.at(A + "i") * 2.0)])
    added = loop("i", size, [assign(X.at(B), X.at(B) + X.at(A + "i"))])
    for body in (doubled, added, loop("r", N, [doubled]), loop("k", size, [loop("r", 3, [added])])):
        run(kernel(body), (0, 100, 200))


@pytest.mark.parametrize("size", [9, 13, 21, 63])
def test_scalar_products_are_one_loop_of_masked_vectors_that_read_nothing_behind_their_end(size):
    s, row = Name("s"), X.at(C + R * size + "i")
    product = loop("i", size, [assign(s, s + X.at(A + "i") * row)])
    g = kernel(loop("r", N, [assign(s, 0.0), product, assign(X.at(B + R), s)]))
    functions = both(module(g, (0, 100, 200)))
    x = np.random.default_rng(0).normal(size=200 + 3 * size + 32).astype(np.float32)
    x[size:100], x[200 + 3 * size :] = np.nan, np.nan
    for f in functions:
        f(x, x.copy(), 3)
        np.testing.assert_allclose(
            x[100:103], x[200 : 200 + 3 * size].reshape(3, size) @ x[:size], rtol=1e-4, atol=1e-5
        )
    text = code(functions[1])
    assert "masked.load" in text
    assert not re.search(r"vector\.reduce\.fadd\.v[24]f32" if WIDEST > 4 else "$^", text)


def test_unknown_memory_is_tested_or_left_alone():
    """Without the facts, overlapping buffers mean what the text says."""
    shifted = loop("i", 16, [assign(X.at(B + "i"), X.at(A + "i") * 2.0)])
    run(kernel(shifted, apart=()), (0, 1, 2))


def test_copies_of_a_function_know_nothing_of_each_other():
    """What one call writes through one name is what the next call reads through another."""
    moved = loop("i", 16, [assign(X.at(B + "i"), X.at(A + "i") * 2.0 + X.at(C + "i"))])
    run(kernel(moved), (0, 16, 32), (16, 32, 0), (32, 0, 16))


def test_the_facts_are_part_of_a_modules_name():
    def name(apart):
        records = module(kernel(product_of(16), apart=apart), (0, 256, 400))
        functions = [f for f in records.items if isinstance(f, Function)]
        return cache.load(python.module(records), functions=functions).__name__

    assert name(("a", "b", "c")) == name(("a", "b", "c")) != name(("a", "b"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_of_many_takes_vectors_and_is_nan_where_one_is(dtype):
    largest = made(
        assign("s", X.at(0)),
        loop("i", N, [assign("s", call(Name("m").dot("maximum"), "s", X.at("i")))]),
        assign(Name("y").at(0), Name("s")),
    )
    check(largest, 16, dtype)
    _, compiled = both(largest, dtype)
    for place in (0, 7, 15):
        x, y = np.zeros((2, 40), dtype)
        x[place] = np.nan
        compiled(x, y, 16)
        assert np.isnan(y[0])
        x[place] = -np.inf
        compiled(x, y, 16)
        assert y[0] == 0.0
    (text,) = compiled.inspect_llvm().values()
    assert "vector.reduce.fmaximum" in text


def test_rows_of_tables_are_made_of_vectors(tmp_path, monkeypatch):
    """Ratings of items by users: rows are read and added to where data say, some of them several times."""
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path / "cache"))
    for name in [m for m in sys.modules if m.startswith("ppl_program_")]:
        monkeypatch.delitem(sys.modules, name)

    @ppl.model
    def model(user, item, rating):
        users, items = (ppl.param(name, ppl.init.normal(1.0), shape=(5, 8)) for name in ("users", "items"))
        with ppl.plate("data", user, item, rating) as (user, item, rating):
            ppl.sample("rating", ppl.Normal((users[user] * items[item]).sum(), 1.0), obs=rating)

    rng = np.random.default_rng(0)
    user, item, rating = rng.integers(0, 5, 40), rng.integers(0, 5, 40), rng.normal(size=40).astype(np.float32)
    program = ppl.compile(ppl.likelihood(model), data=(user, item, rating))
    state = program.init(0)
    _, grads = program.value_and_grad(state, user, item, rating)
    users, items = (np.asarray(state.params[name], float) for name in ("users", "items"))
    off = ((users[user] * items[item]).sum(1) - rating)[:, None]
    expected = np.zeros((2, 5, 8))
    np.add.at(expected[0], user, off * items[item])
    np.add.at(expected[1], item, off * users[user])
    np.testing.assert_allclose([grads["users"], grads["items"]], expected, rtol=1e-4, atol=1e-4)
    module = program.prepare().executable("gradient").module
    (kernel,) = (f.bare() for name, f in vars(module).items() if name.startswith("rows_0_kernel_"))
    text = kernel.inspect_llvm(kernel.signatures[0])
    assert f"<{min(8, WIDEST)} x float>" in text and "gather" not in text
