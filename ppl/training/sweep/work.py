"""One run of a sweep, in the process that does the work: what `build` returns is carried out and put into a row.

Whatever a run raises is its result: the row says so, and the traceback lies beside it. What ends the process leaves
the checkpoint and a lock that is free.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import shown
from ppl.errors import DataError, in_words
from ppl.training.fit import fit
from ppl.training.run import Fit
from ppl.training.sweep.folder import Row, RunFolder
from ppl.training.sweep.grid import RESERVED, Planned

BUSY = "busy"
"""Status of a run that another sweep is working on; no row is stored under it."""


class Task(NamedTuple):
    """What a worker is sent.

    `began`: when the sweep began (seconds since 1970); a failure after it is not tried again. `wait`: whether to wait
    for a run that another sweep works on.
    """

    build: Callable[..., Any]
    run: Planned
    root: str
    measure: Callable[..., Any] | None
    began: float
    retry: bool
    every: int | None = None
    wait: bool = False


def carry_out(task: Task) -> Row:
    """The row of a run: as it is stored if the run is finished, else after its work has been done."""
    folder = RunFolder(task.root, task.run.key)
    try:
        with folder.locked(task.wait) as ours:
            if not ours:
                return row_of(task.run, BUSY)
            stored = folder.row()
            if stored is not None and not _again(stored, task):
                return stored
            return _stored(folder, _worked(task, folder))
    except OSError as error:
        return failed(task.run, f"the run's folder cannot be written: {in_words(error)}", traceback.format_exc())


def _again(stored: Row, task: Task) -> bool:
    """Whether a run with a row is to be worked on again."""
    if stored["status"] == "done" or float(stored.get("ended", 0.0)) >= task.began:
        return False
    return stored["status"] == "killed" or task.retry


def _stored(folder: RunFolder, row: Row) -> Row:
    """Store a row, and the traceback beside it."""
    if "traceback" in row:
        folder.errors.write_text(row["traceback"], encoding="utf-8", errors="backslashreplace")
    else:
        folder.errors.unlink(missing_ok=True)
    folder.write(row)
    return row


def _worked(task: Task, folder: RunFolder) -> Row:
    attempts, began = folder.attempt(), time.perf_counter()
    try:
        results = _results(task, folder)
    except (Exception, SystemExit) as error:
        row = failed(task.run, in_words(error), traceback.format_exc())
    else:
        row = row_of(task.run, "done", results)
    return {**row, "seconds": time.perf_counter() - began, "attempts": attempts, "ended": time.time()}


def _results(task: Task, folder: RunFolder) -> dict[str, Any]:
    """Call `build`, and take the steps if it returns a call of `ppl.fit` that is still to be made."""
    given = dict(task.run.settings)
    if "checkpoint" in inspect.signature(task.build).parameters:
        given["checkpoint"] = str(folder.checkpoint)
    built = task.build(**given)
    if isinstance(built, functools.partial) and built.func is fit:
        return _trained(built, task, folder)
    if isinstance(built, Fit):
        return _of_fit(built)
    if isinstance(built, Mapping):
        return _plain(built, task.run)
    raise DataError(
        f"build returned {shown(built)}: it must return functools.partial(ppl.fit, program, …), a Fit, or a dict of "
        "results"
    )


def _trained(call: functools.partial[Fit], task: Task, folder: RunFolder) -> dict[str, Any]:
    options = dict(call.keywords)
    if taken := sorted(set(task.run.cells) & set(OF_FIT)):
        raise DataError(f"setting {taken[0]!r} has the name of a result of ppl.fit: give it another one")
    if "checkpoint" in options:
        raise DataError("build gives ppl.fit checkpoint=, which the sweep chooses: leave it out")
    if "seed" in task.run.settings:
        options.setdefault("seed", task.run.settings["seed"])
    place = str(folder.checkpoint)
    chosen = {"progress": False, "checkpoint": place if task.every is None else (place, task.every)}
    found = fit(*call.args, **{**options, **chosen})
    results = {name: value for name, value in _of_fit(found).items() if name != "steps" or name not in task.run.cells}
    if task.measure is not None:
        more = task.measure(call.args[0] if call.args else options["program"], found)
        if not isinstance(more, Mapping):
            raise DataError(f"measure must return a dict of results, not {shown(more)}")
        results |= more
    return _plain(results, task.run)


OF_FIT = ("loss", "validation", "best_validation")
"""What `_of_fit` measures."""


def _of_fit(found: Fit) -> dict[str, Any]:
    """Steps, the mean loss of the last tenth of them, and the last and the best validation."""
    history = found.history
    results: dict[str, Any] = {"steps": found.state.step}
    loss = history.get("loss", np.zeros(0))
    if len(loss):
        results["loss"] = float(np.mean(loss[-max(1, len(loss) // 10) :]))
    values = history.get("validation", np.zeros(0))
    if len(values):
        results |= {"validation": float(values[-1]), "best_validation": float(np.nanmin(values))}
    return results


def _plain(results: Mapping[str, Any], run: Planned) -> dict[str, Any]:
    """Results that a table can hold.

    Raises
    ------
    DataError
        A name is no text or taken, or a value neither a number nor a text.
    """
    found: dict[str, Any] = {}
    for name, value in results.items():
        value = np.asarray(value).item() if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0 else value
        if not isinstance(name, str) or name in run.cells or name in RESERVED:
            raise DataError(f"result {shown(name)} has the name of a setting or of a column, or no name")
        if value is not None and not isinstance(value, (bool, int, float, str)):
            raise DataError(f"result {name!r} is {shown(value)}: a table holds numbers and texts")
        found[name] = value
    return found


def row_of(run: Planned, status: str, results: Mapping[str, Any] | None = None, error: str = "") -> Row:
    """The row of a run."""
    return {"run": run.key, "settings": run.cells, "status": status, "results": dict(results or {}), "error": error}


def failed(run: Planned, error: str, trace: str = "", status: str = "failed") -> Row:
    """The row of a run that has failed, or whose worker was killed."""
    return {**row_of(run, status, error=error), "traceback": trace}


def killed(task: Task, how: str) -> Row:
    """Store and return the row of a run whose worker has ended in the middle of it."""
    folder = RunFolder(task.root, task.run.key)
    row = {**failed(task.run, how, status="killed"), "ended": time.time()}
    with contextlib.suppress(OSError, ValueError):
        row["attempts"] = int((folder.path / "attempts").read_text())
    with contextlib.suppress(OSError), folder.locked(wait=False) as ours:
        if ours and (folder.row() or {}).get("status") != "done":
            folder.write(row)
    return row
