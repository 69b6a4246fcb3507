"""Rematerialisation: gradients of loops that store the carries of every n-th step are those of loops that store all."""

import numpy as np
import pytest

from benchmarks.remat import megabytes
from benchmarks.remat import request as long_request
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.loop import stack_every, trace_loop
from ppl.ir.node import topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.executable import compile_request
from ppl.tuning import STORED_ROW_ENTRIES
from tests.compiler.test_loops import compare
from tests.helpers.grads import check_grads
from tests.helpers.loop_programs import PROGRAMS, ROWS, VALUES, request


@pytest.mark.parametrize("plated", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_in_segments_are_what_the_interpreter_computes(program, plated):
    executable = compile_request(request(program, plated, remat=2), "float64")
    compare(program, executable, 300 if plated else None, np.float64, 1e-10)


@pytest.mark.parametrize("program", ["nested", "products", "plates", "mixed", "row_sums"])
def test_without_rows_bits_are_those_of_everything_stored(program):
    stored, segments = (compile_request(request(program, False, remat=n), "float32") for n in (None, 2))
    a, b = (e.run(VALUES.astype(np.float32), seed=5, step=3) for e in (stored, segments))
    assert a.scalars == b.scalars
    np.testing.assert_array_equal(a.grad, b.grad)


def noisy(remat, reverse, length):
    def run(x, xs, w):
        def step(t, cs, vs, ks):
            new = ops.tanh(ops.add(ops.mul(cs[0], ks[0]), ops.mul(vs[0], ops.sin(cs[0]))))
            return [new], [ops.mul(new, new)]

        carries, ys = trace_loop(step, [x], [xs], [w], length, reverse, remat)
        return [*carries, *ys]

    return run


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "every"), [(1, 1), (4, 2), (5, 2), (7, 3), (6, 6), (3, 9)])
def test_segments_agree_with_differences_to_second_order(reverse, length, every):
    rng = np.random.default_rng(length)
    arguments = rng.normal(size=2), rng.normal(size=(length, 2)), rng.normal(size=2)
    check_grads(noisy(every, reverse, length), *arguments)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("length", "every", "turns"), [(7, 3, [0, 3, 6]), (8, 3, [0, 3, 6, 7]), (6, 3, [0, 3, 5]), (1, 3, [0])]
)
def test_kept_values_are_those_of_every_nth_turn_and_of_the_last(length, every, turns, reverse):
    def step(t, cs, vs, ks):
        return [ops.add(cs[0], 1.0)], [stack_every(cs[0], every), cs[0]]

    (_, (few, all_)) = trace_loop(step, [ops.const(10.0)], [], [], length, reverse)
    few, all_ = evaluate([few, all_], Env())
    np.testing.assert_array_equal(few, 10.0 + np.array(turns))
    np.testing.assert_array_equal(np.sort(all_), 10.0 + np.arange(length))


def loops_below(nodes):
    found = [n for n in topological(nodes) if n.op == "loop"]
    return found + [x for n in found for x in loops_below(n.attrs["body"].outputs)]


def test_rows_count_against_the_budget():
    def nodes(axes, length):
        x = ops.expand(ops.const(0.5), axes)
        w = ops.expand(ops.const(0.3), axes)
        (last,), _ = trace_loop(lambda t, cs, vs, ks: ([ops.sin(ops.mul(cs[0], ks[0]))], []), [x], [], [w], length)
        return gradient(ops.sum_axes(last, axes), [w])

    assert len(loops_below(nodes((), 100_000))) == len(loops_below(nodes((ROWS,), STORED_ROW_ENTRIES // 4))) == 2
    assert len(loops_below(nodes((ROWS,), 2 * STORED_ROW_ENTRIES))) > 2


def test_a_long_loop_needs_little_memory():
    assert megabytes(compile_request(long_request(100_000, 1000, None))) > 700.0
    assert megabytes(compile_request(long_request(100_000, 1000, "auto"))) < 20.0
