"""`check_grads`: vector-Jacobian products against central differences, recursively to second order.

As in autograd: outputs are projected on random cotangents to one scalar, and gradients on a random direction,
so that one comparison of two numbers checks a whole Jacobian. Graphs are checked by the verifier, and their
simplified form must give the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node, make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.verify import verify

SIZES = {"rows": 3, "particles": 2, "repeats": 2}


def check_grads(
    fn: Callable[..., Node | Sequence[Node]],
    *arrays: np.ndarray,
    order: int = 2,
    env: Env | None = None,
    eps: float = 1e-5,
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Check the gradients of `fn` (nodes → node or nodes) at `arrays` up to derivatives of `order`."""
    rng = np.random.default_rng(seed)
    env = Env(sizes=SIZES) if env is None else env
    arrays = tuple(np.asarray(a, np.float64) for a in arrays)
    params = [make("param", name=f"x{i}", shape=a.shape) for i, a in enumerate(arrays)]
    outputs = fn(*params)
    scalar = _project(outputs if isinstance(outputs, (list, tuple)) else [outputs], rng, env)
    for _ in range(order):
        directions = [rng.normal(size=a.shape) for a in arrays]
        grads = gradient(scalar, params)
        slope = _dot(grads, [ops.const(d) for d in directions])
        verify([scalar, slope])
        exact = _evaluate([slope], arrays, env)[0]
        shifted = [[a + s * eps * d for a, d in zip(arrays, directions, strict=True)] for s in (1, -1)]
        high, low = (_evaluate([scalar], x, env)[0] for x in shifted)
        numeric = (high - low) / (2 * eps)
        noise = 1e-13 * max(1.0, abs(high)) / eps
        np.testing.assert_allclose(exact, numeric, rtol=rtol, atol=noise + 1e-8)
        small = _evaluate(simplify(erase_markers([scalar, slope]), strict=True), arrays, env)
        np.testing.assert_allclose(small, _evaluate([scalar, slope], arrays, env), rtol=1e-9, atol=1e-9)
        scalar = slope


def _evaluate(outputs: Sequence[Node], arrays: Sequence[np.ndarray], env: Env) -> list[np.ndarray]:
    params = {f"x{i}": a for i, a in enumerate(arrays)}
    return evaluate(outputs, Env(**{**env.__dict__, "params": {**env.params, **params}}))


def _project(outputs: Sequence[Node], rng: np.random.Generator, env: Env) -> Node:
    """The sum of the outputs times random weights, which vary along named axes by their row number."""
    total = ops.const(0.0)
    for out in outputs:
        weight = ops.const(rng.normal(size=out.type.shape))
        for axis in out.type.axes:
            index = ops.cast(make("rowid", axis=axis), "float")
            weight = ops.add(weight, ops.mul(rng.normal(), ops.sin(ops.add(index, rng.normal()))))
        total = ops.add(total, ops.sum_axes(ops.reduce_sum(ops.mul(out, weight)), out.type.axes))
    return total


def _dot(xs: Sequence[Node], ys: Sequence[Node]) -> Node:
    total = ops.const(0.0)
    for x, y in zip(xs, ys, strict=True):
        total = ops.add(total, ops.reduce_sum(ops.mul(x, y)))
    return total
