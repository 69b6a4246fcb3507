"""The folder of a sweep: for each run its checkpoint, its row of the table and its lock, and the table of all.

    table.csv            all runs that the folder has, finished, failed and killed
    sweep.json           which `build` it belongs to
    runs/KEY/row.json    what a run has come to
    runs/KEY/error.txt   its traceback, if it failed
    runs/KEY/checkpoint.npz, runs/KEY/attempts, runs/KEY/lock

Files are written whole or not at all. Who works on a run holds its lock, which the system frees when the process ends,
however it ends; so several sweeps may work in one folder at once, and each run is worked on by one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppl.errors import DataError
from ppl.training.sweep.grid import Planned

try:
    import fcntl
except ImportError:  # pragma: no cover - without locks one sweep at a time may use a folder
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
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

    def row(self) -> Row | None:
        """What the run has come to, None if that is not known."""
        path = self.path / "row.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            warnings.warn(f"'{path}' cannot be read ({error}): its run goes on", RuntimeWarning, stacklevel=2)
            return None
        return found if isinstance(found, dict) and found.get("format") == FORMAT and "status" in found else None

    def write(self, row: Row) -> None:
        """Store what the run has come to."""
        write_text(self.path / "row.json", json.dumps({"format": FORMAT, **row}))

    def attempt(self) -> int:
        """Count one more attempt at the run, and return which one it is."""
        path = self.path / "attempts"
        try:
            before = int(path.read_text())
        except (OSError, ValueError):
            before = 0
        write_text(path, str(before + 1))
        return before + 1


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and move it there."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def claim(root: Path, code: str, keep: bool) -> None:
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
        known = _known(path)
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
            write_text(path, json.dumps({"format": FORMAT, "build": code}))
    except OSError as error:
        raise DataError(f"sweep: the folder '{root}' cannot be used: {error.strerror or error}") from error


def _known(path: Path) -> str | None:
    """The hash of the `build` that a folder belongs to; None if it is new, "" if nobody can tell."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["build"])
    except (FileNotFoundError, NotADirectoryError):
        return None if not any(path.with_name("runs").glob("*/row.json")) else ""
    except (ValueError, KeyError, TypeError):
        return ""


def others(root: Path, plan: tuple[Planned, ...]) -> list[Row]:
    """Rows of runs in the folder that are not in the plan, by key."""
    own = {run.key for run in plan}
    keys = sorted(p.name for p in (root / "runs").iterdir() if p.is_dir() and p.name not in own)
    return [row for key in keys if (row := RunFolder(root, key).row()) is not None]
