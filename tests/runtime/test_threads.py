"""The number of threads never shows in a result: not in losses, gradients, samples or training, in any dtype."""

import json
import os
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Gamma, Normal
from ppl.compiler.lower.target import CPU, CUDA
from ppl.compiler.schedule.slabs import slab_count
from ppl.runtime.executable import Executable

X = (np.random.default_rng(0).random((301, 90)) < 0.3).astype(np.float32)
COUNTS = (1, 2, 3, 5, 16)


@ppl.model
def decoder(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.zeros(8), 1.0))
        h = ppl.dense("hidden", z, 60, activation="tanh")
        ppl.sample("x", Bernoulli(logits=ppl.dense("out", h, 90)), obs=x)


@ppl.model
def encoder(x):
    with ppl.plate("data", x) as x:
        h = ppl.dense("enc", x, 60, activation="tanh")
        ppl.sample("z", Normal(ppl.dense("mu", h, 8), np.exp(ppl.dense("log_sigma", h, 8))))


@ppl.model
def layers(x):
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.dense("first", x, 200)))
        ppl.cost("c", np.sum((ppl.dense("second", b, 90) - x) ** 2))


@ppl.model
def rates(x):
    scale = ppl.param("scale", 1.0, constraint="positive")
    with ppl.plate("data", x) as x:
        g = ppl.sample("g", Gamma(scale + x, 2.0))
        ppl.cost("c", np.sum(np.log1p(g)))


@ppl.model
def wide():
    loc = ppl.param("loc", np.zeros(50_000))
    z = ppl.sample("z", Normal(loc, 1.0))
    ppl.cost("c", np.sum(z**2))


CASES = {
    "products": (lambda: ppl.elbo(decoder, encoder), (X,), {}),
    "owned products and bits": (lambda: layers, (X,), {"estimators": ppl.estimators.ScoreFunction("moving_average")}),
    "draws by rejection": (lambda: rates, (X[:, :60],), {}),
    "a long event": (lambda: wide, (), {}),
}


def on_threads(count, monkeypatch):
    """Every call from here on runs on `count` threads, if its rows make as many slabs."""
    monkeypatch.setattr(Executable, "_threads", staticmethod(lambda slabs, threads: min(slabs, count)))


@pytest.mark.parametrize(("case", "dtype"), [*((case, "float32") for case in CASES), ("products", "float64")])
def test_results_have_the_same_bits_on_any_number_of_threads(case, dtype, monkeypatch):
    objective, data, options = CASES[case]
    program = ppl.compile(objective(), data=data or None, dtype=dtype, **options)
    state = program.init(0, *data)
    exe = program.prepare(*data).executable("gradient")
    found = []
    for count in COUNTS:
        on_threads(count, monkeypatch)
        loss, grads = program.value_and_grad(state, *data)
        value = program.value(state, *data, particles=3)
        found.append((loss, value, [grads[k].tobytes() for k in sorted(grads)]))
    sizes = exe._sizes({"data": 301} if data else {}, 1, 1)
    assert exe._slabs(sizes) > 2, "the case is too small to be shared"
    assert all(f == found[0] for f in found)


@pytest.mark.parametrize("case", ["products", "owned products and bits"])
def test_training_has_the_same_bits_on_any_number_of_threads(case, monkeypatch):
    objective, data, options = CASES[case]
    program = ppl.compile(objective(), data=data, **options)
    found = []
    for count in COUNTS:
        on_threads(count, monkeypatch)
        fit = ppl.fit(program, *data, epochs=2, batch_size=128, seed=0, optimizer=ppl.optim.Adam(1e-3))
        found.append((fit.state._flat.tobytes(), fit.state._aux.tobytes(), fit.history["loss"].tolist()))
    assert all(f == found[0] for f in found)


def test_the_serial_function_for_compiled_code_gives_the_bits_of_a_call():
    program = ppl.compile(ppl.elbo(decoder, encoder), data=(X,))
    state = program.init(0, X)
    loss, grads = program.value_and_grad(state, X)
    params, grad, aux, hyper = program.arrays(state)
    assert program.njit(params, grad, aux, hyper, state.seed, 0, 0, 1.0, program.workspace(len(X)), X) == loss
    assert grad.tobytes() == b"".join(grads[k].tobytes() for k in state.params)


SECOND = """
    import json, sys
    import numba, numpy as np
    from tests.runtime.test_threads import X, decoder, encoder
    import ppl
    from ppl.kernels.cpu.threads import thread_count
    thread_count.available_cores = lambda: 64
    program = ppl.compile(ppl.elbo(decoder, encoder), data=(X,))
    fit = ppl.fit(program, X, epochs=1, batch_size=100, seed=0, optimizer=ppl.optim.Adam(1e-3))
    print(json.dumps([numba.get_num_threads(), fit.state._flat.tobytes().hex()[-2000:], fit.history["loss"].tolist()]))
"""


def test_processes_with_one_thread_and_with_four_agree():
    found = {}
    for count in (1, 4):
        env = {**os.environ, "NUMBA_NUM_THREADS": str(count), "OMP_WAIT_POLICY": "PASSIVE"}
        run = subprocess.run([sys.executable, "-c", textwrap.dedent(SECOND)], capture_output=True, text=True, env=env)
        assert run.returncode == 0, run.stderr
        threads, *found[count] = json.loads(run.stdout)
        assert threads == count
    assert found[1] == found[4]


def test_slabs_follow_from_rows_and_work_alone():
    slabs = partial(slab_count, CPU.sharing)
    assert slabs(0, 0, 0, 8) == slabs(1, 10**9, 0, 48) == slabs(10**6, 199_999, 0, 8) == 1
    assert slabs(10**6, 200_000, 0, 8) == slabs(10**6, 399_999, 10, 8) == 2
    assert slabs(10**6, 288_000, 2400, 8) == slabs(10**6, 200_000, 1, 8) == slabs(15, 399_999, 0, 8) == 1
    assert slabs(10**6, 10**9, 0, 8) == slabs(10**6, 10**9, 100, 48) == CPU.sharing.most
    assert slabs(100, 10**9, 0, 48) == 2 and slabs(25, 10**9, 0, 8) == 2
    assert slabs(10**6, 10**7, 10**5, 8) == 2  # ten million operations would clear a million sums
    assert slabs(10**6, 10**6, 10**5, 8) == 1
    assert slab_count(CUDA.sharing, 1000, 10**7, 0, 1) == 512  # blocks, which take rows in any number
