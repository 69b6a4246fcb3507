"""A policy gradient on the region op: compiled against the interpreter, and against the exact gradient."""

import re

import numpy as np
import pytest

from benchmarks.policy_gradient import DT, SHAPES, Descent, expected_cost, request
from ppl.ir.node import topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.executable import compile_request

TIMES, ENVIRONMENTS = 15, 1000

PARAMS = np.array([-1.0, -1.5, -1.0])


def interpreted(simplified, step, dtype, rows=ENVIRONMENTS):
    r = request(TIMES, simplified)
    env = Env({"gain": PARAMS[:2], "log_sigma": PARAMS[2]}, sizes={"environments": rows}, step=step, dtype=dtype)
    cost, *grads = evaluate([r.scalars[0][1], *(g for _, g in r.grads)], env)
    return cost, np.concatenate([g.ravel() for g in grads])


@pytest.fixture(scope="module")
def descent():
    return Descent(ENVIRONMENTS, TIMES, 1e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_is_what_the_interpreter_computes(descent, threads):
    for rows in (3, 300, ENVIRONMENTS):
        cost, grad = interpreted(True, 3, np.float32, rows)
        found = descent.executable.run(PARAMS.astype(np.float32), rows={"environments": rows}, step=3, threads=threads)
        assert found.scalars["cost"] == pytest.approx(cost, rel=1e-5)
        np.testing.assert_allclose(found.grad, grad, rtol=1e-4, atol=1e-4)


def test_loops_as_they_were_written_compile_to_the_same_gradient():
    executable = compile_request(request(TIMES, simplified=False), "float64")
    found = executable.run(PARAMS, rows={"environments": 70}, step=3, threads=1)
    for simplified in (False, True):
        cost, grad = interpreted(simplified, 3, np.float64, 70)
        assert found.scalars["cost"] == pytest.approx(cost, rel=1e-10)
        np.testing.assert_allclose(found.grad, grad, rtol=1e-9)


def test_estimate_agrees_with_the_exact_gradient(descent):
    run, rows = descent.executable.run, {"environments": 40_000}
    grads = [run(PARAMS.astype(np.float32), rows=rows, seed=5, step=i).grad for i in range(300)]
    mean, error = np.mean(grads, axis=0), np.std(grads, axis=0, ddof=1) / np.sqrt(len(grads))
    moves = 1e-5 * np.eye(3)
    exact = [(expected_cost(PARAMS + d, TIMES) - expected_cost(PARAMS - d, TIMES)) / 2e-5 for d in moves]
    assert np.all(np.abs(mean - exact) < 4 * error)
    assert np.linalg.norm(error) < 0.02 * np.linalg.norm(exact)


def test_expected_cost_is_that_of_a_simulation():
    rng, paths = np.random.default_rng(0), 200_000
    x, v, cost = np.ones(paths), np.zeros(paths), np.zeros(paths)
    for _ in range(TIMES):
        a = PARAMS[0] * x + PARAMS[1] * v + np.exp(PARAMS[2]) * rng.standard_normal(paths)
        cost += x * x + v * v + 0.1 * a * a
        x, v = x + DT * v, v + DT * a
    error = cost.std() / np.sqrt(paths)
    assert abs(cost.mean() - expected_cost(PARAMS, TIMES)) < 4 * error < 0.01 * cost.mean()


def test_steps_in_compiled_code_are_those_of_single_calls(descent):
    single, many = descent, Descent(ENVIRONMENTS, TIMES, 1e-3)
    costs = [single.step() for _ in range(4)]
    assert many.run(4).tolist() == costs
    assert many.params.tolist() == single.params.tolist() != PARAMS.tolist()


def test_work_inside_loops_is_worth_a_second_thread(descent):
    exe = descent.executable
    assert exe._slabs(exe._sizes(descent.rows, 1, 1)) >= 2
    assert exe.flops.evaluate(exe._sizes(descent.rows, 1, 1)) > 20 * TIMES * ENVIRONMENTS


def test_two_loops_remain_and_read_what_lies_side_by_side(descent):
    r = request(TIMES)
    nodes = topological([r.scalars[0][1], *(g for _, g in r.grads)])
    assert sum(n.op == "loop" for n in nodes) == 2
    assert [name for name, _ in r.grads] == [name for name, _ in SHAPES]
    loops = re.findall(r"for r in range\(n\):\n((?:        .*\n)+)", descent.executable.source)
    assert loops
    assert not any("r *" in body for body in loops)
