"""Loops, alone and nested, with rows and without: compiled code against the interpreter."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.policy_gradient import request as policy_gradient
from benchmarks.remat import request as long_loop
from ppl.compiler.lower.loops import CarriedRowsError, split_loops
from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.loop import mark_stopped, stack_every, trace_loop
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import REPEATS, Axis, Kind
from ppl.runtime.executable import compile_request
from tests.compiler.graphs import cut_into_slabs
from tests.helpers.loop_programs import PROGRAMS, SHAPES, VALUES, request, stopping
from tests.helpers.loop_programs import ROWS as PLATE

ROWS = (1, 7, 37, 257, 900)

IDS = np.random.default_rng(1).permutation(2000)


def interpreted(program, rows, dtype):
    r = request(program, rows is not None, simplified=False)
    parts = np.split(VALUES, np.cumsum([int(np.prod(shape)) for _, shape in SHAPES])[:-1])
    params = {name: part.reshape(shape) for (name, shape), part in zip(SHAPES, parts, strict=True)}
    env = Env(params, rows={} if rows is None else {"rows": IDS[:rows]}, step=3, seed=5, dtype=dtype)
    nodes = [r.scalars[0][1], *(g for _, g in r.grads), *(a for _, a in r.arrays)]
    cost, *found = evaluate(nodes, env)
    arrays = dict(zip((name for name, _ in r.arrays), found[len(SHAPES) :], strict=True))
    return cost, np.concatenate([g.ravel() for g in found[: len(SHAPES)]]), arrays


def compare(program, executable, rows, dtype, tolerance):
    given = {} if rows is None else {"rows": {"rows": rows}, "row_ids": {"rows": IDS[:rows]}}
    cost, grad, arrays = interpreted(program, rows, dtype)
    runs = []
    for slabs, threads in ((1, 1), (4, 1), (4, 2)) if rows else ((1, 1),):
        cut_into_slabs(executable, slabs)
        found = executable.run(VALUES.astype(dtype), step=3, seed=5, threads=threads, **given)
        scale = tolerance * max(1.0, np.abs(grad).max())
        assert found.scalars["cost"] == pytest.approx(cost, rel=tolerance)
        np.testing.assert_allclose(found.grad, grad, rtol=tolerance, atol=scale)
        for name, value in arrays.items():
            np.testing.assert_allclose(found.arrays[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
        runs.append(found)
    for found in runs[2:]:
        np.testing.assert_array_equal(found.grad, runs[1].grad)
        assert found.scalars == runs[1].scalars


@pytest.mark.parametrize("plated", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_compiled_loops_are_what_the_interpreter_computes(program, plated):
    executable = compile_request(request(program, plated), "float64")
    for rows in ROWS if plated else (None,):
        compare(program, executable, rows, np.float64, 1e-10)


@pytest.mark.parametrize("plated", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_loops_in_single_precision(program, plated):
    executable = compile_request(request(program, plated), "float32")
    compare(program, executable, 257 if plated else None, np.float32, 2e-4)


@pytest.mark.parametrize("program", ["nested", "products", "mixed", "row_sums"])
def test_loops_as_they_were_written_compile_as_well(program):
    executable = compile_request(request(program, True, simplified=False), "float64")
    compare(program, executable, 37, np.float64, 1e-10)


def test_a_longer_loop_begins_like_a_shorter_one():
    def draws(length):
        def step(t, _, __, ks):
            return [], [make("noise", ks[0], t, name="u", purpose=0, axes=(), shape=())]

        def outer(t, _, __, ks):
            return [], trace_loop(step, [], [], [t], 3)[1]

        return evaluate(trace_loop(outer, [], [], [], length)[1], Env(seed=3))[0]

    assert len(np.unique(draws(4))) == 12
    np.testing.assert_array_equal(draws(4)[:2], draws(2))


def mean_of(axis):
    """A loop in which all entries of an axis read their sum."""

    def step(t, cs, xs, ks):
        return [ops.add(ops.mul(0.5, cs[0]), ops.sin(ops.sum_axes(cs[0], (axis,))))], []

    return trace_loop(step, [ops.expand(ops.const(0.1), (axis,))], [], [], 3)[0]


def test_rows_that_read_one_another_are_computed_together():
    (x,) = split_loops(mean_of(Axis("rows", Kind.PLATE)))
    assert [a.together for a in x.type.axes] == [True]


def test_repeats_that_read_one_another_are_refused_in_plain_words():
    with pytest.raises(CarriedRowsError, match="each step of a loop reads a sum over all of 'repeats'"):
        split_loops(mean_of(REPEATS))


@pytest.mark.parametrize("other", [1.0, 0.0, "another sum"])
def test_every_slab_adds_its_part_of_a_choice_between_sums(other):
    """Of a choice between a sum over rows and a constant, the constant counts once."""
    w = make("param", name="w", shape=())

    def step(t, cs, vs, ks):
        rows = ops.add(cs[0], ops.mul(ks[0], ops.cast(t, "float")))
        total, squares = (ops.sum_axes(x, (PLATE,)) for x in (rows, ops.mul(rows, rows)))
        instead = squares if other == "another sum" else ops.const(other)
        return [ops.add(cs[0], 1.0)], [ops.where(ops.less(t, 2), total, instead)]

    each = ops.mul(w, ops.cast(make("rowid", axis=PLATE), "float"))
    _, (stack,) = trace_loop(step, [ops.const(0.5)], [], [each], 4)
    executable = compile_request(Request((), arrays=(("y", stack),), params=(("w", ()),)), "float64")
    (expected,) = evaluate([stack], Env({"w": np.array(0.3)}, sizes={"rows": 7}))
    for slabs in (1, 4):
        cut_into_slabs(executable, slabs)
        found = executable.run(np.array([0.3]), rows={"rows": 7}).arrays["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("axes", [(), (PLATE,)])
def test_a_loop_ends_when_all_rows_have_stopped(axes):
    """Ten million steps would take seconds."""
    a = make("param", name="a", shape=())
    cost, arrays = stopping(axes, {"a": a}, 10_000_000)
    cost, steps = simplify(erase_markers([cost, arrays["steps"]]))
    executable = compile_request(Request((("cost", cost),), arrays=(("steps", steps),), params=(("a", ()),)), "float64")
    start = time.perf_counter()
    found = executable.run(VALUES[:1], rows={"rows": 300} if axes else {}, step=3, seed=5)
    executable.run(VALUES[:1], rows={"rows": 300} if axes else {}, step=3, seed=5)
    assert time.perf_counter() - start < 60.0
    params, sizes = {"a": VALUES[0]}, {"rows": 300}
    expected = evaluate([cost, steps], Env(params, sizes=sizes, step=3, seed=5))
    assert found.scalars["cost"] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_array_equal(found.arrays["steps"], expected[1])
    assert 1 < expected[1].max() < 40


def test_steps_that_do_not_run_stack_zeros_in_either_direction():
    def step(t, cs, vs, ks):
        n = ops.add(cs[0], 1)
        done = ops.less_equal(3, n)
        return [n, mark_stopped(done)], [n, stack_every(n, 2)]

    for reverse in (False, True):
        results = trace_loop(step, [ops.const(0), ops.const(False)], [], [], 7, reverse)
        nodes = [results[0][0], *results[1]]
        request = Request((), arrays=tuple(zip("xyz", nodes, strict=True)))
        found = compile_request(request, "float64").run(np.zeros(0)).arrays
        ys = [1, 2, 3, 0, 0, 0, 0]
        for x, y, z in (evaluate(nodes, Env()), found.values()):
            assert x == 3
            np.testing.assert_array_equal(y, ys[::-1] if reverse else ys)
            np.testing.assert_array_equal(z, [1, 3, 0, 0])


def size_of(request):
    executable = compile_request(request)
    return len(executable.functions), len(executable.source.splitlines())


def test_code_does_not_grow_with_the_length():
    assert size_of(policy_gradient(15)) == size_of(policy_gradient(15_000))
    assert size_of(long_loop(10_000, 1000, "auto")) == size_of(long_loop(1_000_000, 1000, "auto"))


@pytest.mark.slow
def test_loops_stay_inside_their_buffers():
    code = "import sys, pytest; sys.exit(pytest.main(['-q', '-m', 'not slow', 'tests/compiler/test_loops.py']))"
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PPL_CHECK": "1"}, capture_output=True)
    assert ran.returncode == 0, ran.stdout.decode()[-3000:]
