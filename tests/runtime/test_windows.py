"""Values in windows of particles: the same draws and, to rounding, the same results in bounded memory."""

import numpy as np
import pytest

from ppl.compiler.lower.lowering import split_into_particle_windows
from ppl.compiler.lower.request import Request
from ppl.ir import ops
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import PARTICLES
from ppl.runtime.executable import compile_request
from tests.compiler.graphs import DATA, INNER, ROWS, Graph, request_of

IDS = np.arange(ROWS) * 3 + 2


def _bits(name: str, logit, axes, units: int):
    noise = ops.noise(name, 0, axes, (units,))
    return ops.cast(ops.less(noise, ops.sigmoid(ops.expand(logit, noise.type.axes))), "float")


def _mean(x):
    return ops.div(ops.sum_axes(x, (PARTICLES,)), ops.size(PARTICLES))


def value_graph() -> Graph:
    """Two costs with particles, one of them in a nested plate, one without; per row and summed."""
    g = Graph(grads=False)
    x, theta = g.input("x", (DATA,), 5), g.param("theta", 5)
    b = _bits("b", ops.mul(*ops.broadcast(x, theta)), (DATA, PARTICLES), 5)
    inner = _bits("inner", theta, (DATA, INNER, PARTICLES), 5)
    first = ops.reduce_sum(ops.mul(*ops.broadcast(b, x)))
    second = ops.sum_axes(ops.reduce_sum(ops.mul(*ops.broadcast(inner, b))), (INNER,))
    plain = ops.reduce_sum(ops.mul(x, x))
    row = ops.add(_mean(ops.add(first, second)), plain)
    g.total(row)
    g.scalars["cost"] = ops.sum_axes(_mean(first), (DATA,))
    g.scalars["plain"] = ops.sum_axes(plain, (DATA,))
    g.arrays["rows"] = row
    return g


def unplated_graph() -> Graph:
    g = Graph(grads=False)
    b = _bits("b", g.param("theta", 3), (PARTICLES,), 3)
    g.scalars["loss"] = _mean(ops.reduce_sum(ops.mul(b, ops.expand(ops.const(np.arange(3.0)), (PARTICLES,)))))
    return g


def _run(request: Request, dtype: str, particles: int, **options):
    executable = compile_request(request, dtype)
    params = np.random.default_rng(0).normal(size=executable.n_params).astype(dtype)
    inputs = [np.random.default_rng(1).normal(size=(ROWS, 5)).astype(dtype) for _ in request.inputs]
    ids = {"data": IDS} if inputs else None
    found = executable.run(params, inputs=inputs, particles=particles, row_ids=ids, seed=3, step=1, **options)
    return executable, found, params, inputs


@pytest.mark.parametrize("make", [value_graph, unplated_graph])
@pytest.mark.parametrize("particles", [1, 2, 7, 1000])
@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-12), ("float32", 2e-5)])
def test_windows_equal_one_run_and_the_interpreter(make, particles, dtype, tol, monkeypatch):
    """The tolerance is that of sums of order 10; one flipped bit would change them by 1e-3 and more."""
    g = make()
    request = request_of(g)
    executable, whole, params, inputs = _run(request, dtype, particles)
    assert executable.windowed
    sizes = {"data": ROWS, "particles": particles}
    monkeypatch.setattr(type(executable.memory), "window", lambda self, sizes, itemsize: 3)
    for threads in (1, 2):
        _, parts, *_ = _run(request, dtype, particles, threads=threads)
        for name in g.scalars:
            assert parts.scalars[name] == pytest.approx(whole.scalars[name], rel=tol, abs=tol)
        for name in g.arrays:
            np.testing.assert_allclose(parts.arrays[name], whole.arrays[name], rtol=tol, atol=tol)
    if particles > 7:
        return
    env = Env(dict.fromkeys(g.params, params), {}, {}, dict(zip(g.inputs, inputs, strict=True)), sizes, {"data": IDS},
              {}, {}, seed=3, step=1, dtype=np.dtype(dtype).type)  # fmt: skip
    for (name, _), expected in zip(request.scalars, evaluate([n for _, n in request.scalars], env), strict=True):
        assert parts.scalars[name] == pytest.approx(float(expected), rel=tol, abs=tol)


def test_memory_does_not_grow_with_particles():
    executable = compile_request(request_of(value_graph()))

    def words(particles):
        sizes = executable._sizes({"data": 100, "inner": 4}, particles, 1)
        return [executable._buffers(s, 1, 1)[0].size for _, s in executable._windows(sizes)]

    few, many = words(100_000), words(1_000_000)
    assert len(many) > len(few) and max(many) < 2 * max(few) < 2_000_000


def test_programs_that_couple_particles_run_whole():
    noise = ops.noise("u", 0, (PARTICLES,), ())
    mean = _mean(noise)
    assert split_into_particle_windows([mean]) is not None
    assert split_into_particle_windows([noise]) is None
    assert split_into_particle_windows([ops.mul(mean, mean)]) is None
    assert split_into_particle_windows([ops.log(mean)]) is None
    centred = ops.sub(noise, ops.expand(mean, (PARTICLES,)))
    assert split_into_particle_windows([_mean(ops.mul(centred, noise))]) is None


def test_window_keys_number_the_whole():
    from ppl.kernels.cpu.noise_keys import row_keys, window_keys

    key, ids, whole, part = np.uint64(9), IDS[:4], np.zeros(4 * 2 * 10, np.int64), np.zeros(4 * 2 * 3, np.int64)
    row_keys(whole, ids, 0, 0, 4, 0, 20, key, 5)
    window_keys(part, ids, 0, 0, 4, 0, 2, 3, 10, 4, key, 5)
    np.testing.assert_array_equal(part.reshape(4, 2, 3), whole.reshape(4, 2, 10)[:, :, 4:7])
