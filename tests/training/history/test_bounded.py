"""Bounded histories: means over windows in memory, every entry in a file, and both the same after a resume."""

import functools
import os

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, MissingFileError, OptionError
from ppl.training import history as records
from ppl.training.history import WindowMeans
from ppl.training.optim import SGD, Adam
from tests.training.sweeps.builds import X, program

fit = functools.partial(ppl.fit, progress=False)

WAYS = {"in place": Adam(0.05), "step by step": {"*": Adam(0.05)}}


@pytest.mark.parametrize("cuts", [(), (1,), (5, 6, 40), tuple(range(1, 103, 7))])
def test_windows_are_means_however_records_come(cuts):
    """After 103 records and at most 8 windows: 16 records each, as many as fit."""
    table = np.column_stack([np.arange(1.0, 104), np.random.default_rng(0).normal(size=(103, 2))])
    kept = WindowMeans(8, 3)
    for part in np.split(table, cuts):
        kept.add(part)
    found = kept.records
    assert kept.stride == 16 and len(found) == 7
    for i, row in enumerate(found):
        window = table[16 * i : 16 * i + 16]
        assert row[0] == window[-1, 0]
        np.testing.assert_allclose(row[1:], window[:, 1:].mean(0), rtol=1e-13)
    whole = WindowMeans(8, 3)
    whole.add(table)
    assert whole.records.tobytes() == found.tobytes()


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(records, "DRAIN_EVERY", 3)


@pytest.mark.parametrize("way", WAYS)
def test_the_file_has_every_entry_and_memory_its_means(way, tmp_path, often):
    options = {"epochs": 9, "batch_size": 5, "optimizer": WAYS[way], "seed": 2, "validation": X[:4]}
    whole, path = fit(program(), X, **options), tmp_path / "é.csv"
    bounded = fit(program(), X, history=(path, 4), **options)
    read = ppl.load_history(path)
    assert read.keys() == whole.history.keys()
    for key, values in whole.history.items():
        assert values.tobytes() == read[key].tobytes() and values.dtype == read[key].dtype, key
    assert bounded.history["step"].tolist() == [8, 16, 24, 27]
    np.testing.assert_allclose(bounded.history["loss"][1], whole.history["loss"][8:16].mean(), rtol=1e-13)
    assert bounded.history["validation_step"].tolist() == [12, 24, 27]
    assert bounded.state._flat.tobytes() == whole.state._flat.tobytes()
    assert "4 means" in repr(bounded)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stop", [4, 12])
def test_a_run_that_goes_on_has_the_same_file(way, stop, tmp_path, often):
    options = {"epochs": 9, "batch_size": 5, "optimizer": WAYS[way], "seed": 2}
    whole = fit(program(), X, history=(tmp_path / "whole.csv", 4), **options)
    run, path = tmp_path / "run.npz", tmp_path / "part.csv"
    fit(program(), X, history=(path, 4), checkpoint=run, callback=lambda step, *_: step == stop, **options)
    with open(path, "a") as file:
        file.write("99,1.0,")  # what a killed process was writing
    found = fit(program(), X, history=(path, 4), checkpoint=run, **options)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    for key, values in whole.history.items():
        assert values.tobytes() == found.history[key].tobytes(), key


def test_a_history_in_memory_becomes_one_in_a_file(tmp_path, often):
    options = {"batch_size": 5, "optimizer": SGD(0.1), "checkpoint": tmp_path / "run.npz"}
    fit(program(), X, steps=7, **options)
    fit(program(), X, steps=11, history=tmp_path / "h.csv", **options)
    whole = fit(program(), X, steps=11, **options | {"checkpoint": None})
    assert ppl.load_history(tmp_path / "h.csv")["loss"].tobytes() == whole.history["loss"].tobytes()


def test_another_way_of_recording_is_refused(tmp_path, often):
    options = {"batch_size": 5, "optimizer": SGD(0.1), "checkpoint": tmp_path / "run.npz"}
    path = tmp_path / "h.csv"
    fit(program(), X, steps=7, history=(path, 4), **options)
    for history in (None, 4, (path, 6)):
        with pytest.raises(DataError, match="history"):
            fit(program(), X, steps=9, history=history, **options)
    path.write_text("step,loss,validation\n1,2.0,\n")
    with pytest.raises(DataError, match="ends earlier"):
        fit(program(), X, steps=9, history=(path, 4), **options)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        fit(program(), X, steps=9, history=(path, 4), **options)


@pytest.mark.parametrize("wrong", [1, True, 3.5, ("x", 1), ("x", 2, 3), ""])
def test_wrong_options(wrong):
    with pytest.raises(OptionError, match="history="):
        fit(program(), X, steps=1, optimizer=SGD(0.1), history=wrong)


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingFileError):
        ppl.load_history(tmp_path / "none.csv")
    for text in ("", "a,b\n", "step,loss,validation\n1,x,\n", "step,loss,validation\n1,2\n"):
        (tmp_path / "h.csv").write_text(text)
        with pytest.raises(DataError):
            ppl.load_history(tmp_path / "h.csv")


def test_a_full_disk_is_a_warning_until_too_much_waits(tmp_path, often, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    flush = records.HistoryFile.flush
    monkeypatch.setattr(records.HistoryFile, "flush", full)
    path, calls = tmp_path / "h.csv", []

    def callback(step, state, metrics):
        calls.append(step)
        if step == 7:
            monkeypatch.setattr(records.HistoryFile, "flush", flush)

    with pytest.warns(RuntimeWarning, match="No space left"):
        found = fit(program(), X, steps=9, batch_size=5, optimizer=SGD(0.1), history=path, callback=callback)
    assert ppl.load_history(path)["loss"].tolist() == found.history["loss"].tolist() and len(calls) == 9
    monkeypatch.setattr(records.HistoryFile, "flush", full)
    monkeypatch.setattr(records, "MOST_UNWRITTEN_BYTES", 0)
    with pytest.raises(OSError, match="No space left"):
        fit(program(), X, steps=9, batch_size=5, optimizer=SGD(0.1), history=tmp_path / "i.csv")


RSS = """
import os, sys
import numpy as np
import ppl
from tests.training.sweeps.builds import X, program

def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

seen = []
def watch(step, state, metrics):
    if step in (20_000, 200_000):
        seen.append(memory())
watch.every = 20_000
way, folder = sys.argv[1:]
data = {"batches": lambda: iter([X] * 500), "prefetch": 2} if way == "stream" else {}
ppl.fit(program(), *(() if data else (X,)), steps=200_000, optimizer=ppl.optim.SGD(0.01), history=folder + "/h.csv",
        callback=watch,
        checkpoint=ppl.Checkpoints(folder + "/run.npz", 10_000, keep=3, best=True), progress=False,
        validation=X[:3] if data else None, **data)
print(seen[1] - seen[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("way", ["rows", "stream"])
def test_memory_does_not_grow_with_the_steps(way, tmp_path):
    """Ten times the steps, less than 4 MB more: the lists of 180,000 steps alone would take 20."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", RSS, way, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 4.0
    assert len(ppl.load_history(tmp_path / "h.csv")["step"]) == 200_000


@pytest.mark.parametrize("limit", [2, 3, 7])
def test_no_more_entries_are_kept_than_asked_for(limit, often):
    found = fit(program(), X, steps=100, optimizer=SGD(0.05), history=limit)
    assert 1 < len(found.history["step"]) <= limit
