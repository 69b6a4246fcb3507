"""Views of computed values, compiled, against the interpreter."""

import numpy as np
import pytest

from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import PARTICLES, Axis, Kind
from ppl.runtime.executable import compile_request

AXES = [Axis(f"enum:{i}", Kind.ENUM, n, i) for i, n in enumerate((2, 1, 3))]


def table():
    """A computed value over three axes, one of them of length 1, and particles."""
    x = ops.const(np.random.default_rng(0).normal(size=(2, 1, 3)))
    for axis in AXES:
        x = ops.distribute(x, axis)
    return ops.mul(x, ops.noise("u", 0, (PARTICLES,), ()))


def index():
    return ops.cast(ops.floor(ops.mul(ops.noise("i", 0, (PARTICLES,), ()), 3.0)), "int")


def dropped():
    """An axis of length 1 that becomes an event dimension, which a reshape drops before others are collected."""
    x = ops.reshape(ops.collect(table(), AXES[1]), ())
    return ops.collect(ops.collect(x, AXES[0]), AXES[2])


def moved():
    x = ops.reshape(ops.transpose(ops.collect(ops.collect(table(), AXES[1]), AXES[2])), (3,))
    return ops.collect(x, AXES[0])


def taken():
    """The only entry of an axis of length 1, at an index, of a value that is computed in registers."""
    x = ops.exp(ops.take(ops.collect(table(), AXES[2]), index()))
    return ops.collect(ops.take(ops.collect(x, AXES[1]), index()), AXES[0])


@pytest.mark.parametrize("build", [dropped, moved, taken])
def test_axes_of_length_1(build):
    node = build()
    request = Request(
        scalars=(), grads=(), aux=(), arrays=(("y", node),), params=(), aux_shapes=(), hypers=(), inputs=()
    )
    made = compile_request(request, "float64", "cpu").run(np.zeros(0), particles=20, seed=3).arrays["y"]
    (expected,) = evaluate([node], Env(dtype=np.float64, sizes={"particles": 20}, seed=3))
    np.testing.assert_allclose(made, np.reshape(expected, made.shape), rtol=1e-12)
