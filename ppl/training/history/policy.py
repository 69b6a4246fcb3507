"""Which checkpoints of a run are kept: the last few, and the one with the least validation."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import Any

from ppl.arguments import MANY, file_path, flag, integer
from ppl.records import dataclass


@dataclass(frozen=True)
class Checkpoints:
    """A policy for `checkpoint=` of `ppl.fit`.

    The newest checkpoint is always at `path`, which a run is taken up from. Those before it are beside it, with their
    step in the name: ``run.npz``, ``run.12000.npz``, ``run.11000.npz``. If the newest is damaged, the run is taken up
    from the one before, with a warning. To begin anew all of them have to be removed.

    Parameters
    ----------
    path : of the newest checkpoint.
    every : steps between checkpoints; None means 30 seconds.
    keep : how many to keep, the newest included.
    best : whether to keep the state of the least validation, too: ``run.best.npz``, for `ppl.load_state`.

    Raises
    ------
    OptionError
        A value is out of range.
    """

    path: Any
    every: int | None = None
    keep: int = 1
    best: bool = False

    def __post_init__(self) -> None:
        file_path("Checkpoints: path", self.path)
        if self.every is not None:
            integer("Checkpoints: every", self.every, 1, MANY)
        integer("Checkpoints: keep", self.keep, 1, MANY)
        flag("Checkpoints: best", self.best)


def beside(path: str, word: Any) -> str:
    """The path of a file beside a checkpoint: `word` before its ending."""
    stem, ending = os.path.splitext(path)
    return f"{stem}.{word}{ending}"


def earlier(path: str) -> list[tuple[int, str]]:
    """(step, path) of the checkpoints beside `path`, the newest first."""
    folder, name = os.path.split(os.path.abspath(path))
    stem, ending = os.path.splitext(name)
    pattern = re.compile(re.escape(stem) + r"\.(\d+)" + re.escape(ending))
    with contextlib.suppress(OSError):
        found = [(int(m[1]), os.path.join(folder, m[0])) for n in os.listdir(folder) if (m := pattern.fullmatch(n))]
        return sorted(found, reverse=True)
    return []


def put_aside(path: str, step: int) -> None:
    """Keep the checkpoint at `path`, of `step`, under a name of its own, before another one takes its place."""
    target = beside(path, step)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    with contextlib.suppress(FileNotFoundError):
        try:
            os.link(path, target)
        except (OSError, NotImplementedError):  # a file system without links
            shutil.copyfile(path, target)


def prune(path: str, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints beside `path`."""
    for _, old in earlier(path)[keep:]:
        with contextlib.suppress(OSError):
            os.unlink(old)
