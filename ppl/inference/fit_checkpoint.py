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


def check_state(state: State, compiled: Any, dtype: Any, origin: str, run: str | None = None) -> None:
    """Raise DataError unless `state` has the program's parameters, auxiliary variables and precision.

    `run` is the path of a checkpoint that is to be continued: under other estimators it would be another run.
    """
    layout, aux = state._layouts
    if layout != compiled.layout:
        ours, theirs = dict(compiled.layout.shapes), dict(layout.shapes)
        raise DataError(f"{origin} is of another program, with other parameters: {theirs} instead of {ours}")
    other = compiled.other_choice(state)
    if other and run is not None:
        raise DataError(
            f"the run in checkpoint '{run}' has other estimators: {other}. To continue it, compile with "
            f"estimators=ppl.load_state({run!r}).estimators; to go on from its parameters with the program's, begin "
            "another run at state=program.init(seed, params=...)"
        )
    if aux != compiled.aux_layout:
        keep = f": {other}; to keep them, compile with estimators=state.estimators" if other else ""
        raise DataError(f"{origin} has baselines or control variates of other estimators{keep}")
    if state._flat.dtype != np.dtype(dtype):
        raise DataError(f"{origin} is in {state._flat.dtype}, the program computes in {np.dtype(dtype)}")
