"""The whole history of a run in a CSV file that grows, and is cut back to where a run is taken up again.

A line has the step, the loss and every cost per row, and an empty field for the validation; a validation is a line of
its own. Numbers read back to the same bits.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import file_path
from ppl.errors import DataError, MissingFileError
from ppl.names import Named

WAITING_BYTES = 1 << 26
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
            It cannot be written; it waits on, up to `WAITING_BYTES`.
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
        return self._length > WAITING_BYTES

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
    """The arrays of a file of `ppl.fit(..., history=path)` by name; a line that is cut short at its end is left out.

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
            return Named("record of training", _parsed(file, names))
    except FileNotFoundError:
        raise MissingFileError(f"there is no file '{path}'") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the history '{path}' cannot be read: {error}") from error


def _parsed(file: Any, names: list[str]) -> dict[str, np.ndarray]:
    """Arrays of the lines of a file, by name."""
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
