"""The region op: forward values, noise at loop time, gradients against differences and unrolled graphs."""

from __future__ import annotations

import numpy as np
import pytest

from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.loop import split_args, trace_loop
from ppl.ir.node import make, topological
from ppl.ir.reference import noise
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Axis, Kind
from ppl.ir.verify import verify
from tests.helpers.grads import check_grads

pytestmark = pytest.mark.tiny

ROWS = Axis("rows", Kind.PLATE)

LENGTH = 4

RNG = np.random.default_rng(3)

XS = RNG.normal(size=(LENGTH, 2))

ENV = Env(sizes={"rows": 3}, seed=11, step=5)


def step(index, carries, slices, consts):
    """A noisy recurrence: the carry becomes plated because the noise is."""
    u = make("noise", index, name="walk", purpose=0, axes=(ROWS,), shape=(2,))
    new = ops.tanh(ops.add(ops.mul(carries[0], consts[0]), ops.mul(slices[0], ops.ndtri(u))))
    return [new], [ops.mul(new, ops.sin(consts[0])), ops.reduce_sum(new)]


def row(x, t):
    """The window of one step."""
    return ((t, 1, 1), *((0, n, 1) for n in x.type.shape[1:]))


def unrolled(step, inits, xs, consts, length):
    """The same recurrence without a loop."""
    carries, stacks = list(inits), []
    for t in range(length):
        slices = [ops.reshape(ops.window(x, row(x, t)), x.type.shape[1:]) for x in xs]
        carries, ys = step(ops.const(t), carries, slices, consts)
        stacks.append([ops.reshape(y, (1, *y.type.shape)) for y in ys])
    return carries, [ops.concat(pieces) for pieces in zip(*stacks, strict=True)]


def outputs(kind, x0, xs, w):
    run = trace_loop if kind == "loop" else unrolled
    carries, ys = run(step, [x0], [xs], [w], LENGTH)
    return [*carries, *ys]


def params():
    shapes = {"x0": (2,), "x1": (LENGTH, 2), "x2": (2,)}
    return [make("param", name=name, shape=shape) for name, shape in shapes.items()]


def env(dtype=np.float64, **changes):
    values = {"x0": np.array([0.3, -0.2]), "x1": XS, "x2": np.array([0.9, 1.2])}
    return Env(**{**ENV.__dict__, "params": values, "dtype": dtype, **changes})


def test_forward_equals_the_unrolled_graph():
    looped, flat = (evaluate(outputs(kind, *params()), env()) for kind in ("loop", "unrolled"))
    for a, b in zip(looped, flat, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    assert [a.shape for a in looped] == [(3, 2), (3, LENGTH, 2), (3, LENGTH)]


def test_noise_inside_takes_the_step_number_as_loop_time():
    def draw(index, carries, slices, consts):
        return [], [make("noise", index, name="walk", purpose=2, axes=(ROWS,), shape=(2,))]

    (u,) = evaluate(trace_loop(draw, [], [], [], LENGTH)[1], env())
    key = noise.mix(11, noise.node_hash("walk"))
    for t in range(LENGTH):
        expected = noise.uniforms(np.arange(6).reshape(3, 2), key, t, 5, 2, np.float64)
        np.testing.assert_array_equal(u[:, t], expected)


def test_gradients_agree_with_differences_to_second_order():
    check_grads(lambda *args: outputs("loop", *args), *env().params.values(), env=ENV)


def test_gradient_equals_that_of_the_unrolled_graph():
    found = []
    for kind in ("loop", "unrolled"):
        ps = params()
        final, ys, sums = outputs(kind, *ps)
        cost = ops.add(ops.reduce_sum(ops.exp(ys)), ops.reduce_sum(sums))
        cost = ops.add(ops.reduce_sum(ops.mul(final, final)), cost)
        cost = ops.sum_axes(cost, (ROWS,))
        graph = [cost, *gradient(cost, ps)]
        verify(graph)
        small = simplify(erase_markers(graph), strict=True)
        verify(small)
        found += [evaluate(graph, env()), evaluate(small, env())]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11)


def test_simplified_gradient_runs_the_forward_loop_once():
    ps = params()
    final, ys, _ = outputs("loop", *ps)
    cost = ops.sum_axes(ops.add(ops.reduce_sum(final), ops.reduce_sum(ys)), (ROWS,))
    graph = [cost, *gradient(cost, ps)]
    assert sum(n.op == "loop" for n in topological(graph)) == 3
    assert sum(n.op == "loop" for n in topological(simplify(graph))) == 2


def test_integer_carries_have_no_gradient_and_do_no_harm():
    def count(index, carries, slices, consts):
        n, x = carries
        return [ops.add(n, 1), ops.mul(x, ops.add(ops.cast(n, "float"), consts[0]))], []

    def run(w):
        carries, _ = trace_loop(count, [ops.const(1), ops.const(1.0)], [], [w], 3)
        return carries[1]

    check_grads(run, np.array(0.5))
    w = make("param", name="w", shape=())
    assert evaluate([run(w)], Env(params={"w": 0.5}))[0] == pytest.approx(1.5 * 2.5 * 3.5)


def test_loops_nest():
    def outer(index, carries, slices, consts):
        def inner(i, cs, vs, ks):
            return [ops.add(cs[0], ops.sin(ops.mul(ks[0], cs[0])))], []

        (x,), _ = trace_loop(inner, [carries[0]], [], [consts[0]], 2)
        return [x], [x]

    def run(x, w):
        carries, ys = trace_loop(outer, [x], [], [w], 3)
        return [*carries, *ys]

    check_grads(run, np.array([0.4, 0.1]), np.array([0.7, 1.3]))


def returns(index, carries, slices, consts):
    """Two running values and a stack."""
    total = ops.add(ops.mul(carries[0], consts[0]), ops.mul(slices[0], slices[1]))
    return [total, ops.add(carries[1], 1.0)], [total, ops.sin(total)]


def test_a_reverse_loop_is_a_loop_over_the_turned_stack_turned():
    xs, c = make("param", name="x1", shape=(LENGTH, 2)), ops.const(np.ones(2))
    turned = ops.window(xs, ((LENGTH - 1, LENGTH, -1), (0, 2, 1)))
    inits = [ops.zeros_like(c.type), ops.const(0.0)]
    (last, _), (ys, _) = trace_loop(returns, inits, [xs, xs], [c], LENGTH, reverse=True)
    (other, _), (zs, _) = trace_loop(returns, inits, [turned, turned], [c], LENGTH)
    zs = ops.window(zs, ((LENGTH - 1, LENGTH, -1), (0, 2, 1)))
    found = evaluate([last, ys, other, zs], env())
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_in_step_become_one_that_makes_nothing_unread(reverse):
    x0, xs, w = params()
    carries, (first, _) = trace_loop(step, [x0], [xs], [w], LENGTH)
    scaled = ops.mul(ops.add(first, ops.expand(w, (), (LENGTH, 2))), 0.5)
    inits = [ops.zeros_like(w.type), ops.const(0.0)]
    (total, _), (ys, _) = trace_loop(returns, inits, [scaled, first], [w], LENGTH, reverse)
    graph = [carries[0], total, ops.reduce_sum(ys, 0), ops.reduce_sum(ops.mul(first, first))]
    small = simplify(graph, strict=True)
    verify(small)
    for a, b in zip(evaluate(graph, env()), evaluate(small, env()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    loops = [n for n in topological(small) if n.op == "loop"]
    assert len(loops) == (2 if reverse else 1)
    kept = [n.attrs["body"] for n in loops]
    assert sum(len(b.ys) for b in kept) == 1  # read whole by the last output
    assert all(c.type.shape for b in kept for c in b.carries)  # the count that nobody reads is gone
    assert all(x.type.shape[:1] == (LENGTH,) and x.op in ("param", "get") for n in loops for x in split_args(n)[1])


def test_reverse_mode_stores_noise_instead_of_drawing_it_again():
    x0, xs, w = params()
    final, ys, _ = outputs("loop", x0, xs, w)
    cost = ops.sum_axes(ops.add(ops.reduce_sum(final), ops.reduce_sum(ys)), (ROWS,))
    small = simplify(erase_markers([cost, *gradient(cost, [x0, xs, w])]))
    bodies = [n.attrs["body"] for n in topological(small) if n.op == "loop"]
    drawn = [sum(n.op == "noise" for n in topological(b.outputs)) for b in bodies]
    assert sorted(drawn) == [0, 1]
