"""Checkpoints of `ppl.fit`: one `.npz` with the state, where the run began, and its history.

`ppl.load_state` reads the state out of such a file. Files are replaced atomically and hold no pickle. What is read back
is a state together with the history that led to it, or a DataError.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import MANY, file_path, integer, shown, step_count
from ppl.errors import DataError, MissingFileError, OptionError
from ppl.runtime.state import State
from ppl.runtime.storage.npz import read_npz, remove_abandoned, require_writable, write_npz
from ppl.runtime.storage.packing import pack_state
from ppl.runtime.storage.unpacking import unpack_state
from ppl.training.history.policy import Checkpoints, beside, earlier, prune, put_aside

SECONDS = 30.0
INTEGER = ("step", "validation_step")
PREFIX, TUNED = "history/", "tune/"
WORDS = {1: ("batches a step",), 3: ("rows", "rows a step", "rows of the data set")}
Lists = dict[str, list[float]]


class Resumed(NamedTuple):
    """The content of a checkpoint; `start` is the step at which the run began, `place` where a stream goes on.

    `record` are the arrays of a bounded history (`history.record`), in place of `history`. `extent` says how batches
    were made: rows, rows of a batch, rows of the data set; of a stream, batches of a step. `particles` are those of the
    program, None in older files; `tuning` are the arrays of a run that chooses its estimators (`tuned.tuner`).
    """

    state: State
    start: int
    history: Lists
    place: tuple[int, int] | None
    record: dict[str, np.ndarray] | None = None
    extent: tuple[int, ...] | None = None
    particles: int | None = None
    tuning: dict[str, np.ndarray] | None = None


class Checkpoint:
    """Where and how often to write: every `every` steps, or if that is None every 30 seconds.

    Parameters
    ----------
    option : path, (path, every), or a policy.

    Raises
    ------
    OptionError
        `option` is no path, or `every` not a positive number of steps.
    DataError
        A file cannot be written there.
    """

    def __init__(self, option: Any):
        policy = option if isinstance(option, Checkpoints) else Checkpoints("x")
        self.keep, self.keeps_best = policy.keep, policy.best
        if isinstance(option, Checkpoints):
            option = option.path if option.every is None else (option.path, option.every)
        self.best = np.inf
        self.extent: tuple[int, ...] = ()
        self.particles: int | None = None
        self.tuning: Callable[[], Mapping[str, np.ndarray]] = dict
        pair = isinstance(option, (tuple, list))
        if pair and len(option) != 2:
            raise OptionError(f"checkpoint= is a path, or (path, every), not {shown(option)}")
        path, every = option if pair else (option, None)
        self.path = file_path("checkpoint=: the path", path)
        self.every = integer("checkpoint=(path, every): every", every, 1, MANY) if pair else None
        require_writable(self.path)
        remove_abandoned(self.path)
        self.written: tuple[int, int | None] | None = None
        self.clock = time.monotonic()

    def load(self) -> Resumed | None:
        """The content of the file; None if there is none.

        Raises
        ------
        DataError
            The file is not a checkpoint of `ppl.fit`; or it is not there, but earlier ones of its run are.
        """
        try:
            return self._read(self.path)
        except MissingFileError:
            self._refuse_remains()
            return None
        except DataError as error:
            problem = DataError(f"checkpoint '{self.path}' is not one of ppl.fit: {error}")
            problem.__cause__ = error
        for _, path in earlier(self.path) if self.keep > 1 else ():
            try:
                found = self._read(path)
            except DataError:
                continue
            self.written = None
            warnings.warn(f"{problem}; the run goes on from '{path}'", RuntimeWarning, stacklevel=4)
            return found
        raise problem

    def _refuse_remains(self) -> None:
        """Raise where a new run would be mixed with what is left of another one."""
        left = [os.path.basename(path) for _, path in earlier(self.path)] if self.keep > 1 else []
        if left:
            raise DataError(
                f"checkpoint '{self.path}' is not there, but checkpoints of its run are beside it: {', '.join(left)}. "
                "Remove them to begin anew, or give the newest that name to go on from it"
            )

    def _read(self, path: str) -> Resumed:
        arrays = read_npz(path)
        record = {k: v for k, v in arrays.items() if k.partition("/")[0] == "record"} or None
        state = unpack_state(arrays)
        tuning = {k: v for k, v in arrays.items() if k.startswith(TUNED)} or None
        made = _made_of(arrays), _particles(arrays), tuning
        found = Resumed(state, _start(arrays), _history(arrays), _place(arrays), record, *made)
        if record is None:
            _check_history(found)
        self.written = state.step, _last(arrays.get("last_check"))
        self.best = float(arrays["best"]) if "best" in arrays and arrays["best"].shape == () else np.inf
        return found

    def batches_of(self, found: tuple[int, ...] | None, extent: tuple[int, ...]) -> None:
        """Take note of how batches are made; a warning says so where the checkpoint's run made them otherwise."""
        self.extent = extent
        if found is None or found == extent:
            return
        was, now = (", ".join(map("{} {}".format, each, WORDS[len(each)])) for each in (found, extent))
        text = f"the run in checkpoint '{self.path}' was one of {was}, and goes on with {now}: it becomes another run"
        warnings.warn(text, RuntimeWarning, stacklevel=5)

    def due(self, step: int) -> bool:
        """Whether it is time to write."""
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self.clock > SECONDS

    def save(
        self,
        state: State,
        start: int,
        history: Lists,
        place: tuple[int, int] | None = None,
        record: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write, unless the file holds this state and history already.

        Raises
        ------
        OSError, DataError
            The file cannot be written, or the optimizer's state not be stored.
        """
        if _extent(state, history) == self.written:
            return
        if record is None:
            arrays = {PREFIX + k: np.array(v, np.int64 if k in INTEGER else float) for k, v in history.items()}
        else:
            arrays = dict(record)
        extent = _extent(state, history)
        arrays |= {} if extent[1] is None else {"last_check": np.array(extent[1], np.int64)}
        arrays |= {"best": np.array(self.best)} if self.keeps_best else {}
        arrays |= {"extent": np.array(self.extent, np.int64)} if self.extent else {}
        arrays |= {"particles": np.array(self.particles, np.int64)} if self.particles else {}
        arrays |= self.tuning()
        arrays |= {} if place is None else {"place": np.array(place, np.int64)}
        content = {**pack_state(state), **arrays, "start": np.array(start, np.int64)}
        if self.keep > 1 and self.written is not None and self.written[0] != state.step:
            put_aside(self.path, self.written[0])
        write_npz(self.path, content)
        self.written, self.clock = extent, time.monotonic()
        if self.keep > 1:
            prune(self.path, self.keep - 1)

    def validated(self, value: float, state: State) -> None:
        """Keep the state if its validation is the least so far; where that cannot be written, a warning says so."""
        if not (self.keeps_best and value < self.best):
            return
        self.best = value
        try:
            write_npz(beside(self.path, "best"), {**pack_state(state), "validation": np.array(value)})
        except (OSError, DataError) as error:
            warnings.warn(
                f"the best state of '{self.path}' could not be written: {error}", RuntimeWarning, stacklevel=2
            )

    def try_to_save(
        self,
        state: State,
        start: int,
        history: Lists,
        place: tuple[int, int] | None = None,
        record: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """`save`, where a failure must not end the training: it is a warning, and the next time tries again."""
        try:
            self.save(state, start, history, place, record)
        except (OSError, DataError) as error:
            self.clock = time.monotonic()
            warnings.warn(f"the checkpoint '{self.path}' could not be written: {error}", RuntimeWarning, stacklevel=2)


def _extent(state: State, history: Lists) -> tuple[int, int | None]:
    """The place in a run: steps taken, and the step of the last validation."""
    checks = history.get("validation_step")
    return state.step, int(checks[-1]) if checks else None


def _last(stored: np.ndarray | None) -> int | None:
    """The step of the last validation, as it is stored."""
    return int(stored) if stored is not None and stored.shape == () else None


def _start(arrays: Mapping[str, np.ndarray]) -> int:
    if "start" not in arrays or arrays["start"].shape != ():
        raise DataError("it does not say where its run began")
    return step_count("the step at which the run began", arrays["start"], DataError)


def _particles(arrays: Mapping[str, np.ndarray]) -> int | None:
    """The particles of the run's program."""
    if "particles" not in arrays:
        return None
    if arrays["particles"].shape != () or arrays["particles"].dtype != np.int64 or arrays["particles"] < 1:
        raise DataError("its number of particles is damaged")
    return int(arrays["particles"])


def _place(arrays: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    if "place" not in arrays:
        return None
    if arrays["place"].shape != (2,) or arrays["place"].dtype != np.int64 or min(arrays["place"]) < 0:
        raise DataError("its place in the stream is damaged")
    return int(arrays["place"][0]), int(arrays["place"][1])


def _made_of(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...] | None:
    """How the batches of the run were made, where the file says so."""
    extent = np.ravel(arrays.get("extent", ()))
    return tuple(int(n) for n in extent) if len(extent) in WORDS else None


def _history(arrays: Mapping[str, np.ndarray]) -> Lists:
    """The recorded lists by name, each of one axis and of its type."""
    found: Lists = {}
    for key, array in arrays.items():
        name = key.removeprefix(PREFIX)
        if name != key:
            wanted = np.dtype(np.int64 if name in INTEGER else float)
            if array.ndim != 1 or array.dtype != wanted:
                raise DataError(f"its history of '{name}' is an array of {array.dtype}{array.shape}")
            found[name] = array.tolist()
    return found


def _check_history(found: Resumed) -> None:
    """Raise DataError unless the history has one entry for every step from the start to the state."""
    steps, history = found.state.step, found.history
    lengths = {len(v) for k, v in history.items() if not k.startswith("validation")}
    checks = history.get("validation_step", [])
    if history.get("step") != list(range(found.start + 1, steps + 1)) or len(lengths) > 1 or "loss" not in history:
        raise DataError(
            f"its history is not that of the steps {found.start} … {steps}; ppl.load_state reads the state alone"
        )
    if len(checks) != len(history.get("validation", [])) or checks != sorted(set(checks)):
        raise DataError("its history of validations has gaps")
    if checks and not (found.start <= checks[0] and checks[-1] <= steps):
        raise DataError("its history has validations outside the run")
