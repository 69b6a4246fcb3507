"""The memory of a call: parameters, the tiles of each thread, outputs; nothing else that grows with the rows."""

import tracemalloc

import numpy as np
import pytest

import ppl
from ppl.kernels.cpu.threads.thread_count import num_threads

MANY, FEW, WIDTH = 1_000_000, 20_000, 8

TILES = 4_000_000  # bytes a thread: activations of a tile of rows, and what Python itself allocates


@ppl.model
def layers(x):
    with ppl.plate("data", x) as x:
        h = ppl.dense("h", x, 32, activation="tanh")
        z = ppl.sample("z", ppl.Normal(ppl.dense("mu", h, 4), 1.0))
        b = ppl.sample("b", ppl.Bernoulli(logits=ppl.dense("gate", z, 4)))
        ppl.cost("error", np.sum((x - ppl.dense("out", np.concatenate([z, b]), WIDTH)) ** 2))


def peak(call):
    """Bytes that a call has in use at once beyond those before it, Python's and NumPy's."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def program():
    return ppl.compile(layers, data=np.zeros((FEW, WIDTH), np.float32))


@pytest.mark.parametrize("what", ["value", "value_and_grad", "update", "rows"])
def test_a_million_rows_need_no_memory_of_their_own(program, what):
    state = program.init(0)
    adam = ppl.optim.Adam(1e-3)
    calls = {
        "value": lambda x: program.value(state, x),
        "value_and_grad": lambda x: program.value_and_grad(state, x),
        "update": lambda x: program.update(state, x, optimizer=adam),
        "rows": lambda x: program.value(state, x, per_row=True),
    }
    x = np.random.default_rng(0).normal(size=(MANY, WIDTH)).astype(np.float32)
    few = x[:FEW].copy()
    calls[what](few)  # compiled before anything is counted
    least, most = peak(lambda: calls[what](few)), peak(lambda: calls[what](x))
    outputs = 4 * MANY if what == "rows" else 0
    assert most <= program.ravel(state).nbytes * (1 + 2 + num_threads()) + num_threads() * TILES + outputs
    assert most - least <= outputs + 2 * TILES
    assert x.nbytes > 4 * TILES  # one copy of the data would be seen
