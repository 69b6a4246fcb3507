"""The table of a sweep as a file: CSV, or Parquet with pyarrow. One row a run, empty where a run has no entry."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import uuid
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ppl.errors import OptionError
from ppl.training.sweep.folder import Row, write_text

FIRST, LAST = ("run",), ("seconds", "attempts", "error")


def flat(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows with one entry a column."""
    found = []
    for row in rows:
        last = {name: row.get(name) for name in LAST}
        found.append({"run": row["run"], **row["settings"], "status": row["status"], **row["results"], **last})
    return found


def columns(rows: Sequence[Row]) -> list[str]:
    """Names of all columns: settings before the status, results behind it."""
    settings = dict.fromkeys(name for row in rows for name in row["settings"])
    results = dict.fromkeys(name for row in rows for name in row["results"])
    return list(dict.fromkeys([*FIRST, *settings, "status", *results, *LAST]))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write a table as CSV (UTF-8); floats so that they read back to the same bits."""
    out, names = io.StringIO(), columns(rows)
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for row in flat(rows):
        writer.writerow({k: repr(v) if isinstance(v, float) else v for k, v in row.items()})
    write_text(path, out.getvalue())


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write a table as Parquet. A column of several types holds texts."""
    from pyarrow import Table, parquet  # optional

    given = flat(rows)
    table = Table.from_pydict({name: _of_one_type([row.get(name) for row in given]) for name in columns(rows)})
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        parquet.write_table(table, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _of_one_type(values: list[Any]) -> list[Any]:
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return [None if v is None else float(v) for v in values]
    return values if len(kinds) <= 1 else [None if v is None else str(v) for v in values]


WRITERS = {"csv": write_csv, "parquet": write_parquet}


def writer(kind: str) -> Any:
    """The function that writes tables of a kind.

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
