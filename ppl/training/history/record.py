"""What `history=` of `ppl.fit` asks for: the lists of a run moved out of memory every few thousand steps.

A `Record` takes finished entries out of the lists that the loop appends to. It keeps them thinned, and in a file if
there is one. Its `arrays` go into the checkpoint, and `restore` reads them back.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import MANY, file_path, integer, shown
from ppl.errors import DataError, OptionError
from ppl.training.history.file import HistoryFile
from ppl.training.history.thinned import Thinned

KEPT = 10_000
"""Records in memory, unless `history=` says how many."""

BATCH = 4096
"""Steps after which lists are moved out of memory."""

CHECKS = "validation_step", "validation"
Lists = dict[str, list[float]]


class Record:
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
        limit = KEPT if limit is None else integer("history=: the number of entries", limit, 2, MANY)
        if path is not None and isinstance(option, (tuple, list)) and len(option) != 2:
            raise OptionError(f"history= must be a path, a number, or (path, number), not {shown(option)}")
        self.limit = limit - limit % 2
        self.path = None if path is None else file_path("history=: the path", path)
        self.file = None if self.path is None else HistoryFile(self.path)
        self.names: tuple[str, ...] = ()
        self.steps: Thinned | None = None
        self.checks = Thinned(self.limit, 2)
        self._unnamed: list[np.ndarray] = []
        self._warned = False

    def due(self, lists: Mapping[str, Sequence[float]]) -> bool:
        """Whether there is enough to move."""
        return len(lists["step"]) >= BATCH or len(lists.get("validation", ())) >= BATCH

    def drain(self, lists: Lists) -> None:
        """Move all entries out of the lists, but for the last validation's step."""
        names = tuple(name for name in lists if name not in CHECKS)
        if lists["step"]:
            table = np.column_stack([np.asarray(lists[name], float) for name in names])
            if self.steps is None:
                self.names, self.steps = names, Thinned(self.limit, len(names))
            self.steps.add(table)
        else:
            table = np.empty((0, len(self.names)))
        self._drain_checks(lists, table)
        for values in lists.values():
            values.clear()

    def _drain_checks(self, lists: Lists, table: np.ndarray) -> None:
        """Move validations, and write them with the `table` of steps; before the first step columns have no names."""
        found = np.column_stack([np.asarray(lists.get(name, ()), float) for name in CHECKS])
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
        """The entries in memory as lists by name."""
        found: dict[str, list[float]] = {"step": [], "loss": []}
        if self.steps is not None:
            found = dict(zip(self.names, self.steps.records.T.tolist(), strict=True))
        checks = self.checks.records
        return found | (dict(zip(CHECKS, checks.T.tolist(), strict=True)) if len(checks) else {})

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint stores: windows, what waits for a full one, and how far the file goes."""
        found: dict[str, np.ndarray] = {}
        for kind, table, names in (("step", self.steps, self.names), ("check", self.checks, CHECKS)):
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
        limit, step_stride, check_stride, size = _header(arrays, path)
        if limit != self.limit or (size < 0) != (self.file is None):
            kept = "" if size < 0 else "in a file, and "
            raise DataError(
                f"the run in checkpoint '{path}' keeps its history {kept}thinned to {limit} entries: continue it with "
                f"history={'(path, ' if size >= 0 else ''}{limit}{')' if size >= 0 else ''}"
            )
        steps = _tables(arrays, "step", path)
        if steps:
            self.names = tuple(steps[0])
            self.steps = Thinned(self.limit, len(self.names))
            self.steps.restore(_stacked(steps[0], path), _stacked(steps[1], path), step_stride)
        checks = _tables(arrays, "check", path)
        if checks:
            self.checks.restore(_stacked(checks[0], path), _stacked(checks[1], path), check_stride)
        _whole(self.steps, "steps", path)
        if self.file is not None:
            last = max([int(r[-1, 0]) for r in (self._last(self.steps), self._last(self.checks)) if len(r)], default=0)
            self.file.go_on(size, self.names, last)

    def _last(self, table: Thinned | None) -> np.ndarray:
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


def _header(arrays: Mapping[str, np.ndarray], path: str) -> list[int]:
    found = arrays.get("record")
    if found is None:
        raise DataError(
            f"the run in checkpoint '{path}' keeps its whole history in memory: continue it without history="
        )
    if found.shape != (4,) or found.dtype != np.int64 or found[0] < 2 or found[0] % 2 or min(found[1:3]) < 1:
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    return [int(x) for x in found]


def _tables(arrays: Mapping[str, np.ndarray], kind: str, path: str) -> list[dict[str, np.ndarray]]:
    """Columns of full windows, and of the records behind them, by name."""
    parts = []
    for part in ("kept", "tail"):
        prefix = f"record/{kind}/{part}/"
        parts.append({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
    if list(parts[0]) != list(parts[1]) or (parts[0] and kind == "step" and next(iter(parts[0])) != "step"):
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    return parts if parts[0] else []


def _stacked(columns: Mapping[str, np.ndarray], path: str) -> np.ndarray:
    if len({c.shape for c in columns.values()}) != 1 or any(c.dtype != float or c.ndim != 1 for c in columns.values()):
        raise DataError(f"checkpoint '{path}': its record of the history is damaged")
    return np.column_stack(list(columns.values()))


def _whole(table: Thinned | None, what: str, path: str) -> None:
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


def record_of(
    option: Any, step: int, lists: Lists, stored: Mapping[str, np.ndarray] | None, keeper: Any
) -> Record | None:
    """The record that `history=` asks for, at `step` of a run whose `lists` or record a checkpoint has `stored`.

    Raises
    ------
    OptionError
        The option is malformed.
    DataError
        The checkpoint's run was recorded in another way.
    """
    if option is None and stored is not None:
        raise DataError(
            f"the run in checkpoint '{keeper.path}' keeps its history thinned, to {stored['record'].flat[0]} entries: "
            "continue it with the same history="
        )
    if option is None:
        return None
    record = Record(option)
    if stored is not None:
        record.restore(stored, keeper.path)
        if record.last_step not in (step, None) or (record.last_step is None and record.last_check not in (step, None)):
            raise DataError(f"checkpoint '{keeper.path}': its record of the history does not end at step {step}")
    return record
