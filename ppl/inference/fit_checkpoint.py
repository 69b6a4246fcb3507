"""Checkpoints of `ppl.fit`: one `.npz` with the state, where the run began, and its history.

`ppl.load_state` reads the state out of such a file. Files are replaced atomically and hold no pickle.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.state import State, pack_state, unpack_state, write_npz
from ppl.errors import DataError, OptionError

SECONDS = 30.0
Lists = dict[str, list[float]]


class Resumed(NamedTuple):
    """What a checkpoint holds; `start` is the step at which the run began."""

    state: State
    start: int
    history: Lists


class Checkpoint:
    """Where and how often to write: every `every` steps, or if that is None every 30 seconds.

    Parameters
    ----------
    option : path, or (path, every).

    Raises
    ------
    OptionError
        `every` is not a positive number of steps.
    """

    def __init__(self, option: Any):
        pair = isinstance(option, (tuple, list))
        path, every = option if pair else (option, None)
        self.every: int | None = every
        if pair and not (isinstance(self.every, int) and self.every >= 1):
            raise OptionError(f"checkpoint=(path, every): every must be a positive int, not {self.every!r}")
        self.path = os.fspath(path)
        self.written = -1
        self.clock = time.monotonic()

    def load(self) -> Resumed | None:
        """The content of the file; None if there is none.

        Raises
        ------
        DataError
            The file is not a checkpoint of `ppl.fit`.
        """
        if not os.path.exists(self.path):
            return None
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                history = {k[8:]: arrays[k].tolist() for k in arrays.files if k.startswith("history/")}
                found = Resumed(unpack_state(arrays), int(arrays["start"]), history)
        except (KeyError, ValueError, OSError, EOFError) as error:
            raise DataError(f"checkpoint '{self.path}' is not one of ppl.fit: {error}") from error
        self.written = found.state.step
        return found

    def due(self, step: int) -> bool:
        """Whether it is time to write."""
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self.clock > SECONDS

    def save(self, state: State, start: int, history: Lists) -> None:
        """Write, unless the file holds this step already."""
        if state.step == self.written:
            return
        arrays = {f"history/{k}": np.array(v, np.int64 if k in INTEGER else float) for k, v in history.items()}
        write_npz(self.path, {**pack_state(state), **arrays, "start": np.array(start)})
        self.written, self.clock = state.step, time.monotonic()


INTEGER = ("step", "validation_step")


def check_state(state: State, compiled: Any, dtype: Any, origin: str) -> None:
    """Raise DataError unless `state` has the program's parameters, auxiliary variables and precision."""
    if state._layouts != (compiled.layout, compiled.aux_layout):
        ours, theirs = dict(compiled.layout.shapes), dict(state._layouts[0].shapes)
        detail = "" if ours == theirs else f": {theirs} instead of {ours}"
        raise DataError(f"{origin} is of another program, with other parameters or baselines{detail}")
    if state._flat.dtype != np.dtype(dtype):
        raise DataError(f"{origin} is in {state._flat.dtype}, the program computes in {np.dtype(dtype)}")
