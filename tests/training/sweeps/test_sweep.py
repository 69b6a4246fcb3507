"""`ppl.sweep`: rows, what is skipped, what goes on, and what is refused."""

import csv
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, MissingFileError, OptionError
from ppl.sweeps import sweep as module
from ppl.sweeps.grid import plan_runs
from ppl.sweeps.runs import RunFolder
from ppl.training.batches import epoch_permutation
from tests.training.sweeps.builds import X, descend, killed_once, logged, table, threads


def _sweep(build, grid, path, backend="serial", **options):
    return ppl.sweep(build, grid, backend, path, **options)


def _grid(folder, **settings):
    return {**settings, "folder": str(folder)}


# --- rows and files --------------------------------------------------------------------------------------


def test_a_failed_run_is_reported_and_the_others_go_on(tmp_path):
    grid = _grid(tmp_path, a=[1, 2], b=["good", "bad"])
    found = _sweep(table, grid, tmp_path / "out")
    assert [row["status"] for row in found] == ["done", "failed"] * 2
    assert [row.get("double") for row in found] == [2, None, 4, None]
    assert found[1]["error"] == "ValueError: no 1 – ü" and len(found.failed) == 2
    for text in (found.tracebacks[found[1]["run"]], (tmp_path / f"out/runs/{found[1]['run']}/error.txt").read_text()):
        assert "in table" in text and "no 1 – ü" in text
    assert "2 done, 2 failed" in str(found) and "no 1 – ü" in str(found) and "error.txt" in str(found)
    with open(tmp_path / "out/table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["third"]) for row in rows if row["third"]] == [1 / 3, 2 / 3]
    assert [row["text"] for row in rows] == ["goodé", "", "goodé", ""]
    assert list(rows[0])[:5] == ["run", "a", "b", "folder", "status"]


def test_finished_runs_are_skipped_and_failed_ones_tried_again(tmp_path):
    grid, out = _grid(tmp_path, a=[1, 2], b=["good", "bad"]), tmp_path / "out"
    _sweep(table, grid, out)
    (tmp_path / "mended").touch()
    assert [r["status"] for r in _sweep(table, grid, out, retry=False)] == ["done", "failed"] * 2
    assert len(logged(tmp_path)) == 4
    again = _sweep(table, grid, out)
    assert [row["status"] for row in again] == ["done"] * 4 and again[1]["attempts"] == 2
    assert not list(out.rglob("error.txt")) and not again.tracebacks
    assert logged(tmp_path)[4:] == ["1bad", "2bad"]
    _sweep(table, grid, out)
    assert len(logged(tmp_path)) == 6


def test_a_grid_that_has_grown_runs_what_is_new_and_the_file_keeps_all(tmp_path):
    out = tmp_path / "out"
    _sweep(table, _grid(tmp_path, a=[1, 2], b="x"), out)
    found = _sweep(table, _grid(tmp_path, a=[3, 2], b="x"), out)
    assert [row["a"] for row in found] == [3, 2] and logged(tmp_path) == ["1x", "2x", "3x"]
    with open(out / "table.csv", encoding="utf-8", newline="") as file:
        assert [row["a"] for row in csv.DictReader(file)] == ["3", "2", "1"]


def test_a_row_that_cannot_be_read_is_worked_on_again(tmp_path):
    grid, out = _grid(tmp_path, a=1, b="x"), tmp_path / "out"
    key = _sweep(table, grid, out)[0]["run"]
    path = out / "runs" / key / "row.json"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        assert _sweep(table, grid, out)[0]["status"] == "done"
    assert len(logged(tmp_path)) == 2


def test_parquet_holds_the_same_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    grid = _grid(tmp_path, a=[1, 2], b=["good", "bad"])
    found = _sweep(table, grid, tmp_path / "out", table="parquet")
    read = parquet.read_table(tmp_path / "out/table.parquet").to_pylist()
    assert read == [{name: row.get(name) for name in found.columns} for row in found]


def test_nothing_is_kept_without_a_folder(tmp_path):
    found = _sweep(table, _grid(tmp_path, a=1, b="bad"), None)
    assert found.folder is None and "no 1" in found.tracebacks[found[0]["run"]]
    with pytest.raises(OptionError, match="resume="):
        found.state(0)


# --- training --------------------------------------------------------------------------------------------


def _descended(lr, seed, steps=6):
    """Stochastic gradient descent on the mean square, in NumPy."""
    mu, losses, order = np.zeros(2), [], []
    for step in range(steps):
        epoch, i = divmod(step, 3)
        order = epoch_permutation(seed, epoch, 12)
        rows = X[order[5 * i : 5 * i + 5]]
        losses.append(((mu - rows) ** 2).sum(1).mean())
        mu = mu - lr * 2 * (mu - rows).mean(0)
    return mu, losses, ((mu - X[:4]) ** 2).sum(1).mean()


def test_runs_are_those_of_fit(tmp_path):
    found = _sweep(descend, {"lr": [0.1, 0.3], "seed": [0, 4]}, tmp_path)
    for i, row in enumerate(found):
        mu, losses, validation = _descended(row["lr"], row["seed"])
        np.testing.assert_allclose(found.state(i).params["mu"], mu, rtol=1e-12)
        assert row["loss"] == pytest.approx(losses[-1], rel=1e-12)
        assert row["validation"] == pytest.approx(validation, rel=1e-12) and row["steps"] == 6
    assert found.best() == min(range(4), key=lambda i: _descended(found[i]["lr"], found[i]["seed"])[2])


def test_measure_adds_results(tmp_path):
    found = _sweep(descend, {"lr": 0.1, "seed": 0}, tmp_path, measure=lambda p, fit: {"norm": np.float32(2.0), "n": 1})
    assert found[0]["norm"] == 2.0 and found[0]["n"] == 1
    wrong = _sweep(descend, {"lr": 0.1, "seed": 1}, tmp_path, measure=lambda p, fit: {"lr": 1.0}, changed="keep")
    assert wrong[0]["status"] == "failed" and "'lr'" in wrong[0]["error"]


def test_compare_puts_seeds_together(tmp_path):
    found = _sweep(descend, [{"lr": [0.1, 0.3], "seed": [0, 1, 2]}, {"lr": 1e300, "seed": 0}], tmp_path)
    assert found[6]["status"] == "failed" and "FitError" in found[6]["error"]
    compared = ppl.compare(found, value="validation")
    values = [_descended(0.3, seed)[2] for seed in range(3)]
    pooled = compared["lr=0.3"]["validation"]
    assert pooled.mean == pytest.approx(np.mean(values))
    assert pooled.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))
    means = {lr: np.mean([_descended(lr, seed)[2] for seed in range(3)]) for lr in (0.1, 0.3)}
    assert compared.best == f"lr={min(means, key=means.get)}"
    assert compared.runs["lr=1e+300"] == (0, 1) and "0 of 1" in str(compared)
    with pytest.raises(DataError, match="no state"):
        ppl.compare(found, found.state(0))
    with pytest.raises(KeyError, match="there are"):
        ppl.compare(found, value="valdation")


def test_compare_says_where_a_run_is_not_finite(tmp_path):
    def build(lr, seed):
        return {"score": float("nan") if (lr, seed) == (0.1, 1) else lr + seed, "word": "x"}

    found = _sweep(build, {"lr": [0.1, 0.3], "seed": [0, 1]}, tmp_path)
    compared = ppl.compare(found, value="score")
    assert compared.best == "lr=0.3" and "not finite in 1 of 2" in str(compared)
    assert np.isnan(compared["lr=0.1"]["score"].mean)
    with pytest.raises(OptionError, match="holds no numbers"):
        ppl.compare(found, value="word")


def test_a_run_that_exits_is_one_that_failed(tmp_path):
    def build(a):
        if a == 1:
            raise SystemExit(3)
        return {"loss": a}

    found = _sweep(build, {"a": [0, 1, 2]}, tmp_path)
    assert [row["status"] for row in found] == ["done", "failed", "done"] and "SystemExit" in found[1]["error"]


@pytest.mark.parametrize("name", ["steps", "loss"])
def test_settings_with_names_of_results(name, tmp_path):
    build = {"steps": lambda steps: descend(0.1, 0, steps), "loss": lambda loss: descend(0.1, loss)}[name]
    (row,) = _sweep(build, {name: 3}, tmp_path)
    if name == "steps":
        assert row["status"] == "done" and row["steps"] == 3
    else:
        assert row["status"] == "failed" and "give it another" in row["error"]


def test_a_damaged_checkpoint_is_named(tmp_path, monkeypatch):
    grid = {"lr": 0.1, "seed": 0}
    key = _sweep(descend, grid, tmp_path)[0]["run"]
    folder = RunFolder(tmp_path, key)
    folder.checkpoint.write_bytes(folder.checkpoint.read_bytes()[:500])
    (folder.path / "row.json").unlink()
    (row,) = _sweep(descend, grid, tmp_path)
    assert row["status"] == "failed" and str(folder.checkpoint) in row["error"]


def test_ctrl_c_ends_the_sweep_and_the_run_goes_on_later(tmp_path):
    def build(seed):
        def callback(step, state, metrics):
            if step == 4 and not (tmp_path / "mark").exists():
                (tmp_path / "mark").touch()
                os.kill(os.getpid(), signal.SIGINT)

        return module_partial(descend(0.1, seed), callback)

    grid, before = {"seed": [0, 1]}, signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _sweep(build, grid, tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    keys = [run.key for run in plan_runs(grid)]
    assert ppl.load_state(RunFolder(tmp_path / "out", keys[0]).checkpoint).step == 4
    with pytest.raises(MissingFileError):
        ppl.load_state(RunFolder(tmp_path / "out", keys[1]).checkpoint)
    found = _sweep(build, grid, tmp_path / "out")
    assert [row["attempts"] for row in found] == [2, 1]
    np.testing.assert_allclose(found.state(0).params["mu"], _descended(0.1, 0)[0], rtol=1e-12)


def module_partial(call, callback):
    call.keywords["callback"] = callback
    return call


# --- several at once, other processes --------------------------------------------------------------------


def test_a_run_of_another_sweep_is_waited_for(tmp_path):
    grid = _grid(tmp_path, a=[1, 2], b="x")
    folder, free = RunFolder(tmp_path / "out", plan_runs(grid)[0].key), threading.Event()

    def other():
        with folder.locked(wait=True):
            free.set()
            time.sleep(0.3)
            folder.write({"run": folder.path.name, "settings": {}, "status": "done", "results": {"double": 77}})

    thread = threading.Thread(target=other)
    thread.start()
    free.wait()
    found = _sweep(table, grid, tmp_path / "out")
    thread.join()
    assert [row["double"] for row in found] == [77, 4] and logged(tmp_path) == ["2x"]


def test_a_killed_worker_is_reported_and_its_run_goes_on(tmp_path):
    pytest.importorskip("joblib")
    grid = _grid(tmp_path, seed=[0, 1, 2])
    found = _sweep(killed_once, grid, tmp_path / "out", "joblib", workers=1, every=2)
    assert [row["status"] for row in found] == ["done", "killed", "done"]
    assert "SIGKILL" in found[1]["error"] and found.state(1).step == 4
    again = _sweep(killed_once, grid, tmp_path / "out", "joblib", workers=1, every=2)
    assert [row["attempts"] for row in again] == [1, 2, 1] and logged(tmp_path) == ["0", "1", "2", "1"]
    for seed in range(3):
        np.testing.assert_allclose(again.state(seed).params["mu"], _descended(0.1, seed)[0], rtol=1e-12)


def test_workers_have_the_threads_they_are_given(tmp_path):
    pytest.importorskip("joblib")
    (row,) = _sweep(threads, {"seed": 0}, tmp_path, "joblib", threads=1)
    assert row["threads"] == 1 and row["pid"] != os.getpid()


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "[1", '{"format": 1}'])
def test_finished_runs_of_a_build_that_nobody_knows_are_not_mixed_in(tmp_path, text):
    def built(a):
        return {"found": a}

    _sweep(built, {"a": [1]}, tmp_path)
    (path,) = tmp_path.rglob("sweep.json")
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match="missing or damaged"):
        _sweep(built, {"a": [1, 2]}, tmp_path)
    assert len(_sweep(built, {"a": [1, 2]}, tmp_path, changed="keep")) == 2
    assert len(_sweep(built, {"a": [1, 2, 3]}, tmp_path)) == 3


def test_finished_runs_of_another_build_are_not_mixed_in(tmp_path):
    def made(factor):
        return lambda a: {"found": factor * a}

    _sweep(made(1), {"a": [1]}, tmp_path)
    with pytest.raises(DataError, match="another build"):
        _sweep(made(2), {"a": [1, 2]}, tmp_path)
    kept = _sweep(made(2), {"a": [1, 2]}, tmp_path, changed="keep")
    assert [row["found"] for row in kept] == [1, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "ray"}, "backend must be"),
        ({"workers": 0}, "workers"),
        ({"threads": 0}, "threads"),
        ({"every": 0}, "every"),
        ({"changed": "yes"}, "changed"),
        ({"table": "xlsx"}, "table"),
        ({"build": 3}, "build must be a function"),
        ({"grid": {"aa": 1}}, "build does not take"),
        ({"measure": 3}, "measure"),
        ({"resume": 3}, "resume must be a path"),
    ],
)
def test_wrong_options(options, words):
    given = {"build": lambda a: {}, "grid": {"a": 1}, "backend": "serial", **options}
    with pytest.raises((OptionError, DataError), match=words):
        ppl.sweep(**given)


def test_what_cannot_be_sent_to_a_worker_is_named():
    pytest.importorskip("joblib")
    lock = threading.Lock()
    with pytest.raises(OptionError, match="setting 'a' cannot be sent"):
        ppl.sweep(lambda a: {}, {"a": {"lock": lock}})
    with pytest.raises(OptionError, match="build cannot be sent"):
        ppl.sweep(lambda a: {"x": lock.locked()}, {"a": 1})


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be used"):
        _sweep(table, {"a": 1, "b": "x", "folder": ""}, tmp_path / "file")


def test_wrong_results_are_errors_of_their_run(tmp_path):
    answers = {"none": None, "array": {"x": np.zeros(2)}, "taken": {"which": 1}, "fine": {"x": np.float64(1.5)}}
    found = _sweep(lambda which: answers[which], {"which": list(answers)}, tmp_path)
    assert [row["status"] for row in found] == ["failed"] * 3 + ["done"] and found[3]["x"] == 1.5
    assert "must return" in found[0]["error"] and "numbers and texts" in found[1]["error"]


def test_a_table_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    def full(path, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(module.table_writer.__globals__["WRITERS"], "csv", full)
    with pytest.warns(RuntimeWarning, match="No space"):
        found = _sweep(table, _grid(tmp_path, a=1, b="x"), tmp_path / "out")
    assert found[0]["double"] == 2 and not Path(tmp_path / "out/table.csv").exists()
