"""Gradients that are products over rows, computed by shares of the result: the same numbers, whoever computes them."""

from dataclasses import replace

import numpy as np
import pytest

import ppl
from ppl.compiler.lower.request import Request
from ppl.compiler.lower.target import CPU
from ppl.errors import FitError
from ppl.ir import ops
from ppl.ir.node import make
from ppl.ir.rewrites.simplify import simplify
from ppl.kernels.cpu.threads.slabs import partition_start
from ppl.runtime.executable import Executable, compile_request
from tests.compiler import graphs

WIDE, HIDDEN = 70, 52

THREADS = (1, 2, 3)


@pytest.fixture(autouse=True)
def small_and_many(monkeypatch):
    """Products that tests can afford are owned too, and cut into several parts."""
    graphs.assume(monkeypatch, sharing={"owned": 1 << 10, "part_rows": 16})
    monkeypatch.setattr(graphs, "request_of", simplified)


def simplified(g: graphs.Graph, plain=graphs.request_of) -> Request:
    """The request as a program makes it: sums of outer products are contractions over rows."""
    request = plain(g)
    made = iter(simplify([n for _, n in (*request.scalars, *request.grads)]))
    scalars, grads = (tuple((name, next(made)) for name, _ in group) for group in (request.scalars, request.grads))
    return replace(request, scalars=scalars, grads=grads)


def layers(kind: str) -> graphs.Graph:
    """Two layers, whose gradients' left factors are data and units: numbers, or bits."""
    g = graphs.Graph()
    x = g.input("x", (graphs.DATA,), WIDE, dtype="bool" if kind == "bits" else "float")
    x = ops.cast(x, "float") if kind == "bits" else x
    a = ops.add(ops.matmul(x, g.param("first", WIDE, HIDDEN)), g.param("bias", HIDDEN))
    u = ops.noise("h", 0, (graphs.DATA,), (HIDDEN,))
    h = ops.cast(ops.less(u, 0.4), "float") if kind == "bits" else ops.tanh(a)
    y = ops.add(ops.matmul(h, g.param("second", HIDDEN, WIDE)), ops.reduce_sum(ops.tanh(a)))
    g.total(ops.sin(y))
    return g


def tied() -> graphs.Graph:
    """Two products into one gradient, with a number that scales one of them."""
    g = graphs.Graph()
    w, c = g.param("w", WIDE, HIDDEN), g.param("c")
    x, y = g.input("x", (graphs.DATA,), WIDE), g.input("y", (graphs.DATA,), WIDE)
    first, second = ops.reduce_sum(ops.sin(ops.matmul(x, w))), ops.reduce_sum(ops.tanh(ops.matmul(y, w)))
    g.total(ops.sub(ops.mul(first, ops.exp(c)), second))
    return g


def shared_rows(executable: Executable) -> list[int]:
    """Rows of the results of the products that regions own."""
    return [step.shared for stage in executable.stages for step in stage.partitioned]


@pytest.mark.parametrize("rows", [0, 1, 2, 37, 101])
@pytest.mark.parametrize("kind", ["numbers", "bits"])
def test_gradients_of_layers(kind, rows):
    executable = graphs.check(layers(kind), rows=rows, threads=THREADS)
    assert shared_rows(executable) == [WIDE, HIDDEN]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make_graph", [lambda: layers("numbers"), lambda: layers("bits"), tied])
def test_many_chunks(make_graph, dtype, monkeypatch):
    graphs.assume(monkeypatch, buffers={"product_tile": 1 << 12})
    executable = graphs.check(make_graph(), dtype, rows=101, threads=THREADS)
    sizes = executable._sizes({"data": 101}, 1, 1)
    _, v = executable._buffers(sizes, 2, 2)
    (chunk,) = (v[i] for i, name in enumerate(executable.memory.header) if name.startswith("chunk"))
    assert 101 / chunk > 3 and shared_rows(executable)


def test_two_products_into_one_gradient():
    executable = graphs.check(tied(), rows=37, threads=THREADS)
    assert shared_rows(executable) == [WIDE]


def test_small_and_read_gradients_are_not_owned(monkeypatch):
    graphs.assume(monkeypatch, sharing={"owned": WIDE * HIDDEN + 1})
    assert not shared_rows(compile_request(graphs.request_of(layers("numbers"))))
    graphs.assume(monkeypatch, sharing={"owned": 1 << 10})
    g = layers("numbers")
    w = make("param", name="first", shape=(WIDE, HIDDEN), dtype="float")
    g.scalars["loss"] = ops.add(g.scalars["loss"], ops.reduce_sum(ops.mul(w, w)))  # adds to its gradient
    assert shared_rows(compile_request(graphs.request_of(g))) == [HIDDEN]
    graphs.check(g, threads=THREADS)


def test_shares_cover_everything_once():
    for size in (0, 1, 3, 7, 41, 784):
        for parts in (1, 2, 3, 16):
            ends = [partition_start(size, part, parts) for part in range(parts + 1)]
            assert ends[0] == 0 and ends[-1] == size and ends == sorted(ends)


def test_a_slab_holds_no_gradient():
    executable = compile_request(graphs.request_of(layers("numbers")))
    sizes = executable._sizes({"data": 4}, 1, 1)
    one, three = (executable._buffers(sizes, count, count)[0].size for count in (1, 3))
    assert three - one < WIDE * HIDDEN


def test_operands_of_many_rows_take_the_memory_of_a_chunk():
    executable = compile_request(graphs.request_of(layers("numbers")))
    few, many = (executable._buffers(executable._sizes({"data": n}, 1, 1), 2, 2)[0].nbytes for n in (10_000, 1_000_000))
    assert many < 1.1 * few < 3 * CPU.buffers.product_tile + 8 * WIDE * HIDDEN


@ppl.model
def regression(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", ppl.Normal(ppl.dense("h", x, 256, activation="tanh"), 0.1))
        ppl.cost("c", np.sum((ppl.dense("y", z, 8) - 1.0) ** 2))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("optimizer", [ppl.optim.SGD(1e-3), ppl.optim.Momentum(1e-3), ppl.optim.Adam(1e-2)], ids=str)
def test_training_with_a_copy_of_the_parameters_for_each_thread(optimizer, threads, monkeypatch):
    monkeypatch.setattr(Executable, "_slabs", lambda self, sizes: 3)
    monkeypatch.setattr(Executable, "_threads", staticmethod(lambda count, asked: threads))
    x = np.random.default_rng(0).normal(size=(97, 260)).astype(np.float32)
    program = ppl.compile(regression, data=x)
    options = {"steps": 7, "batch_size": 30, "seed": 1}
    fast = ppl.fit(program, x, optimizer=optimizer, **options)
    slow = ppl.fit(program, x, optimizer={"*": optimizer}, **options)
    assert fast.state._flat.size > 1 << 16 and shared_rows(program.prepare(x).executable("gradient"))
    assert fast.state._flat.tobytes() == slow.state._flat.tobytes()
    assert fast.history["loss"].tolist() == slow.history["loss"].tolist()


@ppl.model
def lengths(x):
    w = ppl.param("w", ppl.init.normal(0.1), shape=(260, 256))
    with ppl.plate("data", x) as x:
        ppl.cost("c", np.sqrt(np.sum((x @ w) ** 2)))


def test_a_gradient_that_is_not_finite_leaves_the_parameters(monkeypatch):
    monkeypatch.setattr(Executable, "_slabs", lambda self, sizes: 2)
    x = np.random.default_rng(0).normal(size=(80, 260)).astype(np.float32)
    x[33] = 0.0  # a length of 0 has no slope, and the loss is finite
    program = ppl.compile(lengths, data=x)
    errors = []
    for optimizer in (ppl.optim.Adam(1e-3), {"*": ppl.optim.Adam(1e-3)}):
        with pytest.raises(FitError, match="gradient") as caught:
            ppl.fit(program, x, epochs=1, batch_size=10, seed=4, optimizer=optimizer)
        errors.append(caught.value)
    fast, slow = errors
    assert shared_rows(program.prepare(x).executable("gradient")) == [260]
    assert fast.step == slow.step > 0
    assert fast.state._flat.tobytes() == slow.state._flat.tobytes()
