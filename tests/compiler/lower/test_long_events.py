"""Programs whose events are long run over their leading dimension; the numbers are those of the graph as written."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Gamma, Normal
from ppl.compiler.lower.long_events import run_as_rows
from ppl.compiler.lower.target import CPU
from ppl.compiler.surrogate.variants import build_gradient
from ppl.estimators import DisARM, Rebar, ScoreFunction
from ppl.ir import ops
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import PARTICLES
from ppl.runtime.executable import compile_request
from tests.compiler.graphs import Graph, request_of

MIN_ROWS = CPU.rewrites.long_event

N = MIN_ROWS + 37


def units_graph(axes) -> Graph:
    """Vectors, tables, numbers, particles, a product with a small matrix, a moved dimension and partial sums."""
    g = Graph()
    v, table, number = g.param("v", N), g.param("table", N, 3), g.param("number")
    small = g.param("small", 3, 3)
    z = ops.add(ops.ndtri(ops.noise("z", 0, axes, (N,))), ops.expand(v, axes))
    u = ops.noise("u", 0, axes, (N, 3))
    moved = ops.mul(ops.expand(ops.matmul(table, small), axes), ops.cos(u))
    rows = ops.reduce_sum(moved)
    each = ops.reduce_sum(moved, (1,))
    spread = ops.mul(ops.expand(number, axes, (N,)), ops.mul(ops.tanh(z), each))
    dot = ops.einsum(z, "i", ops.exp(ops.neg(ops.mul(z, z))), "i", "")
    turned = ops.reduce_sum(ops.sin(ops.transpose(moved, (1, 0))))
    total = ops.add(ops.add(ops.add(ops.reduce_sum(spread), dot), rows), turned)
    g.total(total)
    return g


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("axes", "particles"), [((), 1), ((PARTICLES,), 1), ((PARTICLES,), 3)])
@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-11), ("float32", 3e-4)])
def test_equals_the_graph_as_written(axes, particles, dtype, tol, threads):
    request = request_of(units_graph(axes))
    executable = compile_request(request, dtype)
    assert [s.row.name for s in executable.stages if s.row is not None][:1] == ["units"]
    params = 0.1 * np.random.default_rng(0).normal(size=executable.n_params).astype(dtype)
    found = executable.run(params, particles=particles, seed=3, step=2, threads=threads)
    shapes, at, named = dict(request.params), 0, {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        named[name], at = params[at : at + size].reshape(shape), at + size
    env = Env(named, sizes={"particles": particles}, seed=3, step=2, dtype=np.dtype(dtype).type)
    loss, *grads = evaluate([n for _, n in (*request.scalars, *request.grads)], env)
    assert found.scalars["loss"] == pytest.approx(float(loss), rel=tol)
    expected = np.concatenate([g.ravel() for g in grads])
    np.testing.assert_allclose(found.grad, expected, rtol=tol, atol=tol * np.abs(expected).max())


def test_plates_and_short_events_are_left_alone():
    short = make("param", name="p", shape=(MIN_ROWS - 1,), dtype="float")
    assert run_as_rows([ops.reduce_sum(ops.exp(short))], MIN_ROWS) is None


def _gaussian(n):
    @ppl.model
    def units():
        z = ppl.sample("z", Normal(ppl.param("m", 0.5, shape=n), 1.0))
        ppl.cost("c", np.sum(z**2))

    return units


def test_draws_do_not_depend_on_the_form():
    """Gradients are 2 z with the very z that `sample` gives, which is not rewritten."""
    program = ppl.compile(_gaussian(N), dtype="float64")
    state = program.init(0)
    z = program.sample(state, seed=4)["z"]
    _, grads = program.value_and_grad(state, seed=4)
    np.testing.assert_allclose(grads["m"], 2 * z, rtol=1e-12)


@pytest.mark.parametrize("estimator", [ScoreFunction(), Rebar(), DisARM()], ids=str)
def test_branches_and_baselines_equal_the_interpreter(estimator):
    @ppl.model
    def bits():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", np.linspace(-2, 2, N))))
        ppl.cost("c", (np.sum(np.arange(N) / N * b) / N - 0.3) ** 2)

    program = ppl.compile(bits, estimator, dtype="float64")
    compiled, state = program.prepare(), program.init(0).replace(seed=2, step=5)
    variant = build_gradient(compiled.graph, compiled.plan.estimators)
    env = Env(state.params, state.aux, dict(variant.hypers), sizes={"particles": 1}, seed=2, step=5)
    expected, *aux = evaluate([variant.grads["a"], *variant.aux.values()], env)
    _, grads, new = program.step(state)
    np.testing.assert_allclose(grads["a"], expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    for name, value in zip(variant.aux, aux, strict=True):
        np.testing.assert_allclose(new.aux[name], value, rtol=1e-10)


def test_gamma_units_take_their_own_columns():
    @ppl.model
    def units():
        g = ppl.sample("g", Gamma(np.exp(ppl.param("a", 0.3, shape=N)), 1.0))
        ppl.cost("c", np.sum(np.log1p(g)))

    program = ppl.compile(units, dtype="float64")
    state = program.init(0)
    loss, _ = program.value_and_grad(state, seed=5)
    assert loss == pytest.approx(np.sum(np.log1p(program.sample(state, seed=5)["g"])), rel=1e-12)
