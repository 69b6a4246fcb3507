"""Several threads: one program or two, cold or warm, give what each gives alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import ppl
from tests.program.programs import data, mixed_program, same, units, units_program


def _together(*jobs):
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [f.result() for f in [pool.submit(job) for job in jobs]]


def test_one_program_from_two_threads():
    program, x = mixed_program(), data(300)
    state = program.init(0, x)

    def run(first):
        return [program.value_and_grad(state.replace(step=t), x) for t in range(first, first + 40)]

    alone = run(0), run(40)
    for found, expected in zip(_together(lambda: run(0), lambda: run(40)), alone, strict=True):
        for (loss, grads), (loss_alone, grads_alone) in zip(found, expected, strict=True):
            assert loss == loss_alone and same(grads, grads_alone)


def test_large_batches_with_parallel_regions_from_two_threads():
    program, x = mixed_program(), data(4000)
    state = program.init(0, x)
    alone = [program.value_and_grad(state.replace(step=t), x) for t in range(4)]
    jobs = [lambda t=t: [program.value_and_grad(state.replace(step=t), x) for _ in range(5)] for t in range(4)]
    for found, (loss, grads) in zip(_together(*jobs), alone, strict=True):
        assert all(a == loss and same(b, grads) for a, b in found)


def test_two_programs_train_together_as_alone():
    x = data(50)
    programs = [units_program("rebar"), units_program("leave one out")]

    def train(program):
        return ppl.fit(program, x, steps=60, optimizer=ppl.optim.Adam(1e-2), batch_size=20, seed=1, progress=False)

    alone = [train(p) for p in programs]
    together = _together(*(lambda p=p: train(p) for p in programs))
    for a, b in zip(alone, together, strict=True):
        assert same(a.params, b.params) and np.array_equal(a.history["loss"], b.history["loss"])


def test_a_cold_program_may_be_called_first_by_two_threads():
    program, x = ppl.compile(units, ppl.estimators.ScoreFunction(), dtype="float64"), data()

    def first():
        state = program.init(0, x)
        return program.value_and_grad(state, x)

    (loss, grads), (other, other_grads) = _together(first, first)
    assert loss == other and same(grads, other_grads) and len(program._compiled) == 1


def test_models_are_traced_in_two_threads_at_once():
    def trace():
        return [ppl.compile(units, data=ppl.spec((None, 3))).explain for _ in range(5)]

    assert all(len(made) == 5 for made in _together(trace, trace, trace))


FORKED = """
import multiprocessing, sys
sys.path.insert(0, "{root}")
from tests.program.programs import data, mixed_program

def child(queue):
    queue.put(program.value_and_grad(state, x)[0])

if __name__ == "__main__":
    program, x = mixed_program(), data(4000)
    state = program.init(0, x)
    loss = program.value_and_grad(state, x)[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    found = queue.get(timeout=600)
    process.join(600)
    assert process.exitcode == 0 and abs(found - loss) < 1e-9 * abs(loss), (process.exitcode, found, loss)
"""


def test_a_forked_child_computes_the_same(pytestconfig):
    code = FORKED.format(root=pytestconfig.rootpath)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
