"""The table of a sweep: what `ppl.sweep` returns, means over seeds, and its file (CSV or Parquet)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, overload

import numpy as np

from ppl.arguments import names, shown
from ppl.errors import OptionError, UnknownNameError
from ppl.names import unknown
from ppl.notebook.html import table as html_table
from ppl.notebook.html import titled_block
from ppl.records import dataclass
from ppl.runtime.state import State, load_state
from ppl.sweeps.runs import Row, RunFolder, moved_when_whole, write_text_atomically
from ppl.text_table import format_number, render_table, seconds

FIRST_COLUMNS, LAST_COLUMNS = ("run",), ("seconds", "attempts", "error")


def flatten_rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows with one entry a column."""
    found = []
    for row in rows:
        last = {name: row.get(name) for name in LAST_COLUMNS}
        found.append({"run": row["run"], **row["settings"], "status": row["status"], **row["results"], **last})
    return found


def column_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all columns: settings before the status, results behind it."""
    settings = dict.fromkeys(name for row in rows for name in row["settings"])
    results = dict.fromkeys(name for row in rows for name in row["results"])
    return list(dict.fromkeys([*FIRST_COLUMNS, *settings, "status", *results, *LAST_COLUMNS]))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write a table as CSV (UTF-8); floats so that they read back to the same bits."""
    out, names = io.StringIO(), column_names(rows)
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for row in flatten_rows(rows):
        writer.writerow({k: repr(v) if isinstance(v, float) else v for k, v in row.items()})
    write_text_atomically(path, out.getvalue())


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write a table as Parquet. A column of several types holds texts."""
    from pyarrow import Table, parquet  # optional

    given = flatten_rows(rows)
    table = Table.from_pydict({name: _to_one_type([row.get(name) for row in given]) for name in column_names(rows)})
    with moved_when_whole(path) as temporary:
        parquet.write_table(table, temporary)


def _to_one_type(values: list[Any]) -> list[Any]:
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return [None if v is None else float(v) for v in values]
    return values if len(kinds) <= 1 else [None if v is None else str(v) for v in values]


WRITERS = {"csv": write_csv, "parquet": write_parquet}


def table_writer(kind: str) -> Any:
    """Return the function that writes tables of a kind.

    Raises
    ------
    OptionError
        There is none, or it needs what is not installed.
    """
    if kind not in WRITERS:
        raise OptionError(f'sweep: table must be "csv" or "parquet", not {kind!r}')
    if kind == "parquet" and find_spec("pyarrow") is None:
        raise OptionError('sweep: table="parquet" needs pyarrow: pip install pyarrow')
    return WRITERS[kind]


@dataclass(frozen=True, eq=False)
class Sweep(Sequence[Mapping[str, Any]]):
    """The rows of a sweep, in the order of its grid: prints as a table, indexes as data (`result[0]["loss"]`).

    Attributes
    ----------
    rows : one dict a run, with its settings, "status" ("done", "failed" or "killed"), its results, "seconds",
        "attempts", "error" and "run", its key.
    columns : names of the table's columns.
    settings : names of the settings.
    folder : where the runs are; None if they were not kept.
    tracebacks : traceback by key, of runs that failed.
    """

    stored: tuple[Row, ...] = field(repr=False)
    folder: Path | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a run."""
        return flatten_rows(self.stored)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return column_names(self.stored)

    @property
    def settings(self) -> list[str]:
        """Names of the settings."""
        return list(dict.fromkeys(name for row in self.stored for name in row["settings"]))

    @property
    def tracebacks(self) -> dict[str, str]:
        """Traceback by key, of runs that failed."""
        return {row["run"]: row["traceback"] for row in self.stored if row.get("traceback")}

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of runs that are not done."""
        return [row for row in self.rows if row["status"] != "done"]

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def state(self, index: int) -> State:
        """Return the trained state of a run, read from its checkpoint.

        Raises
        ------
        OptionError
            The sweep had no folder.
        MissingFileError
            The run has no checkpoint.
        """
        if self.folder is None:
            raise OptionError("the sweep kept no checkpoints: give it a folder, resume=")
        return load_state(RunFolder(self.folder, self.stored[index]["run"]).checkpoint)

    def best(self, by: str = "validation") -> int:
        """Return the index of the run whose result `by` is least.

        Raises
        ------
        OptionError
            No run that is done has a finite number under this name.
        """
        values = {
            i: v
            for i, row in enumerate(self.stored)
            if (v := _numeric_result(row, by)) is not None and math.isfinite(v)
        }
        if not values:
            raise OptionError(f"no run that is done has a finite result {by!r}; columns: {', '.join(self.columns)}")
        return min(values, key=lambda i: values[i])

    def to_csv(self, path: Any) -> None:
        """Write the table as CSV."""
        write_csv(Path(path), self.stored)

    def to_parquet(self, path: Any) -> None:
        """Write the table as Parquet (needs pyarrow)."""
        write_parquet(Path(path), self.stored)

    def table(self) -> str:
        """Return the table as text, one row a run."""
        shown_columns = [c for c in self.columns if c not in ("run", "attempts", "error")]
        cells = [[_format_cell(name, row.get(name)) for name in shown_columns] for row in self.rows]
        return render_table(["#", *shown_columns], [[str(i), *row] for i, row in enumerate(cells)], self._notes(), 140)

    def _notes(self) -> list[str]:
        statuses = [row["status"] for row in self.stored]
        counts = ", ".join(f"{statuses.count(s)} {s}" for s in dict.fromkeys(statuses))
        notes = [f"{len(self)} runs: {counts}"]
        for i, row in enumerate(self.stored):
            if row["status"] != "done":
                at = f" ({RunFolder(self.folder, row['run']).errors})" if self.folder and row.get("traceback") else ""
                notes.append(f"run {i} {row['status']}: {row['error']}{at}")
        return notes

    __str__ = table
    __repr__ = table

    def _repr_html_(self) -> str:
        rows = [[str(i), *(_format_cell(n, row.get(n)) for n in self.columns[1:])] for i, row in enumerate(self.rows)]
        return titled_block(f"Sweep, {len(self)} runs", html_table(("#", *self.columns[1:]), rows))

    def compared(self, over: Any = "seed", value: str | None = None) -> SweepComparison:
        """Pool the runs that differ in `over` alone; see `ppl.compare`."""
        results = list(dict.fromkeys(name for row in self.stored for name in row["results"]))
        if value is not None and value not in results:
            unknown("result", value, results)
        numbers = [n for n in results if any(_numeric_result(row, n) is not None for row in self.stored)]
        if value is not None and value not in numbers:
            raise OptionError(f"compare: value={value!r} names a result that holds no numbers; there are {numbers}")
        pooled = names("compare: over", over) if over else ()
        if missing := [n for n in pooled if n not in self.settings and n != "seed"]:
            unknown("setting", missing[0], self.settings)
        groups: dict[str, list[Row]] = {}
        for row in self.stored:
            label = ", ".join(f"{k}={_format_cell(k, v)}" for k, v in row["settings"].items() if k not in pooled)
            groups.setdefault(label or "all", []).append(row)
        by = value or next((n for n in ("best_validation", "validation", "loss", *numbers) if n in numbers), None)
        found = {label: {n: Pooled.of(rows, n) for n in numbers} for label, rows in groups.items()}
        counts = {label: (sum(r["status"] == "done" for r in rows), len(rows)) for label, rows in groups.items()}
        return SweepComparison(found, counts, by, pooled)


@dataclass(frozen=True)
class Pooled:
    """A result over the runs of one setting.

    Attributes
    ----------
    mean, standard_error : NaN where a run has a number that is not finite; the standard error of one run is NaN, too.
    count : how many runs have the result.
    bad : in how many of them it is not finite.
    """

    mean: float
    standard_error: float
    count: int
    bad: int = 0

    @classmethod
    def of(cls, rows: Sequence[Row], name: str) -> Pooled:
        """Return the mean over the rows that are done and have a number."""
        values = [v for row in rows if (v := _numeric_result(row, name)) is not None]
        bad = sum(not math.isfinite(v) for v in values)
        if bad or not values:
            return cls(math.nan, math.nan, len(values), bad)
        error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), error, len(values))

    def __str__(self) -> str:
        if not self.count:
            return "–"
        if self.bad:
            return f"not finite in {self.bad} of {self.count}"
        return format_number(self.mean, None if math.isnan(self.standard_error) else self.standard_error)


@dataclass(frozen=True, eq=False)
class SweepComparison(Mapping[str, Mapping[str, Pooled]]):
    """The settings of a sweep side by side: prints as a table, indexes as data (`comparison["lr=0.1"]["loss"].mean`).

    Attributes
    ----------
    results : label to result to `Pooled`, the mean over `over`.
    runs : label to (runs done, runs).
    by : the result that `best` goes by.
    """

    results: dict[str, dict[str, Pooled]]
    runs: dict[str, tuple[int, int]]
    by: str | None
    over: tuple[str, ...]

    def __getitem__(self, label: str) -> dict[str, Pooled]:
        if label not in self.results:
            unknown("setting", label, self.results)
        return self.results[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @property
    def best(self) -> str:
        """Label of the least mean of `by`: settings with runs that are not done take part with those that are, settings
        with a run that is not finite do not."""
        means = {label: r[self.by].mean for label, r in self.results.items() if self.by}
        known = {label: mean for label, mean in means.items() if not math.isnan(mean)}
        if not known:
            raise UnknownNameError("no run is done and has a finite result")
        return min(known, key=lambda label: known[label])

    def table(self) -> str:
        """Return the table as text, one row a setting, the best first."""
        shown_names = list(next(iter(self.results.values()), {}))
        order = sorted(self.results, key=lambda x: _nan_last(self.results[x][self.by].mean) if self.by else 0.0)
        rows = [[x, "{} of {}".format(*self.runs[x]), *(str(self.results[x][n]) for n in shown_names)] for x in order]
        note = f"mean ± standard error over {', '.join(self.over)}" if self.over else "single runs"
        return render_table(
            ["setting", "done", *shown_names], rows, [note + (f"; least {self.by} first" if self.by else "")]
        )

    __str__ = table
    __repr__ = table


def _nan_last(x: float) -> float:
    return math.inf if math.isnan(x) else x


def _numeric_result(row: Row, name: str) -> float | None:
    """Return a result as a number, if the run is done and has it."""
    value = row["results"].get(name)
    good = row["status"] == "done" and isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if good else None


def _format_cell(name: str, value: Any) -> str:
    if name == "seconds" and value is not None:
        return seconds(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value if isinstance(value, str) else shown(value)
