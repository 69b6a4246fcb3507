"""Programs of many loops and sums: kernels in pieces, and long sums instead of many, compute what short ones do."""

import re

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.checked import CHECKED
from ppl.compiler.emit import kernels, slab_reductions
from ppl.compiler.emit.code import Argument, For, Function, Name, assign, call, do, loop
from ppl.compiler.emit.llvm import aliasing

STEPS, ROWS = 10, 5000


def unrolled():
    """A hidden state of `STEPS` steps, seen with noise, and a guide with parameters for each step."""

    @ppl.model
    def model(x):
        decay = ppl.param("decay", 0.5)
        with ppl.plate("data", x) as x:
            z = ppl.sample("z0", Normal(0.0, 1.0))
            for t in range(1, STEPS):
                z = ppl.sample(f"z{t}", Normal(decay * z, 1.0))
                ppl.sample(f"x{t}", Normal(z, 1.0), obs=x[t])

    @ppl.model
    def guide(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z0", Normal(ppl.param("m0", 0.0), np.exp(ppl.param("s0", 0.0))))
            for t in range(1, STEPS):
                a, b = (ppl.param(f"{name}{t}", 0.1) for name in "ab")
                z = ppl.sample(f"z{t}", Normal(a * z + b * x[t], np.exp(ppl.param(f"s{t}", 0.0))))

    return ppl.elbo(model, guide)


def gradient(data):
    """The source of a program for these rows, its loss and its gradients."""
    program = ppl.compile(unrolled(), data=(data,))
    loss, grad = program.value_and_grad(program.init(0, data), data)
    return program.source, loss, grad


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT) or CHECKED, reason="walks through thousands of rows")
def test_pieces_and_long_sums_change_no_bit(monkeypatch):
    data = np.random.default_rng(0).normal(size=(ROWS, STEPS)).astype(np.float32)
    whole, loss, grad = gradient(data)
    monkeypatch.setattr(kernels, "LONG_KERNEL", 3)
    monkeypatch.setattr(slab_reductions, "MANY_SUMS", 5)
    monkeypatch.setattr(aliasing, "MOST", 6)
    cut, same, found = gradient(data)
    assert "_part_" not in whole and len(re.findall(r"^def rows_\w+_part_", cut, re.MULTILINE)) > 4
    assert "merge_slabs(" in whole and "merge_slabs(" not in cut and "grad[2] = w[" in cut
    assert cut.count("add_slabs(") < whole.count("add_slabs(") + 2
    assert loss == same
    for name in grad:
        np.testing.assert_array_equal(found[name], grad[name])


def _kernel(*body):
    return Function("f", tuple(map(Argument, "xyn")), (do("prefer_full_width"), *body), "Doc.", "shared", ("x", "y"))


def _turn(target, source):
    return loop("r", "n", [assign(Name(target).at("r"), Name(source).at("r"))])


def test_a_kernel_is_cut_where_no_local_lives_on(monkeypatch):
    monkeypatch.setattr(kernels, "LONG_KERNEL", 1)
    alone = _kernel(_turn("x", "y"))
    assert kernels.split_kernel(alone) == [alone]
    total = assign("s", call("sum", "y"))
    lives = _kernel(total, _turn("x", "y"), _turn("y", "x"), assign(Name("x").at(0), "s"), _turn("y", "y"))
    first, second = kernels.split_kernel(lives)
    assert [f.name for f in (first, second)] == ["f", "f_part_1"]
    assert [sum(isinstance(x, For) for x in f.body) for f in (first, second)] == [2, 1]
    assert first.body[1] == total and second.body[0] == do("prefer_full_width")
    assert [a.name for a in second.arguments] == ["y", "n"] and second.noalias == ("y",)
    assert first.body[1:] + second.body[1:] == lives.body[1:]
