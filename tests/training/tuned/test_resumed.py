"""Runs with `tune=` that are interrupted anywhere, and replayed: the bits of the whole run."""

import itertools
import pickle
import shutil

import numpy as np
import pytest

import ppl
from ppl.choosing import tuner
from ppl.errors import DataError, MissingFileError
from ppl.estimators import Pathwise, ScoreFunction
from tests.training.tuned.models import AVERAGE, X, given, nothing_is_measured, rows, same, table, walker, well

OPTIMIZERS = {"in place": ppl.optim.AdaGrad(0.02), "step by step": {"*": ppl.optim.Adam(0.02)}}


def cycle(monkeypatch):
    """Every comparison moves on to another member."""
    monkeypatch.setattr(
        tuner,
        "best_configuration",
        lambda errors, seconds, current, may: (current + 1 + int(errors.sum() * 1e6) % 2) % len(may),
    )


def stream(epoch, start):
    """The rows in batches, in another order each time."""
    order = np.random.default_rng(epoch).permutation(len(X))
    return ((X[order[i : i + 20]],) for i in range(20 * start, len(X), 20))


TABLE = np.arange(103) * 7 % 60, X[:, 0]

PROGRAM = {"z": Pathwise(), "b": AVERAGE}

WAYS = {
    "a table": (lambda: ppl.compile(table, data=TABLE), TABLE, {"batch_size": 20}),
    "carried values": (lambda: ppl.compile(walker), (), {}),
    "minibatches": (lambda: ppl.compile(rows, PROGRAM, data=X), (X,), {"batch_size": 20}),
    "all rows": (lambda: ppl.compile(rows, PROGRAM, data=X), (X,), {}),
    "a stream": (lambda: ppl.compile(rows, PROGRAM, data=X), (), {"batches": stream, "total_rows": len(X)}),
}


@pytest.mark.parametrize(
    ("loop", "way"),
    [*(("in place", way) for way in WAYS), ("step by step", "minibatches"), ("step by step", "a stream")],
)
def test_a_run_taken_up_anywhere_is_the_whole_run(way, loop, monkeypatch, tmp_path):
    """From checkpoints right before and right behind decisions, and between them; the callback stops others."""
    given(monkeypatch)
    cycle(monkeypatch)
    make, data, more = WAYS[way]
    options = {"steps": 170, "optimizer": OPTIMIZERS[loop], **more, "tune": True}
    kept = ppl.Checkpoints(tmp_path / "run.npz", every=13, keep=100)
    whole = ppl.fit(make(), *data, **options, checkpoint=kept)
    assert whole.choices.steps.tolist() == [0, 40, 80, 120, 160]
    assert len(set(whole.choices.taken)) > 1
    for step in (39, 52, 156):
        path = tmp_path / f"from{step}.npz"
        shutil.copy(tmp_path / f"run.{step}.npz", path)
        same(whole, ppl.fit(make(), *data, **options, checkpoint=path))
    for step in (40, 81):
        path = tmp_path / f"stopped{step}.npz"
        stopped = ppl.fit(make(), *data, **options, checkpoint=path, callback=lambda t, *_, step=step: t == step)
        assert len(stopped.choices) == -(-step // 40)
        same(whole, ppl.fit(make(), *data, **options, checkpoint=path))
        assert ppl.Choices.load(path) == whole.choices


@pytest.mark.parametrize("way", WAYS)
def test_a_replay_measures_nothing_and_gives_the_same_bits(way, monkeypatch, tmp_path):
    given(monkeypatch)
    cycle(monkeypatch)
    make, data, more = WAYS[way]
    options = {"steps": 170, "optimizer": OPTIMIZERS["in place"], **more}
    whole = ppl.fit(make(), *data, **options, tune=True, checkpoint=tmp_path / "run.npz")
    nothing_is_measured(monkeypatch)
    path = tmp_path / "replay.npz"
    for choices in (whole.choices, ppl.Choices.load(tmp_path / "run.npz"), pickle.loads(pickle.dumps(whole.choices))):
        same(whole, ppl.fit(make(), *data, **options, tune=choices))
    stopped = ppl.fit(make(), *data, **options, tune=choices, checkpoint=path, callback=lambda t, *_: t == 100)
    assert stopped.choices == whole.choices.first(3)
    same(whole, ppl.fit(make(), *data, **options, tune=choices, checkpoint=path))


def test_a_comparison_that_is_interrupted_is_made_when_the_run_goes_on(monkeypatch, tmp_path):
    given(monkeypatch)
    cycle(monkeypatch)
    make, data, more = WAYS["minibatches"]
    options = {"steps": 130, "optimizer": OPTIMIZERS["in place"], **more, "tune": True}
    whole, real = ppl.fit(make(), *data, **options), tuner.measure_errors
    for last in (0, 40, 80):

        def interrupted(probe, programs, states, biased, last=last):
            if states[0].step == last:
                raise KeyboardInterrupt
            return real(probe, programs, states, biased)

        monkeypatch.setattr(tuner, "measure_errors", interrupted)
        stopped = ppl.fit(make(), *data, **options, checkpoint=tmp_path / f"{last}.npz")
        assert stopped.state.step == last and (stopped.choices is None) == (last == 0)
        monkeypatch.setattr(tuner, "measure_errors", real)
        same(whole, ppl.fit(make(), *data, **options, checkpoint=tmp_path / f"{last}.npz"))


def test_both_loops_take_the_same_choices(monkeypatch):
    given(monkeypatch)
    program = ppl.compile(rows, PROGRAM, data=X)
    optimizers = ppl.optim.Adam(0.02), OPTIMIZERS["step by step"]
    fits = [ppl.fit(program, X, steps=130, batch_size=20, optimizer=o, tune=True) for o in optimizers]
    assert len(fits[0].choices) == 4
    same(*fits)


def test_a_program_that_is_taken_again_begins_with_its_own_variables(monkeypatch):
    """What a learned baseline has become is kept while another estimator trains."""
    learned = ScoreFunction("learned", width=2)
    given(monkeypatch, [{"x": learned}])
    order = itertools.cycle([1, 0])
    monkeypatch.setattr(tuner, "best_configuration", lambda *_: next(order))
    program = ppl.compile(well)
    kept = []
    real = tuner.Tuner.take
    monkeypatch.setattr(tuner.Tuner, "take", lambda self, found: (real(self, found), kept.append(dict(self.kept))))
    ppl.fit(program, steps=130, optimizer=ppl.optim.SGD(1e-4), tune=True)
    counts = [int(k[1][-1]) if 1 in k else None for k in kept]
    assert set(kept[0]) == {0} and set(kept[1]) == {0, 1} and counts[1] is not None
    assert not np.array_equal(kept[1][1], kept[3][1])
    count = [slot for slot, _ in ppl.compile(well, learned).prepare().aux_layout.shapes]
    place = next(s for n, s, _ in ppl.compile(well, learned).prepare().aux_layout.slices if n.endswith(".count"))
    assert "x/baseline" in count
    assert kept[1][1][place] == 32 + 40 and kept[3][1][place] == 2 * (32 + 40)


def test_what_does_not_fit_a_checkpoint_is_refused(monkeypatch, tmp_path):
    given(monkeypatch)
    path, plain, options = tmp_path / "run.npz", tmp_path / "plain.npz", {"steps": 60, "optimizer": ppl.optim.Adam(0.1)}
    program = ppl.compile(well)
    whole = ppl.fit(program, **options, tune=True, checkpoint=path)
    ppl.fit(program, **options, checkpoint=plain)
    with pytest.raises(DataError, match="continue with tune=True"):
        ppl.fit(program, **options, checkpoint=path)
    with pytest.raises(DataError, match="did not choose its estimators"):
        ppl.fit(program, **options, tune=True, checkpoint=plain)
    with pytest.raises(DataError, match="began with a program of x: Pathwise"):
        ppl.fit(ppl.compile(well, ScoreFunction()), **options, tune=True, checkpoint=path)
    with pytest.raises(DataError, match="has taken other choices"):
        ppl.fit(program, **options, tune=ppl.fit(program, **options, seed=3, tune=True).choices, checkpoint=path)
    with pytest.raises(DataError, match="not a checkpoint of a run with tune="):
        ppl.Choices.load(plain)
    with pytest.raises(MissingFileError):
        ppl.Choices.load(tmp_path / "none.npz")
    content = dict(np.load(path))
    for name, value in {"tune/taken": np.array([7, 7]), "tune/seconds": np.zeros(3), "tune/variance": np.zeros(2),
                        "tune/family": np.zeros(4, np.uint8)}.items():  # fmt: skip
        np.savez(tmp_path / "damaged.npz", **{**content, name: value})
        with pytest.raises(DataError, match="damaged"):
            ppl.fit(program, **options, tune=True, checkpoint=tmp_path / "damaged.npz")
    assert len(whole.choices) == 2
