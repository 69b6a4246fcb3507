"""Training on the CUDA simulator: `NUMBA_ENABLE_CUDASIM=1 python -m tests.training.simulated WHAT`.

WHAT is `rules`, all optimizers; `tables`, gradients of tables that are read by rows; `runs`, what `fit` can be asked
for; `stops`, steps that must not be taken; `captured`, what a block of steps does between its launches. These are
compared with the same run on the CPU. `threads` are several at once, each compared with the same run alone."""

import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import ppl
from ppl import optim
from ppl.errors import FitError
from ppl.estimators import ScoreFunction
from ppl.training import mutable_state
from ppl.training import on_device as resident
from ppl.training.optim.schedules import cosine

RNG = np.random.default_rng(0)

X = RNG.normal(size=(23, 3))

Y = X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=23)

WORDS = 0.1 * RNG.normal(size=(600, 8))

RULES = (
    optim.SGD(0.01),
    optim.AdaGrad(0.05),
    optim.Momentum(0.01, beta=0.8),
    optim.Momentum(0.01, nesterov=True),
    optim.Adam(0.05, b1=0.8, eps=1e-6),
    optim.AdamW(0.05, b2=0.99, weight_decay=0.2),
    optim.RMSProp(0.02, decay=0.9),
    optim.LazyAdam(0.02),
)


@ppl.model
def regression(x, y):
    w = ppl.param("w", np.zeros(3))
    with ppl.plate("data", x, y) as (x, y):
        ppl.sample("y", ppl.Normal(x @ w, 0.5), obs=y)


@ppl.model
def switches(x):
    logit = ppl.param("logit", np.zeros(3))
    temperature = ppl.hyper("temperature", 1.0)
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", ppl.Bernoulli(logits=logit + x))
        ppl.cost("distance", (b - temperature).sum() ** 2 + (x * b).sum())


@ppl.model
def words(center, others):
    near = ppl.param("near", WORDS)
    far = ppl.param("far", 0.1 * np.ones((600, 8)))
    shift = ppl.param("shift", 0.0)
    with ppl.plate("data", center, others) as (center, others):
        scores = far[others] @ near[center] + shift
        ppl.cost("contrast", (scores - 1.0) ** 2 @ np.array([1.0, -0.1, -0.2]))


@ppl.model
def matrix():
    w = ppl.param("w", 0.1 * np.ones((70, 70)))
    z = ppl.sample("z", ppl.Normal(w, 1.0))
    ppl.cost("energy", (z**2).sum() + (w**2).sum())


@ppl.model
def overflowing():
    w = ppl.param("w", np.array(1.0))
    ppl.cost("growing", -np.exp(w))


def both(objective, *data, estimators="auto", dtype="float64", tolerance=1e-9, **options):
    """Fit on the CPU and on the device; compare, and return what the device has found."""
    fits = []
    for target in ("cpu", "cuda"):
        program = ppl.compile(objective, estimators, dtype=dtype, target=target)
        fits.append(ppl.fit(program, *data, progress=False, **options))
    compare(*fits, tolerance)
    return fits[1]


def compare(a, b, tolerance):
    """Histories, parameters, auxiliary variables and optimizers' vectors are equal."""
    assert set(a.history) == set(b.history) and a.state.step == b.state.step
    for key in a.history:
        np.testing.assert_allclose(b.history[key], a.history[key], rtol=tolerance, err_msg=key)
    slots = [name for name in a.state.opt if name != "t"]
    assert a.state.opt["t"] == b.state.opt["t"]
    vectors = [(f.state._flat, f.state._aux, *(f.state.opt[name] for name in slots)) for f in (a, b)]
    for mine, theirs in zip(*vectors, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=tolerance, atol=tolerance)


def run_rules() -> None:
    """Every rule, with few parameters (one block), and with many; in both precisions."""
    given = {"epochs": 2, "batch_size": 10}
    for optimizer in RULES:
        both(ppl.likelihood(regression), X, Y, optimizer=optimizer, **given)
        print(type(optimizer).__name__, flush=True)
    both(ppl.likelihood(regression), X, Y, optimizer=RULES[-1], dtype="float32", tolerance=2e-4, **given)
    both(matrix, optimizer=RULES[-1], steps=2, dtype="float32", tolerance=2e-4)


def run_tables() -> None:
    """Rows that are named once, often, and by several terms, in batches of two sizes."""
    center, others = RNG.integers(0, 600, 47), RNG.integers(0, 600, (47, 3))
    center[:20], others[5:9], others[11, 2] = 7, 599, 0
    for optimizer in (optim.SGD(0.05), optim.AdaGrad(0.1), optim.Adam(0.01)):
        fit = both(words, center, others, optimizer=optimizer, steps=4, batch_size=30)
        moved = np.any(fit.params["far"] != 0.1, axis=1)
        assert set(np.flatnonzero(moved)) <= set(others.ravel())
        print(type(optimizer).__name__, flush=True)


def run_runs() -> None:
    """Whole data, minibatches, streams, schedules, hyperparameters, validation, callbacks and checkpoints."""
    objective, adam = ppl.likelihood(regression), optim.Adam(cosine(0.1, 0.01, 20))
    both(objective, X, Y, optimizer=adam, steps=5, validation=(X, Y))
    both(objective, X, Y, optimizer=adam, epochs=2, batch_size=10, validation=(X[:4], Y[:4]), seed=3)
    print("data", flush=True)
    score, hyper = ScoreFunction("moving_average"), {"temperature": lambda step: 1.0 + 0.1 * step}
    both(switches, X, estimators=score, optimizer=optim.SGD(0.02), epochs=2, batch_size=6, hyper=hyper)
    print("estimators with memory", flush=True)
    batches = [(X[i : i + 6], Y[i : i + 6]) for i in range(0, 18, 6)]
    both(objective, batches=batches, total_rows=18, optimizer=adam, steps=3)
    seen = []
    both(
        objective, X, Y, optimizer=adam, steps=9, callback=lambda t, state, _: seen.append(state._flat.copy()) or t == 4
    )
    assert len(seen) == 8 and len({x.tobytes() for x in seen[4:]}) == 4
    print("streams and callbacks", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        program = ppl.compile(objective, dtype="float64", target="cuda")
        given = {"optimizer": adam, "batch_size": 5, "progress": False}
        whole = ppl.fit(program, X, Y, epochs=4, **given)
        path = Path(folder) / "run.npz"
        ppl.fit(program, X, Y, epochs=2, checkpoint=path, **given)
        resumed = ppl.fit(program, X, Y, epochs=4, checkpoint=path, **given)
        assert resumed.state._flat.tobytes() == whole.state._flat.tobytes()
        np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])
    print("checkpoints", flush=True)


def run_stops() -> None:
    """A step that is not finite is not taken, and the error is that of the CPU."""
    found = []
    for target in ("cpu", "cuda"):
        program = ppl.compile(overflowing, dtype="float64", target=target)
        try:
            ppl.fit(program, steps=200, optimizer=optim.SGD(0.5), progress=False)
        except FitError as error:
            found.append(error)
    assert str(found[0]) == str(found[1])
    compare(found[0].fit, found[1].fit, 1e-9)
    print(found[1], flush=True)


def run_captured() -> None:
    """Replays of a step allocate, copy and wait for nothing; they are passed vectors that are kept, and numbers."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    program = ppl.compile(ppl.likelihood(regression), dtype="float64", target="cuda")
    plans, counts, calls = [], [], []
    original = resident.StepLaunches._replay

    def watched(plan, count):
        original(plan, 1)
        plans.append(plan)
        counts.append(count)
        before = [(k, s, list(map(id, a))) for k, s, a in plan.recorder.launches]
        with forbidden(calls):
            for _ in range(count - 1):
                plan.repeated.replay()
        assert before == [(k, s, list(map(id, a))) for k, s, a in plan.recorder.launches]

    resident.StepLaunches._replay, mutable_state.BLOCK_SECONDS = watched, 1e9
    fit = ppl.fit(program, X, Y, optimizer=optim.Adam(0.05), epochs=8, batch_size=5, progress=False)
    resident.StepLaunches._replay = original
    again = ppl.fit(program, X, Y, optimizer=optim.Adam(0.05), epochs=8, batch_size=5, progress=False)
    compare(again, fit, 0.0)
    assert max(counts) > 2 and not calls, calls
    for plan in plans:
        kept = [x for owner in (plan, plan.device_state, plan.work) for x in vars(owner).values()]
        kept += [*plan.batch, *plan.device_state.data]
        places = [_place(x) for x in kept if isinstance(x, FakeCUDAArray)]
        for kernel, _, arguments in plan.recorder.launches:
            for x in arguments:
                assert isinstance(x, int | np.integer | FakeCUDAArray), (kernel, x)
                if isinstance(x, FakeCUDAArray) and x.size:
                    start, stop = _place(x)
                    assert any(a <= start and stop <= b for a, b in places), kernel
        print(len(plan.recorder.launches), "launches", flush=True)
    assert len(plans[0].recorder.launches) == 6  # two arrays to gather, three launches of the program, one update


def run_threads() -> None:
    """Host threads that train at the same time get what each gets alone."""
    program = ppl.compile(ppl.likelihood(regression), dtype="float64", data=(X, Y), target="cuda")

    def weights(rows):
        return ppl.fit(program, X, Y, steps=4, batch_size=rows, optimizer=optim.Adam(0.1), progress=False).params["w"]

    alone = [weights(rows) for rows in (2, 3, 4)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(weights, (2, 3, 4)))
    np.testing.assert_array_equal(together, alone)
    print(len(together), "threads")


def _place(x):
    start = x._ary.__array_interface__["data"][0]
    return start, start + x._ary.nbytes


class forbidden:
    """Notes calls that allocate, copy or wait."""

    def __init__(self, calls):
        self.calls, self.kept = calls, []

    def __enter__(self):
        import numba.cuda
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        for owner, names in (
            (numba.cuda, ("to_device", "device_array", "synchronize", "pinned_array", "mapped_array")),
            (FakeCUDAArray, ("copy_to_host", "copy_to_device")),
        ):
            for name in names:
                self.kept.append((owner, name, getattr(owner, name)))
                setattr(owner, name, self._noting(name))

    def _noting(self, name):
        return lambda *args, **options: self.calls.append(name)

    def __exit__(self, *_):
        for owner, name, function in self.kept:
            setattr(owner, name, function)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    runs = {"rules": run_rules, "tables": run_tables, "runs": run_runs, "stops": run_stops}
    {**runs, "captured": run_captured, "threads": run_threads}[sys.argv[1]]()
