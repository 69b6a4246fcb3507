"""`ppl.sweep`: many runs of one kind, kept in a folder and gone on with where they were interrupted."""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl.arguments import MANY, called, file_path, integer, shown
from ppl.errors import OptionError
from ppl.names import guessed, keywords
from ppl.sweeps import backends
from ppl.sweeps.grid import PlannedRun, hash_code, plan_runs
from ppl.sweeps.runs import BUSY, Row, RunTask, claim_folder, rows_outside_plan
from ppl.sweeps.table import Sweep, table_writer


@keywords
def sweep(
    build: Callable[..., Any],
    grid: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    backend: Any = "joblib",
    resume: Any = None,
    *,
    measure: Callable[..., Any] | None = None,
    workers: int | None = None,
    threads: int = 1,
    every: int | None = None,
    retry: bool = True,
    changed: str = "raise",
    table: str = "csv",
    progress: bool = True,
) -> Sweep:
    """Run `build` under every combination of settings, in processes, and tabulate what the runs came to.

    Each run has a checkpoint and a row of the table in the folder `resume`. The same call again skips what is finished
    and goes on with what is not. A run that fails leaves its error in the table and its traceback in a file, and the
    others go on; so they do if a worker is killed. Results do not depend on the backend, the number of workers, their
    threads, or interruptions.

    Parameters
    ----------
    build : called as build(**settings). It returns ``functools.partial(ppl.fit, program, X, steps=..., ...)``, which
        the sweep calls with a checkpoint (and with ``seed=`` if that is a setting and not given); or, if it trains
        by itself, a `Fit` or a dict of results (numbers and texts by name). If it has an argument `checkpoint`, it is
        passed the path of the run's checkpoint.
    grid : a dict of settings, of which all combinations are run, or a list of such dicts. Alternatives are a list, a
        range, a rank-1 array, or a dict of labels to values of any kind. Anything else is one value.
    backend : "joblib" (processes of this machine), "dask" (a cluster on this machine), a `distributed.Client`, or
        "serial" (this process).
    resume : the folder; made if it is not there. None keeps nothing. Several sweeps may use one folder at once.
    measure : called in the worker as measure(program, fit) after `ppl.fit`; a dict of further results.
    workers : processes; None means the cores divided by `threads`.
    threads : threads of each worker.
    every : steps between checkpoints; None means 30 seconds.
    retry : whether runs that failed in an earlier call are tried again.
    changed : "raise", or "keep" what is finished although the code of `build` has changed since.
    table : "csv" or "parquet" (needs pyarrow): the file `table.csv` or `table.parquet` in the folder.
    progress : show how many runs are done, if stderr is a terminal.

    Returns
    -------
    Sweep
        The rows of this grid, in its order. `ppl.compare` puts seeds together.

    Raises
    ------
    OptionError
        An option is malformed, a value has no meaning that other processes could know it by, or `build`, `measure` or
        a value cannot be pickled.
    DataError
        The folder cannot be used, or belongs to another `build`.
    """
    plan = plan_runs(grid)
    _check_settings(build, measure, plan)
    integer("sweep: threads", threads, 1, MANY)
    if every is not None:
        integer("sweep: every", every, 1, MANY)
    if changed not in ("raise", "keep"):
        raise OptionError(f'sweep: changed must be "raise" or "keep", not {changed!r}')
    write, run = table_writer(table), backends.choose_backend(backend)
    count = max(1, _available_cores() // threads) if workers is None else integer("sweep: workers", workers, 1, MANY)
    if backend != "serial":
        _check_picklable(build, measure, plan)
    with contextlib.ExitStack() as stack:
        if resume is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ppl-sweep-")))
        else:
            root = Path(file_path("sweep: resume", resume)).absolute()
        claim_folder(root, hash_code((build, measure)), changed == "keep")
        began = time.time()
        tasks = [RunTask(build, p, str(root), measure, began, retry, every) for p in plan]
        table_file = TableFile(root / f"table.{table}", write, plan, progress, kept=resume is not None)
        try:
            _execute_all(run, tasks, count, threads, table_file)
        finally:
            table_file.close()
        return Sweep(tuple(table_file.rows), None if resume is None else root)


def _execute_all(run: Any, tasks: list[RunTask], workers: int, threads: int, table_file: TableFile) -> None:
    """Carry out all tasks; those that another sweep is at come last, and are waited for."""
    busy = []
    for i, row in run(tasks, workers, threads):
        if row.get("status") == BUSY:
            busy.append(i)
        else:
            table_file.add(i, row)
    if busy:
        for i, row in run([tasks[i]._replace(wait=True) for i in busy], workers, threads):
            table_file.add(busy[i], row)


class TableFile:
    """The rows so far, and their file, which is written again once a second at most."""

    def __init__(self, path: Path, write: Any, plan: tuple[PlannedRun, ...], progress: bool, kept: bool):
        self.path, self.write, self.plan, self.kept = path, write, plan, kept
        self.found: dict[int, Row] = {}
        self.shown = progress and sys.stderr is not None and sys.stderr.isatty()
        self._written = time.monotonic()

    @property
    def rows(self) -> list[Row]:
        """Rows in the order of the grid."""
        return [self.found[i] for i in sorted(self.found)]

    def add(self, i: int, row: Row) -> None:
        """Take the row of run `i`."""
        self.found[i] = row
        if self.shown:
            bad = sum(r["status"] != "done" for r in self.found.values())
            print(f"\rsweep: {len(self.found)} of {len(self.plan)} runs, {bad} not done ", end="", file=sys.stderr)
        if time.monotonic() - self._written > 1.0:
            self._store()

    def close(self) -> None:
        """Write the file a last time."""
        if self.shown:
            print(file=sys.stderr)
        self._store()

    def _store(self) -> None:
        if not self.kept:
            return
        try:
            self.write(self.path, [*self.rows, *rows_outside_plan(self.path.parent, self.plan)])
        except OSError as error:
            warnings.warn(f"the table '{self.path}' could not be written: {error}", RuntimeWarning, stacklevel=4)
        self._written = time.monotonic()


def _available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_settings(build: Any, measure: Any, plan: tuple[PlannedRun, ...]) -> None:
    """Raise OptionError unless `build` takes the settings of every run."""
    called("sweep: build", build)
    if measure is not None:
        called("sweep: measure", measure)
    signature = inspect.signature(build)
    known = list(signature.parameters)
    for run in plan:
        given = {**run.settings, **({"checkpoint": ""} if "checkpoint" in known else {})}
        try:
            signature.bind(**given)
        except TypeError as error:
            wrong = next((n for n in given if n not in known), None)
            raise OptionError(
                f"sweep: build does not take the settings {shown(run.cells)}: {error}. {guessed(wrong, known)}".rstrip()
            ) from None


def _check_picklable(build: Any, measure: Any, plan: tuple[PlannedRun, ...]) -> None:
    """Raise OptionError for the first of what is sent to workers that cannot be."""
    try:
        from cloudpickle import dumps  # optional
    except ImportError:
        from joblib.externals.loky.backend.reduction import dumps  # optional
    settings = [(f"setting {name!r}", value) for run in plan for name, value in run.settings.items()]
    seen: set[int] = set()
    for name, value in [("build", build), ("measure", measure), *settings]:
        if id(value) in seen:
            continue
        seen.add(id(value))
        try:
            dumps(value)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise OptionError(
                f'sweep: {name} cannot be sent to a worker: {error}. Make it inside build, or use backend="serial"'
            ) from None
