"""Workers: processes that start together, that are forked or spawned, and threads that share programs."""

import shutil

import pytest

from tests.processes.programs import TRAIN, finish, run, start

pytestmark = pytest.mark.slow

MODEL = (
    TRAIN.partition("program =")[0]
    + """
def work(seed):
    program = ppl.compile(model)
    fit = ppl.fit(program, steps=20, optimizer=ppl.optim.SGD(0.1), progress=False, seed=seed)
    return float(fit.params["t"]).hex()
"""
)
WORKERS = """
import sys
from model import work

if __name__ == "__main__":
    method = sys.argv[1]
    if "before" in sys.argv:
        work(0)
    if method == "loky":
        from joblib import Parallel, delayed
        found = Parallel(n_jobs=2)(delayed(work)(0) for _ in range(4))
    else:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
            found = list(pool.map(work, [0] * 4))
    print(*sorted({*found, work(0)}))
"""


@pytest.mark.parametrize("before", ["before", "after"])
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver", "loky"])
def test_worker_processes(method, before, tmp_path):
    if method == "loky":
        pytest.importorskip("joblib")
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(WORKERS)
    folder = tmp_path / "programs"
    for _ in range(2):  # with a new program, and with one from the disk
        assert len(run(str(tmp_path / "script.py"), folder, method, before).split()) == 1


def test_processes_that_start_together(tmp_path):
    """All of them write machine code of kernels and program at once; nobody else's comes in between."""
    folder, kernels = tmp_path / "programs", str(tmp_path / "kernels")
    started = [start(TRAIN, folder, NUMBA_CACHE_DIR=kernels) for _ in range(4)]
    found = [finish(process) for process in started]
    assert len(set(found)) == 1 and not found[0][1]
    assert run(TRAIN, folder, NUMBA_CACHE_DIR=kernels) == found[0][0]
    shutil.rmtree(folder)
    found = [finish(process) for process in [start(TRAIN, folder, NUMBA_CACHE_DIR=kernels) for _ in range(4)]]
    assert len(set(found)) == 1 and not found[0][1]


THREADS = """
import sys
import threading
import numpy as np
import ppl

X = np.random.default_rng(0).normal(size=(300, 4))

@ppl.model
def rows(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", ppl.Normal(ppl.param("m", 0.3), 0.5))
        ppl.cost("c", (x.sum() - z) ** 2)

@ppl.model
def plain():
    z = ppl.sample("z", ppl.Bernoulli(logits=ppl.param("t", 0.3)))
    ppl.cost("c", (z - 0.4) ** 2)

programs = [(ppl.compile(rows, data=X, dtype="float64"), (X,)), (ppl.compile(plain, dtype="float64"), ())]
programs = programs[: int(sys.argv[1])]
states = [program.init(0) for program, _ in programs]
found = [{} for _ in range(8)]

def call(number):
    for i in range(1000):
        which, seed = (number + i) % len(programs), i % 50
        (program, data), state = programs[which], states[which]
        loss, grads = program.value_and_grad(state, *data, seed=seed)
        bits = float(loss).hex(), *(g.tobytes() for g in grads.values())
        assert found[number].setdefault((which, seed), bits) == bits

def guarded(number):
    try:
        call(number)
    except BaseException as error:
        found[number] = error

threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
assert all(isinstance(x, dict) for x in found), found
together = {}
for seen in found:
    for key, bits in seen.items():
        assert together.setdefault(key, bits) == bits
alone = {}
for which, ((program, data), state) in enumerate(zip(programs, states)):
    for seed in range(50):
        loss, grads = program.value_and_grad(state, *data, seed=seed)
        alone[which, seed] = float(loss).hex(), *(g.tobytes() for g in grads.values())
assert alone == together
print(len(together))
"""


@pytest.mark.parametrize("programs", [1, 2])
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_eight_threads_call_a_thousand_times(programs, layer, tmp_path):
    """The first calls compile, all at once; every call gives the bits of a call alone."""
    folder = tmp_path / "programs"
    for _ in range(2):
        output = run(THREADS, folder, str(programs), NUMBA_THREADING_LAYER=layer)
        assert output.split() == [str(50 * programs)]
