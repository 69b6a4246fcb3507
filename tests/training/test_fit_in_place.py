"""`fit` takes many steps per compiled call; what it takes are the very steps of the general loop."""

import numpy as np
import pytest

import ppl
import ppl.estimators
import ppl.training.fit
from ppl import Bernoulli, Normal
from ppl.errors import FitError
from ppl.training.batches import ArrayBatches
from ppl.training.compiled_run import CompiledRun, make_run
from ppl.training.trainers import Trainer

X = np.random.default_rng(0).normal(size=(103, 5))

OPTIMIZERS = [
    ppl.optim.SGD(ppl.optim.exponential(0.01, 0.9, 5)),
    ppl.optim.Momentum(0.01),
    ppl.optim.Momentum(0.01, nesterov=True),
    ppl.optim.AdaGrad(0.1),
    ppl.optim.Adam(0.01),
    ppl.optim.AdamW(0.01, weight_decay=0.1),
    ppl.optim.RMSProp(0.01),
    ppl.optim.LazyAdam(0.01),
]


@ppl.model
def rows(x):
    """A score function with a moving average, a path, a constrained parameter and a value that changes by step."""
    w = ppl.param("w", ppl.init.normal(0.3), shape=(5,))
    s = ppl.param("s", 0.5, constraint="positive")
    strength = ppl.hyper("strength", 1.0)
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=np.sum(x * w)))
        z = ppl.sample("z", Normal(b, s))
        ppl.cost("c", strength * (z - np.sum(x)) ** 2)


@ppl.model
def number():
    """No data: straight-line code."""
    z = ppl.sample("z", Normal(ppl.param("m", 3.0), 1.0))
    ppl.cost("c", z**2)


@ppl.model
def wide():
    """No data, more parameters than one thread updates."""
    z = ppl.sample("z", Normal(ppl.param("m", 0.5, shape=70_000), 1.0))
    ppl.cost("c", np.sum(np.cos(z)))


def general(optimizer):
    """The same optimizer in a form that compiled code does not know."""
    return {"*": optimizer}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_the_same_bits_as_step_by_step(optimizer, dtype):
    program = ppl.compile(rows, ppl.estimators.ScoreFunction("moving_average"), dtype=dtype, data=X)
    options = {"steps": 23, "batch_size": 20, "seed": 1, "hyper": {"strength": lambda t: 1.0 + 0.1 * t}}
    fast = ppl.fit(program, X, optimizer=optimizer, **options)
    slow = ppl.fit(program, X, optimizer=general(optimizer), **options)
    assert fast.state._flat.tobytes() == slow.state._flat.tobytes()
    assert fast.state._aux.tobytes() == slow.state._aux.tobytes()
    assert {k: v.tolist() for k, v in fast.history.items()} == {k: v.tolist() for k, v in slow.history.items()}
    assert fast.state.estimators == slow.state.estimators


@pytest.mark.parametrize("model", [number, wide], ids=lambda m: m.__name__)
def test_programs_without_data(model):
    program = ppl.compile(model)
    optimizer = ppl.optim.Adam(0.02)
    fast = ppl.fit(program, steps=30, optimizer=optimizer, seed=2)
    slow = ppl.fit(program, steps=30, optimizer=general(optimizer), seed=2)
    assert fast.state._flat.tobytes() == slow.state._flat.tobytes()
    again = ppl.fit(
        program, steps=20, optimizer=optimizer, state=ppl.fit(program, steps=10, optimizer=optimizer, seed=2).state
    )
    assert again.state._flat.tobytes() == fast.state._flat.tobytes()


def test_which_loop_is_taken():
    program = ppl.compile(rows, data=X)
    for optimizer, kind in ((ppl.optim.Adam(0.1), True), (ppl.optim.Adam(0.1, clip_norm=1.0), False)):
        source = ArrayBatches(program, (X,), 10, None)
        assert isinstance(make_run(program, optimizer, None, source, program.init(0), 0), CompiledRun) == kind


def test_a_step_that_overflows_ends_with_the_last_good_state():
    program = ppl.compile(number)
    with pytest.raises(FitError) as error:
        ppl.fit(program, steps=300, optimizer=ppl.optim.SGD(30.0))
    state = error.value.state
    assert np.isfinite(state.params["m"]) and state.step == error.value.step > 5
    slow = ppl.fit(program, steps=state.step, optimizer=general(ppl.optim.SGD(30.0)))
    assert slow.state._flat.tobytes() == state._flat.tobytes()


def _blocks(monkeypatch, program, seconds, **options):
    """The numbers of steps of the calls of compiled code in a run, where each step seems to take so many `seconds`."""
    taken, run, clock = [], Trainer.run, [0.0]

    def counted(self, live, steps, rates, hypers):
        taken.append(len(rates))
        clock[0] += seconds * len(rates)
        return run(self, live, steps, rates, hypers)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", counted)
        patch.setattr("ppl.training.compiled_run.time.monotonic", lambda: clock[0])
        ppl.fit(program, optimizer=ppl.optim.SGD(0.01), progress=False, **options)
    return [n for n in taken if n]


def test_a_run_begins_with_blocks_as_long_as_those_of_the_run_before(monkeypatch):
    program = ppl.compile(number)
    assert _blocks(monkeypatch, program, 1e-6, steps=100) == [1, 2, 4, 8, 16, 32, 37]
    assert _blocks(monkeypatch, program, 1e-6, steps=50) == [50]
    assert _blocks(monkeypatch, program, 1.0, steps=4) == [4], "a block that took long"
    assert _blocks(monkeypatch, program, 1.0, steps=4) == [2, 1, 1]


def test_short_runs_do_not_make_blocks_longer(monkeypatch):
    program = ppl.compile(number)
    for _ in range(20):
        _blocks(monkeypatch, program, 1e-6, steps=1)
    assert _blocks(monkeypatch, program, 1e-6, steps=100)[0] == 2
