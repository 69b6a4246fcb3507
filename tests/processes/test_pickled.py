"""Pickled programs in worker processes: spawned, forked, and joblib's; a worker with a warm cache compiles nothing."""

import pytest

from tests.processes.programs import run

MODEL = """
import numpy as np
import ppl

@ppl.model
def model(x):
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", ppl.Bernoulli(logits=ppl.dense("up", x, 4)))
        ppl.cost("c", (np.sum(b) - x[0]) ** 2)

X = np.arange(40.0).reshape(10, 4) / 10

def work(program, state, seed):
    loss, grads, _ = program.step(state, X, seed=seed)
    return float(loss).hex(), float(grads["up.weight"].sum()).hex()
"""
WORKERS = """
import pickle, sys
import ppl
from model import X, model, work

if __name__ == "__main__":
    method = sys.argv[1]
    program = ppl.compile(model, ppl.estimators.ScoreFunction(), dtype="float64", data=X)
    state = program.init(0)
    if method == "loky":
        from joblib import Parallel, delayed
        found = Parallel(n_jobs=2)(delayed(work)(program, state, seed) for seed in range(4))
    else:
        from multiprocessing import get_context
        with get_context(method).Pool(2) as pool:
            found = pool.starmap(work, [(program, state, seed) for seed in range(4)])
    assert found == [work(program, state, seed) for seed in range(4)]
    assert len({*found}) == 4
    print("same")
"""
CLOSURE = """
import sys
import ppl
import numpy as np

def make(level):
    @ppl.model
    def inner(x):
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", ppl.Normal(ppl.param("m", 0.1), 1.0))
            ppl.cost("c", (z - level * x) ** 2)
    return inner

def work(program, state):
    return float(program.step(state, np.arange(5.0))[0]).hex()

if __name__ == "__main__":
    from joblib import Parallel, delayed
    program = ppl.compile(make(0.5), data=ppl.spec((None,)))
    state = program.init(0)
    assert {*Parallel(n_jobs=2)(delayed(work)(program, state) for _ in range(3))} == {work(program, state)}
    print("same")
"""
START = """
import pickle, sys
from numba.core.event import install_recorder
with install_recorder("numba:run_pass") as passes:
    program, state, x = pickle.load(open(sys.argv[1], "rb"))
    program.step(state, x)
print(len(passes.buffer), sorted({"scipy.linalg", "networkx", "matplotlib", "mpi4py", "arviz"} & set(sys.modules)))
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "loky"])
def test_programs_go_to_workers(method, tmp_path):
    if method == "loky":
        pytest.importorskip("joblib")
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(WORKERS)
    assert run(str(tmp_path / "script.py"), tmp_path / "programs", method) == "same\n"


def test_a_closure_of_the_main_script_goes_to_joblibs_workers(tmp_path):
    pytest.importorskip("joblib")
    (tmp_path / "script.py").write_text(CLOSURE)
    assert run(str(tmp_path / "script.py"), tmp_path / "programs") == "same\n"


def test_a_worker_with_a_warm_cache_compiles_nothing(tmp_path):
    """It reads all machine code from the disk: Numba runs none of its passes, and no large package is imported."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "start.py").write_text(START)
    (tmp_path / "save.py").write_text(
        "import pickle, sys, ppl\nfrom model import X, model\n"
        "program = ppl.compile(model, dtype='float64', data=X)\n"
        "pickle.dump((program, program.init(0), X), open(sys.argv[1], 'wb'))\n"
    )
    folder, content = tmp_path / "programs", str(tmp_path / "program.pickle")
    run(str(tmp_path / "save.py"), folder, content)
    assert not run(str(tmp_path / "start.py"), folder, content).startswith("0 ")
    assert run(str(tmp_path / "start.py"), folder, content) == "0 []\n"
