"""Elementary functions of one number a turn run in loops of their own, beside which no operation goes on inside."""

import numpy as np
import pytest

import ppl
from ppl.compiler.schedule.loop_fusion import VECTOR_FUNCTIONS
from ppl.compiler.schedule.stages import Cluster, Loop
from ppl.runtime.executable import compile_request
from tests.compiler import graphs


def _loops(items):
    for item in items:
        if isinstance(item, Loop):
            yield item
            yield from _loops(item.items)


def _row_loops(executable):
    """The row loops of all regions."""
    for stage in executable.stages:
        for step in stage.steps if stage.row is not None else ():
            if isinstance(step, Cluster):
                yield from (loop for loop in _loops(step.items) if loop.token == stage.row)


def _functions(loop):
    return [op.node.op for op in loop.ops() if len(op.domain) == 1 and op.node.op in VECTOR_FUNCTIONS]


def _program(counts):
    @ppl.model
    def model(x, y):
        w, scale = ppl.param("w", 0.1, shape=13), np.exp(ppl.param("s", 0.0))
        with ppl.plate("data", x, y) as (x, y):
            loc = x @ w
            ppl.sample("y", ppl.Poisson(np.exp(0.1 * loc)) if counts else ppl.StudentT(4.0, loc, scale), obs=y)

    x = np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32)
    y = np.arange(100) % 4 if counts else x[:, 0].copy()
    return ppl.compile(ppl.likelihood(model), data=(x, y))


@pytest.mark.parametrize("counts", [False, True], ids=["floats", "counts"])
def test_functions_of_rows_share_no_loop_with_scalar_products(counts):
    loops = list(_row_loops(_program(counts).prepare().executable("gradient")))
    dear = [loop for loop in loops if _functions(loop)]
    assert dear and len(loops) > len(dear)
    assert all(loop.innermost for loop in dear)
    whole = [op for loop in dear for op in loop.ops() if "int" in (r.value.dtype for r in op.reads)]
    assert not whole, "beside whole numbers of 64 bits vectors are half as long"


def test_a_target_without_phases_keeps_them_together(monkeypatch):
    graphs.assume(monkeypatch, fusion={"split_vector_loops": False})
    request = graphs.request_of(graphs.GRAPHS["regression"]())
    loops = list(_row_loops(compile_request(request, "float32", "cpu")))
    assert any(_functions(loop) and not loop.innermost for loop in loops)


def test_what_rows_would_store_is_weighed_against_the_functions(monkeypatch):
    """Where no entry may be carried from one loop to another, all stay together."""
    monkeypatch.setattr("ppl.compiler.schedule.loop_fusion.CARRIED_ENTRIES", 0)
    loops = list(_row_loops(_program(False).prepare().executable("gradient")))
    assert [loop.innermost for loop in loops if _functions(loop)] == [False]


def _logistic(particles):
    @ppl.model
    def model(x, y):
        w = ppl.sample("w", ppl.Normal(np.zeros(13), 1.0))
        with ppl.plate("data", x, y) as (x, y):
            ppl.sample("y", ppl.Bernoulli(logits=x @ w), obs=y)

    @ppl.model
    def guide(x, y):
        ppl.sample("w", ppl.Normal(ppl.param("loc", 0.1, shape=13), np.exp(ppl.param("scale", -1.0, shape=13))))

    x = np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32)
    data = x, (x[:, 0] > 0).astype(np.float32)
    return ppl.compile(ppl.elbo(model, guide), particles=particles, data=data), data


def test_functions_of_few_particles_take_rows_in_their_innermost_loop():
    """And the results are those of a program that learns the number of particles when it is called."""
    program, data = _logistic(4)
    executable = program.prepare().executable("gradient")
    plate = next(stage.row for stage in executable.stages if stage.row is not None)
    steps = [step for stage in executable.stages if stage.row is not None for step in stage.steps]
    loops = [loop for step in steps if isinstance(step, Cluster) for loop in _loops(step.items)]
    dear = [x for x in loops if any(op.node.op in VECTOR_FUNCTIONS for op in x.items if not isinstance(op, Loop))]
    assert dear and all(x.innermost and x.token == plate for x in dear)
    other, _ = _logistic(1)
    loss, grads = program.value_and_grad(program.init(0), *data)
    expected, others = other.value_and_grad(other.init(0), *data, particles=4)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, others[name], rtol=1e-4, atol=1e-4)
