"""Streams of `ppl.fit`: passes, places, reading ahead, and what is refused; NumPy's descent as the reference."""

import functools
import itertools
import threading
import time
import traceback

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, OptionError
from ppl.training.optim import SGD, Adam
from tests.training.sweeps.builds import X, program

fit = functools.partial(ppl.fit, progress=False)
CUTS = (0, 5, 9, 12)
PARTS = [X[a:b] for a, b in itertools.pairwise(CUTS)]


def _descended(batches, lr=0.1):
    """Descent on the mean squared distance, batch by batch."""
    mu = np.zeros(2)
    for rows in batches:
        mu = mu - lr * 2 * (mu - rows).mean(0)
    return mu


def _reading():
    return [t for t in threading.enumerate() if t.name == "ppl batches"]


def _mu(found):
    return found.state.params["mu"]


# --- passes and places -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [None, 1, 3])
@pytest.mark.parametrize("optimizer", [SGD(0.1), {"*": SGD(0.1)}], ids=["in place", "step by step"])
def test_batches_are_taken_in_order(prefetch, optimizer):
    found = fit(program(), batches=PARTS, steps=5, optimizer=optimizer, prefetch=prefetch)
    np.testing.assert_allclose(_mu(found), _descended([*PARTS, *PARTS[:2]]), rtol=1e-12)
    assert not _reading()


def _shuffled(calls):
    def source(epoch, start, seed):
        calls.append((epoch, start, seed))
        order = np.random.default_rng([seed, epoch]).permutation(12)
        for i in range(start, 3):
            yield X[order[CUTS[i] : CUTS[i + 1]]]

    return source


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 5, 6])
def test_a_resumed_run_asks_for_the_place_where_it_was(prefetch, stop, tmp_path):
    options = {"epochs": 3, "optimizer": Adam(0.1), "seed": 7, "validation": X[:3], "prefetch": prefetch}
    whole = fit(program(), batches=_shuffled([]), **options)
    assert whole.state.step == 9
    calls, path = [], tmp_path / "run.npz"
    fit(program(), batches=_shuffled([]), checkpoint=path, callback=lambda step, *_: step == stop, **options)
    resumed = fit(program(), batches=_shuffled(calls), checkpoint=path, **options)
    assert _mu(resumed).tobytes() == _mu(whole).tobytes()
    for key in whole.history if stop % 3 == 0 else ("step", "loss"):  # a run validates after its last step, too
        values = whole.history[key]
        assert values.tobytes() == resumed.history[key].tobytes(), key
    assert calls[0] == (0, 0, 7), "the program is traced with the first batch"
    assert calls[1] == ((stop - 1) // 3, (stop - 1) % 3 + 1, 7)


@pytest.mark.parametrize("stop", [2, 3, 5, 7])
def test_a_function_that_counts_its_passes_goes_on_with_them(stop, tmp_path):
    """It does not ask for the number of the pass."""

    def counting():
        rng = np.random.default_rng(3)

        def source():
            for part in rng.permutation(3):
                yield PARTS[part] + rng.normal(size=np.shape(PARTS[part]))

        return source

    options = {"epochs": 3, "optimizer": Adam(0.1)}
    whole, path = fit(program(), batches=counting(), **options), tmp_path / "run.npz"
    fit(program(), batches=counting(), checkpoint=path, callback=lambda step, *_: step == stop, **options)
    resumed = fit(program(), batches=counting(), checkpoint=path, **options)
    assert _mu(resumed).tobytes() == _mu(whole).tobytes()


@pytest.mark.parametrize("more", [{"accumulate": 3}, {"prefetch": 2}], ids=str)
def test_a_reader_may_fill_the_same_arrays_again(more):
    def reused():
        buffer = np.empty((4, *X.shape[1:]))
        for i in range(3):
            buffer[:] = X[4 * i : 4 * i + 4]
            yield buffer

    fresh = [X[4 * i : 4 * i + 4] for i in range(3)]
    options = {"epochs": 4, "optimizer": SGD(0.1), **more}
    found, wanted = (fit(program(), batches=batches, **options) for batches in (reused, fresh))
    assert _mu(found).tobytes() == _mu(wanted).tobytes()


def test_a_list_is_not_gone_through_again_from_the_beginning(tmp_path):
    class Logged(list):
        used = 0

        def __iter__(self):
            for item in super().__iter__():
                Logged.used += 1
                yield item

    path = tmp_path / "run.npz"
    fit(program(), batches=Logged(PARTS), steps=7, optimizer=SGD(0.1), checkpoint=path)
    Logged.used = 0
    found = fit(program(), batches=Logged(PARTS), steps=9, optimizer=SGD(0.1), checkpoint=path)
    np.testing.assert_allclose(_mu(found), _descended(PARTS * 3), rtol=1e-12)
    assert Logged.used == 1 + 3


def test_an_iterator_goes_on_behind_what_was_used(tmp_path):
    path = tmp_path / "run.npz"
    fit(program(), batches=iter(PARTS), steps=1, optimizer=SGD(0.1), checkpoint=path)
    found = fit(program(), batches=iter(PARTS), steps=3, optimizer=SGD(0.1), checkpoint=path)
    np.testing.assert_allclose(_mu(found), _descended(PARTS), rtol=1e-12)
    with pytest.raises(DataError, match="ended before batch 3 of pass 0"):
        fit(program(), batches=iter(PARTS[:2]), steps=4, optimizer=SGD(0.1), checkpoint=path)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stream_that_ends_early_is_a_warning(prefetch):
    with pytest.warns(UserWarning, match="ended after 3 steps"):
        found = fit(program(), batches=iter(PARTS), steps=9, optimizer=SGD(0.1), prefetch=prefetch)
    assert found.state.step == 3 and not _reading()


# --- the thread ------------------------------------------------------------------------------------------


def test_a_thread_reads_no_further_than_it_is_told():
    taken = []

    def source():
        for i in range(100):
            taken.append(i)
            yield X[:4]

    def slow(step, state, metrics):
        time.sleep(0.02)
        assert len(taken) <= step + 3

    fit(program(), batches=source, steps=8, optimizer=SGD(0.1), prefetch=2, callback=slow)
    assert 9 <= len(taken) <= 11 and not _reading()


def _failing():
    yield X[:4]
    yield X[:4]
    raise RuntimeError("the disk is gone")


@pytest.mark.parametrize("prefetch", [0, 3])
def test_what_a_reader_raises_reaches_the_caller(prefetch, tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(RuntimeError, match="the disk is gone") as caught:
        fit(program(), batches=_failing, steps=9, optimizer=SGD(0.1), prefetch=prefetch, checkpoint=path)
    assert "_failing" in [frame.name for frame in traceback.extract_tb(caught.tb)]
    assert ppl.load_state(path).step == 2 and not _reading()


# --- what is refused -------------------------------------------------------------------------------------


@ppl.model
def sized(x, k):
    """A parameter as long as a row, and whole numbers."""
    mu = ppl.param("mu", np.zeros(x.shape[1:]))
    with ppl.plate("data", x, k) as (x, k):
        ppl.cost("square", k * np.sum((mu - x) ** 2))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ((X[:3, :1], np.ones(3, int)), "batch 1 of pass 0 has arrays of shapes"),
        ((X[:3], np.ones(3)), "batch 1 of pass 0: argument 'k' holds float64"),
        ((X[:3], np.ones(2, int)), "rows"),
        ((X[:3],), "a batch: 1 given"),
        ((X[:0], np.ones(0, int)), "empty"),
        ((np.full((3, 2), np.nan), np.ones(3, int)), None),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_wrong_batches(second, words, prefetch):
    first = (X[:3], np.ones(3, int))
    batches = [first, second, first]
    with pytest.raises(ppl.errors.PplError, match=words):
        fit(ppl.compile(sized), batches=batches, steps=3, optimizer=SGD(0.1), prefetch=prefetch)
    assert not _reading()


def test_whole_numbers_for_an_argument_of_floats():
    ints = [np.arange(8).reshape(4, 2)]
    found = fit(program(), batches=[PARTS[0], *ints], steps=2, optimizer=SGD(0.1))
    np.testing.assert_allclose(_mu(found), _descended([PARTS[0], *ints]), rtol=1e-12)


def test_wrong_options():
    with pytest.raises(OptionError, match="argument 'rows'"):
        fit(program(), batches=lambda rows: PARTS, steps=1, optimizer=SGD(0.1))
    with pytest.raises(OptionError, match="memory-mapped"):
        fit(program(), X, steps=1, optimizer=SGD(0.1), prefetch=2)
    for name in ("accumulate", "prefetch"):
        with pytest.raises(OptionError, match=name):
            fit(program(), batches=PARTS, steps=1, optimizer=SGD(0.1), **{name: -1})


@pytest.mark.parametrize("prefetch", [None, 2])
def test_a_batch_that_does_not_fit_is_named(prefetch):
    for bad in (np.zeros((5, 3)), np.zeros((0, 2))):
        with pytest.raises(DataError, match="batch 2 of pass 0: "):
            fit(program(), batches=[X[:5], X[5:10], bad], steps=5, optimizer=SGD(0.1), prefetch=prefetch)
