"""One run of a sweep: its folder (checkpoint, row of the table, lock), and the work in the process that does it.

    table.csv            all runs that the folder has, finished, failed and killed
    sweep.json           which `build` it belongs to
    runs/KEY/row.json    what the run has come to
    runs/KEY/error.txt   its traceback, if it failed
    runs/KEY/checkpoint.npz, runs/KEY/attempts, runs/KEY/lock

Files are written whole or not at all. Whoever works on a run holds its lock, which the system frees when the process
ends, however it ends; so several sweeps may work in one folder at once. An exception of a run is its result: the row
names it, and the traceback lies beside it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import shown
from ppl.errors import DataError, in_words
from ppl.sweeps.grid import RESERVED_COLUMNS, PlannedRun
from ppl.training.fit import fit
from ppl.training.result import Fit

try:
    import fcntl
except ImportError:  # pragma: no cover - without locks one sweep at a time may use a folder
    fcntl = None  # type: ignore[assignment]

ROW_FORMAT = 1

Row = dict[str, Any]


class RunFolder:
    """The files of one run."""

    def __init__(self, root: str | os.PathLike[str], key: str):
        self.path = Path(root) / "runs" / key
        self.checkpoint = self.path / "checkpoint.npz"
        self.errors = self.path / "error.txt"

    @contextlib.contextmanager
    def locked(self, wait: bool) -> Iterator[bool]:
        """Hold the lock of the run; False if another process has it and this one does not `wait`."""
        self.path.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield True
            return
        with open(self.path / "lock", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def read_row(self) -> Row | None:
        """Return what the run has come to, None if that is not known."""
        path = self.path / "row.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            warnings.warn(f"'{path}' cannot be read ({error}): its run goes on", RuntimeWarning, stacklevel=2)
            return None
        return found if isinstance(found, dict) and found.get("format") == ROW_FORMAT and "status" in found else None

    def write(self, row: Row) -> None:
        """Store what the run has come to."""
        write_text_atomically(self.path / "row.json", json.dumps({"format": ROW_FORMAT, **row}))

    def attempt(self) -> int:
        """Count one more attempt at the run, and return which one it is."""
        path = self.path / "attempts"
        try:
            before = int(path.read_text())
        except (OSError, ValueError):
            before = 0
        write_text_atomically(path, str(before + 1))
        return before + 1


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and move it there."""
    with moved_when_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


@contextlib.contextmanager
def moved_when_whole(path: Path) -> Iterator[Path]:
    """Yield a place beside `path` for a file, which is moved there at the end, or removed after an error."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def claim_folder(root: Path, code: str, keep: bool) -> None:
    """Make the folder of a sweep, or check that it belongs to `build`, known by the hash of its `code`.

    Raises
    ------
    DataError
        It cannot be written; or its finished runs are those of another `build`, unless one is to `keep` them.
    """
    try:
        (root / "runs").mkdir(parents=True, exist_ok=True)
        for left in root.glob(".*.tmp"):
            if left.stat().st_mtime < os.stat(root / "runs").st_mtime - 3600:
                left.unlink(missing_ok=True)
        path = root / "sweep.json"
        known = _stored_build_hash(path)
        if known == "" and not keep:
            raise DataError(
                f"sweep: '{path}' is missing or damaged, so nobody can tell which build the runs beside it belong to. "
                'Take another folder, or say changed="keep" if they are those of this build'
            )
        if known is not None and known != code and not keep:
            raise DataError(
                f"sweep: the runs in '{root}' were made by another build: its code, or that of a function it calls, "
                'has changed. Take another folder, or say changed="keep" if what is finished still holds'
            )
        if known != code:
            write_text_atomically(path, json.dumps({"format": ROW_FORMAT, "build": code}))
    except OSError as error:
        raise DataError(f"sweep: the folder '{root}' cannot be used: {error.strerror or error}") from error


def _stored_build_hash(path: Path) -> str | None:
    """Return the hash of the `build` that a folder belongs to; None if it is new, "" if nobody can tell."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["build"])
    except (FileNotFoundError, NotADirectoryError):
        return None if not any(path.with_name("runs").glob("*/row.json")) else ""
    except (ValueError, KeyError, TypeError):
        return ""


def rows_outside_plan(root: Path, plan: tuple[PlannedRun, ...]) -> list[Row]:
    """Return the rows of runs in the folder that are not in the plan, by key."""
    own = {run.key for run in plan}
    keys = sorted(p.name for p in (root / "runs").iterdir() if p.is_dir() and p.name not in own)
    return [row for key in keys if (row := RunFolder(root, key).read_row()) is not None]


BUSY = "busy"
"""Status of a run that another sweep is working on; no row is stored under it."""


class RunTask(NamedTuple):
    """What a worker is sent.

    `began`: when the sweep began (seconds since 1970); a failure after it is not tried again. `wait`: whether to wait
    for a run that another sweep works on.
    """

    build: Callable[..., Any]
    run: PlannedRun
    root: str
    measure: Callable[..., Any] | None
    began: float
    retry: bool
    every: int | None = None
    wait: bool = False


def execute_run(task: RunTask) -> Row:
    """Work on a run unless it is finished, and return its row."""
    folder = RunFolder(task.root, task.run.key)
    try:
        with folder.locked(task.wait) as ours:
            if not ours:
                return make_row(task.run, BUSY)
            stored = folder.read_row()
            if stored is not None and not _should_retry(stored, task):
                return stored
            return _store_row(folder, _execute_build(task, folder))
    except OSError as error:
        return failed_row(task.run, f"the run's folder cannot be written: {in_words(error)}", traceback.format_exc())


def _should_retry(stored: Row, task: RunTask) -> bool:
    """Return whether a run with a row is to be worked on again."""
    if stored["status"] == "done" or float(stored.get("ended", 0.0)) >= task.began:
        return False
    return stored["status"] == "killed" or task.retry


def _store_row(folder: RunFolder, row: Row) -> Row:
    """Store a row, and the traceback beside it."""
    if "traceback" in row:
        folder.errors.write_text(row["traceback"], encoding="utf-8", errors="backslashreplace")
    else:
        folder.errors.unlink(missing_ok=True)
    folder.write(row)
    return row


def _execute_build(task: RunTask, folder: RunFolder) -> Row:
    attempts, began = folder.attempt(), time.perf_counter()
    try:
        results = _build_results(task, folder)
    except (Exception, SystemExit) as error:
        row = failed_row(task.run, in_words(error), traceback.format_exc())
    else:
        row = make_row(task.run, "done", results)
    return {**row, "seconds": time.perf_counter() - began, "attempts": attempts, "ended": time.time()}


def _build_results(task: RunTask, folder: RunFolder) -> dict[str, Any]:
    """Call `build`, and take the steps if it returns a call of `ppl.fit` that is still to be made."""
    given = dict(task.run.settings)
    if "checkpoint" in inspect.signature(task.build).parameters:
        given["checkpoint"] = str(folder.checkpoint)
    built = task.build(**given)
    if isinstance(built, functools.partial) and built.func is fit:
        return _train(built, task, folder)
    if isinstance(built, Fit):
        return _results_of_fit(built)
    if isinstance(built, Mapping):
        return _check_results(built, task.run)
    raise DataError(
        f"build returned {shown(built)}: it must return functools.partial(ppl.fit, program, …), a Fit, or a dict of "
        "results"
    )


def _train(call: functools.partial[Fit], task: RunTask, folder: RunFolder) -> dict[str, Any]:
    options = dict(call.keywords)
    if taken := sorted(set(task.run.cells) & set(FIT_RESULTS)):
        raise DataError(f"setting {taken[0]!r} has the name of a result of ppl.fit: give it another one")
    if "checkpoint" in options:
        raise DataError("build gives ppl.fit checkpoint=, which the sweep chooses: leave it out")
    if "seed" in task.run.settings:
        options.setdefault("seed", task.run.settings["seed"])
    place = str(folder.checkpoint)
    chosen = {"progress": False, "checkpoint": place if task.every is None else (place, task.every)}
    found = fit(*call.args, **{**options, **chosen})
    results = {
        name: value for name, value in _results_of_fit(found).items() if name != "steps" or name not in task.run.cells
    }
    if task.measure is not None:
        more = task.measure(call.args[0] if call.args else options["program"], found)
        if not isinstance(more, Mapping):
            raise DataError(f"measure must return a dict of results, not {shown(more)}")
        results |= more
    return _check_results(results, task.run)


FIT_RESULTS = ("loss", "validation", "best_validation")
"""What `_results_of_fit` measures."""


def _results_of_fit(found: Fit) -> dict[str, Any]:
    """Return steps, the mean loss of the last tenth of them, and the last and the best validation."""
    history = found.history
    results: dict[str, Any] = {"steps": found.state.step}
    loss = history.get("loss", np.zeros(0))
    if len(loss):
        results["loss"] = float(np.mean(loss[-max(1, len(loss) // 10) :]))
    values = history.get("validation", np.zeros(0))
    if len(values):
        results |= {"validation": float(values[-1]), "best_validation": float(np.nanmin(values))}
    return results


def _check_results(results: Mapping[str, Any], run: PlannedRun) -> dict[str, Any]:
    """Return results that a table can hold.

    Raises
    ------
    DataError
        A name is no text or taken, or a value neither a number nor a text.
    """
    found: dict[str, Any] = {}
    for name, value in results.items():
        value = np.asarray(value).item() if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0 else value
        if not isinstance(name, str) or name in run.cells or name in RESERVED_COLUMNS:
            raise DataError(f"result {shown(name)} has the name of a setting or of a column, or no name")
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise DataError(f"result {name!r} is {shown(value)}: a table holds numbers and texts")
        found[name] = value
    return found


def make_row(run: PlannedRun, status: str, results: Mapping[str, Any] | None = None, error: str = "") -> Row:
    """Return the row of a run."""
    return {"run": run.key, "settings": run.cells, "status": status, "results": dict(results or {}), "error": error}


def failed_row(run: PlannedRun, error: str, trace: str = "", status: str = "failed") -> Row:
    """Return the row of a run that has failed, or whose worker was killed."""
    return {**make_row(run, status, error=error), "traceback": trace}


def store_killed_row(task: RunTask, how: str) -> Row:
    """Store and return the row of a run whose worker has ended in the middle of it."""
    folder = RunFolder(task.root, task.run.key)
    row = {**failed_row(task.run, how, status="killed"), "ended": time.time()}
    with contextlib.suppress(OSError, ValueError):
        row["attempts"] = int((folder.path / "attempts").read_text())
    with contextlib.suppress(OSError), folder.locked(wait=False) as ours:
        if ours and (folder.read_row() or {}).get("status") != "done":
            folder.write(row)
    return row
