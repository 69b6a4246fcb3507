"""Bounded histories of a run: means over windows of steps in memory, and all steps in a CSV file.

`history=` of `ppl.fit` asks for them. A `BoundedHistory` takes finished entries out of the lists that the loop
appends to; its arrays go into the checkpoint. What is kept is a function of the steps alone, so that interrupted
runs keep the same bits."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import MANY, file_path, integer, shown
from ppl.errors import DataError, MissingFileError, OptionError
from ppl.names import Named


class WindowMeans:
    """At most `limit` records and a window that is not full yet.

    Parameters
    ----------
    limit : even, at least 2.
    columns : entries of a record; the first is a number that rises (the step), of which a window keeps the last.
    """

    def __init__(self, limit: int, columns: int):
        self.limit, self.stride = limit, 1
        self._kept = np.empty((limit, columns))
        self._count = 0
        self._tail = np.empty((0, columns))

    def add(self, records: np.ndarray) -> None:
        """Take records, one a row."""
        tail = np.concatenate([self._tail, records])
        while (take := min(len(tail) // self.stride, self.limit - self._count)) > 0:
            used = take * self.stride
            self._kept[self._count : self._count + take] = _window_means(tail[:used], self.stride)
            self._count, tail = self._count + take, tail[used:]
            if self._count == self.limit:
                self._kept[: self.limit // 2] = _window_means(self._kept, 2)
                self._count, self.stride = self.limit // 2, 2 * self.stride
        self._tail = tail.copy()

    @property
    def records(self) -> np.ndarray:
        """The means so far; the last of them may be of a shorter window."""
        last = [_window_means(self._tail, len(self._tail))] if len(self._tail) else []
        return np.concatenate([self._kept[: self._count], *last])

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of full windows, and the records of the one that is not full."""
        return self._kept[: self._count].copy(), self._tail.copy()

    def restore(self, kept: np.ndarray, tail: np.ndarray, stride: int) -> None:
        """Go on from the `parts` and `stride` of another."""
        self._count, self.stride, self._tail = len(kept), stride, tail.copy()
        self._kept[: len(kept)] = kept


def _window_means(records: np.ndarray, stride: int) -> np.ndarray:
    """Return means over windows of `stride` records, and of their first column the last entry."""
    windows = records.reshape(-1, stride, records.shape[1])
    means = np.ascontiguousarray(windows.transpose(0, 2, 1)).sum(axis=-1) / stride
    means[:, 0] = windows[:, -1, 0]
    return means


MOST_UNWRITTEN_BYTES = 1 << 26
"""Text that waits in memory at most where the disk is full."""


class HistoryFile:
    """A file that lines are added to, in the order of steps. They are written by `flush`; `size` is its length then."""

    def __init__(self, path: str):
        self.path, self.size = path, 0
        self._columns: tuple[str, ...] = ()
        self._waiting: list[str] = []
        self._length = 0

    def add(self, columns: Sequence[str], steps: np.ndarray, checks: np.ndarray) -> None:
        """Add steps, of `columns` that begin with "step", and validations: step and value."""
        if not self._columns:
            self._columns = tuple(columns)
            out = io.StringIO()
            csv.writer(out, lineterminator="\n").writerow([*columns, "validation"])
            self._waiting.insert(0, out.getvalue())
        gap = "," * len(self._columns)
        lines = [(int(r[0]), f"{int(r[0])},{','.join(map(repr, r[1:]))},\n") for r in steps.tolist()]
        lines += [(int(step), f"{int(step)}{gap}{value!r}\n") for step, value in checks.tolist()]
        if len(checks):
            lines.sort(key=lambda line: line[0])
        text = "".join(line for _, line in lines)
        self._waiting.append(text)
        self._length += len(text)

    def flush(self) -> None:
        """Write what waits, all of it or nothing.

        Raises
        ------
        OSError
            It cannot be written; it waits on, up to `MOST_UNWRITTEN_BYTES`.
        """
        if not self._waiting:
            return
        content = "".join(self._waiting).encode("utf-8", "backslashreplace")
        with open(self.path, "r+b" if self.size else "wb") as file:
            try:
                file.seek(self.size)
                file.write(content)
                file.truncate()
                file.flush()
            except BaseException:
                file.truncate(self.size)
                raise
        self.size += len(content)
        self._waiting, self._length = [], 0

    @property
    def overflows(self) -> bool:
        """Whether more waits than may."""
        return self._length > MOST_UNWRITTEN_BYTES

    def go_on(self, size: int, columns: Sequence[str], step: int) -> None:
        """Go on behind the first `size` bytes, which end with a line of `step`.

        Raises
        ------
        DataError
            The file is shorter, or does not belong to the run.
        """
        self.size, self._columns = size, tuple(columns) if size else ()
        if not size:
            return
        try:
            with open(self.path, "rb") as file:
                header = file.readline().decode("utf-8", "replace")
                file.seek(max(0, size - 4096))
                last = file.read(min(size, 4096))
                length = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise DataError(f"the history '{self.path}' of the checkpoint's run cannot be read: {error}") from error
        found = next(csv.reader([header]))
        line = last.rstrip(b"\n").rpartition(b"\n")[2].partition(b",")[0]
        if length < size or found != [*columns, "validation"] or not last.endswith(b"\n") or line != b"%d" % step:
            raise DataError(
                f"the history '{self.path}' is not that of the checkpoint's run at step {step}: it ends earlier, or "
                "was written by another run"
            )


def load_history(path: Any) -> Named[np.ndarray]:
    """Read a file of `ppl.fit(..., history=path)`: arrays by name; a line cut short at its end is left out.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        It is something else.
    """
    path = file_path("path", path, DataError)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            names = next(csv.reader([file.readline()]), [])
            if len(names) < 3 or names[:2] != ["step", "loss"] or names[-1] != "validation":
                raise DataError(f"'{path}' is not a history of ppl.fit")
            return Named("record of training", _parse_lines(file, names))
    except FileNotFoundError:
        raise MissingFileError(f"there is no file '{path}'") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the history '{path}' cannot be read: {error}") from error


def _parse_lines(file: Any, names: list[str]) -> dict[str, np.ndarray]:
    """Return the arrays of the lines of a file, by name."""
    steps: list[list[float]] = []
    checks: list[tuple[float, float]] = []
    for number, line in enumerate(file, 2):
        fields = line.rstrip("\n").split(",")
        if not line.endswith("\n"):
            break
        try:
            if len(fields) != len(names):
                raise ValueError
            if fields[1]:
                steps.append([float(x) for x in fields[:-1]])
            else:
                checks.append((float(fields[0]), float(fields[-1])))
        except ValueError:
            raise DataError(f"line {number} of the history '{file.name}' is {line[:60]!r}") from None
    table = np.array(steps).reshape(-1, len(names) - 1)
    found = {name: table[:, i].copy() for i, name in enumerate(names[:-1])}
    found["step"] = found["step"].astype(np.int64)
    if checks:
        made = np.array(checks)
        found |= {"validation": made[:, 1].copy(), "validation_step": made[:, 0].astype(np.int64)}
    return found


DEFAULT_ENTRIES = 10_000
"""Records in memory, unless `history=` says how many."""

DRAIN_EVERY = 4096
"""Steps after which lists are moved out of memory."""

VALIDATION_COLUMNS = "validation_step", "validation"

HistoryLists = dict[str, list[float]]


class BoundedHistory:
    """The bounded history of a run: at most `limit` entries in memory, all of them in a file if there is a `path`.

    Parameters
    ----------
    option : the number of entries, a path, or (path, number).

    Raises
    ------
    OptionError
        `option` is none of these.
    """

    def __init__(self, option: Any):
        path, limit = option if isinstance(option, (tuple, list)) and len(option) == 2 else (option, None)
        if isinstance(option, (int, np.integer)) and not isinstance(option, (bool, np.bool_)):
            path, limit = None, option
        limit = DEFAULT_ENTRIES if limit is None else integer("history=: the number of entries", limit, 2, MANY)
        if path is not None and isinstance(option, (tuple, list)) and len(option) != 2:
            raise OptionError(f"history= must be a path, a number, or (path, number), not {shown(option)}")
        self.limit = limit - limit % 2
        self.path = None if path is None else file_path("history=: the path", path)
        self.file = None if self.path is None else HistoryFile(self.path)
        self.names: tuple[str, ...] = ()
        self.steps: WindowMeans | None = None
        self.checks = WindowMeans(self.limit, 2)
        self._unnamed: list[np.ndarray] = []
        self._warned = False

    def due(self, lists: Mapping[str, Sequence[float]]) -> bool:
        """Return whether there is enough to move."""
        return len(lists["step"]) >= DRAIN_EVERY or len(lists.get("validation", ())) >= DRAIN_EVERY

    def drain(self, lists: HistoryLists) -> None:
        """Move all entries out of the lists, but for the last validation's step."""
        names = tuple(name for name in lists if name not in VALIDATION_COLUMNS)
        if lists["step"]:
            table = np.column_stack([np.asarray(lists[name], float) for name in names])
            if self.steps is None:
                self.names, self.steps = names, WindowMeans(self.limit, len(names))
            self.steps.add(table)
        else:
            table = np.empty((0, len(self.names)))
        self._drain_checks(lists, table)
        for values in lists.values():
            values.clear()

    def _drain_checks(self, lists: HistoryLists, table: np.ndarray) -> None:
        """Move validations, and write them with the `table` of steps; before the first step columns have no names."""
        found = np.column_stack([np.asarray(lists.get(name, ()), float) for name in VALIDATION_COLUMNS])
        self.checks.add(found)
        if self.file is None:
            return
        self._unnamed.append(found)
        if self.names:
            self.file.add(self.names, table, np.concatenate(self._unnamed))
            self._unnamed.clear()

    def flush(self) -> None:
        """Write the file as far as the record goes; a disk that is full is a warning, until too much waits.

        Raises
        ------
        OSError
            More waits than may.
        """
        if self.file is None:
            return
        try:
            self.file.flush()
            self._warned = False
        except OSError as error:
            if self.file.overflows:
                raise
            if not self._warned:
                warnings.warn(f"the history '{self.path}' could not be written: {error}", RuntimeWarning, stacklevel=2)
            self._warned = True

    def thinned(self) -> dict[str, list[float]]:
        """Return the entries in memory as lists by name."""
        found: dict[str, list[float]] = {"step": [], "loss": []}
        if self.steps is not None:
            found = dict(zip(self.names, self.steps.records.T.tolist(), strict=True))
        checks = self.checks.records
        return found | (dict(zip(VALIDATION_COLUMNS, checks.T.tolist(), strict=True)) if len(checks) else {})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint stores: windows, what waits for a full one, and how far the file goes."""
        found: dict[str, np.ndarray] = {}
        for kind, table, names in (("step", self.steps, self.names), ("check", self.checks, VALIDATION_COLUMNS)):
            if table is not None:
                for part, values in zip(("kept", "tail"), table.parts, strict=True):
                    found |= {f"record/{kind}/{part}/{name}": values[:, i] for i, name in enumerate(names)}
        strides = [1 if self.steps is None else self.steps.stride, self.checks.stride]
        size = -1 if self.file is None else self.file.size
        return {**found, "record": np.array([self.limit, *strides, size], np.int64)}

    def restore(self, arrays: Mapping[str, np.ndarray], path: str) -> None:
        """Go on from the arrays of the checkpoint at `path`.

        Raises
        ------
        DataError
            They were written under another `history=`, or are damaged, or the file of the history is.
        """
        limit, step_stride, check_stride, size = _read_header(arrays, path)
        if limit != self.limit or (size < 0) != (self.file is None):
            kept = "" if size < 0 else "in a file, and "
            raise DataError(
                f"the run in checkpoint '{path}' keeps its history {kept}thinned to {limit} entries: continue it with "
                f"history={'(path, ' if size >= 0 else ''}{limit}{')' if size >= 0 else ''}"
            )
        steps = _read_tables(arrays, "step", path)
        if steps:
            self.names = tuple(steps[0])
            self.steps = WindowMeans(self.limit, len(self.names))
            self.steps.restore(_stack_columns(steps[0], path), _stack_columns(steps[1], path), step_stride)
        checks = _read_tables(arrays, "check", path)
        if checks:
            self.checks.restore(_stack_columns(checks[0], path), _stack_columns(checks[1], path), check_stride)
        _check_no_gaps(self.steps, "steps", path)
        if self.file is not None:
            last = max([int(r[-1, 0]) for r in (self._last(self.steps), self._last(self.checks)) if len(r)], default=0)
            self.file.go_on(size, self.names, last)

    def _last(self, table: WindowMeans | None) -> np.ndarray:
        return np.empty((0, 1)) if table is None else table.records[-1:]

    @property
    def last_check(self) -> int | None:
        """The step of the last validation."""
        records = self.checks.records
        return int(records[-1, 0]) if len(records) else None

    @property
    def last_step(self) -> int | None:
        """The last step."""
        records = self._last(self.steps)
        return int(records[-1, 0]) if len(records) else None


def _read_header(arrays: Mapping[str, np.ndarray], path: str) -> list[int]:
    found = arrays.get("record")
    if found is None:
        raise DataError(
            f"the run in checkpoint '{path}' keeps its whole history in memory: continue it without history="
        )
    if found.shape != (4,) or found.dtype != np.int64 or found[0] < 2 or found[0] % 2 or min(found[1:3]) < 1:
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    return [int(x) for x in found]


def _read_tables(arrays: Mapping[str, np.ndarray], kind: str, path: str) -> list[dict[str, np.ndarray]]:
    """Return columns of full windows, and of the records behind them, by name."""
    parts = []
    for part in ("kept", "tail"):
        prefix = f"record/{kind}/{part}/"
        parts.append({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
    if list(parts[0]) != list(parts[1]) or (parts[0] and kind == "step" and next(iter(parts[0])) != "step"):
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    return parts if parts[0] else []


def _stack_columns(columns: Mapping[str, np.ndarray], path: str) -> np.ndarray:
    if len({c.shape for c in columns.values()}) != 1 or any(c.dtype != float or c.ndim != 1 for c in columns.values()):
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    return np.column_stack(list(columns.values()))


def _check_no_gaps(table: WindowMeans | None, what: str, path: str) -> None:
    """Raise DataError unless the records follow one another without gaps."""
    if table is None:
        return
    kept, tail = table.parts
    if len(kept) >= table.limit or len(tail) >= table.stride:
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    steps = np.concatenate([kept[:, 0], tail[:, 0]])
    apart = np.concatenate([np.full(max(len(kept) - 1, 0), table.stride), np.ones(len(tail))])
    if len(steps) > 1 and not np.array_equal(np.diff(steps), apart[-(len(steps) - 1) :]):
        raise DataError(f"checkpoint '{path}': its record of {what} has gaps")


def bounded_history_of(
    option: Any, step: int, lists: HistoryLists, stored: Mapping[str, np.ndarray] | None, checkpoint_file: Any
) -> BoundedHistory | None:
    """Make the record that `history=` asks for, at `step` of a run whose `lists` or record a checkpoint has `stored`.

    Raises
    ------
    OptionError
        The option is malformed.
    DataError
        The checkpoint's run was recorded in another way.
    """
    if option is None and stored is not None:
        raise DataError(
            f"the run in checkpoint '{checkpoint_file.path}' keeps its history thinned, to "
            f"{stored['record'].flat[0]} entries: "
            "continue it with the same history="
        )
    if option is None:
        return None
    record = BoundedHistory(option)
    if stored is not None:
        record.restore(stored, checkpoint_file.path)
        if record.last_step not in (step, None) or (record.last_step is None and record.last_check not in (step, None)):
            raise DataError(
                f"checkpoint '{checkpoint_file.path}': its record of the history does not end at step {step}"
            )
    return record
