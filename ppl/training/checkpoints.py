"""Checkpoints of `ppl.fit`: files with the state, where the run began and its history, and the policy of which are
kept.

`ppl.load_state` reads the state out of such a file. Files are replaced atomically and hold no pickle. A file is read
back as a state together with the history that led to it, or refused with a DataError."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ppl.arguments import MANY, file_path, flag, integer, shown, step_count
from ppl.errors import DataError, MissingFileError, OptionError
from ppl.records import dataclass
from ppl.runtime.array_files import read_npz, remove_abandoned, require_writable, write_npz
from ppl.runtime.state import State, pack_state, unpack_state


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


def checkpoint_policy(option: Any) -> Checkpoints:
    """Return the policy that `checkpoint=` of `ppl.fit` says: itself, or that of a path or (path, every).

    Raises
    ------
    OptionError
        It is none of these, no path, or `every` not a positive number of steps.
    """
    if isinstance(option, Checkpoints):
        return option
    pair = isinstance(option, (tuple, list))
    if pair and len(option) != 2:
        raise OptionError(f"checkpoint= must be a path, or (path, every), not {shown(option)}")
    path, every = option if pair else (option, None)
    file_path("checkpoint=: the path", path)
    return Checkpoints(path, integer("checkpoint=(path, every): every", every, 1, MANY) if pair else None)


def sibling_path(path: str, word: Any) -> str:
    """Return the path of a file beside a checkpoint: `word` before its ending."""
    stem, ending = os.path.splitext(path)
    return f"{stem}.{word}{ending}"


def earlier_checkpoints(path: str) -> list[tuple[int, str]]:
    """Return (step, path) of the checkpoints beside `path`, the newest first."""
    folder, name = os.path.split(os.path.abspath(path))
    stem, ending = os.path.splitext(name)
    pattern = re.compile(re.escape(stem) + r"\.(\d+)" + re.escape(ending))
    with contextlib.suppress(OSError):
        found = [(int(m[1]), os.path.join(folder, m[0])) for n in os.listdir(folder) if (m := pattern.fullmatch(n))]
        return sorted(found, reverse=True)
    return []


def archive_checkpoint(path: str, step: int) -> None:
    """Keep the checkpoint at `path`, of `step`, under a name of its own, before another one takes its place."""
    target = sibling_path(path, step)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    with contextlib.suppress(FileNotFoundError):
        try:
            os.link(path, target)
        except (OSError, NotImplementedError):  # a file system without links
            shutil.copyfile(path, target)


def prune_checkpoints(path: str, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints beside `path`."""
    for _, old in earlier_checkpoints(path)[keep:]:
        with contextlib.suppress(OSError):
            os.unlink(old)


DEFAULT_INTERVAL_SECONDS = 30.0

INTEGER_COLUMNS = ("step", "validation_step")

HISTORY_PREFIX, TUNING_PREFIX = "history/", "tune/"

BATCHING_TERMS = {1: ("batches a step",), 3: ("rows", "rows a step", "rows of the data set")}

HistoryLists = dict[str, list[float]]


class RunStart(NamedTuple):
    """The content of a checkpoint; `start` is the step at which the run began, `place` where a stream goes on.

    `record` are the arrays of a bounded history (`BoundedHistory`), in place of `history`. `extent` says how batches
    were made: rows, rows of a batch, rows of the data set; of a stream, batches of a step. `particles` are those of the
    program, None in older files; `tuning` are the arrays of a run that chooses its estimators (`ppl.choosing.tuner`).
    """

    state: State
    start: int
    history: HistoryLists
    place: tuple[int, int] | None
    record: dict[str, np.ndarray] | None = None
    extent: tuple[int, ...] | None = None
    particles: int | None = None
    tuning: dict[str, np.ndarray] | None = None


class CheckpointFile:
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
        policy = checkpoint_policy(option)
        self.path, self.every = file_path("checkpoint=: the path", policy.path), policy.every
        self.keep, self.keeps_best = policy.keep, policy.best
        self.best = np.inf
        self.extent: tuple[int, ...] = ()
        self.particles: int | None = None
        self.tuning: Callable[[], Mapping[str, np.ndarray]] = dict
        require_writable(self.path)
        remove_abandoned(self.path)
        self.written: tuple[int, int | None] | None = None
        self.clock = time.monotonic()

    def load(self) -> RunStart | None:
        """Read the file; None if there is none.

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
        for _, path in earlier_checkpoints(self.path) if self.keep > 1 else ():
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
        left = [os.path.basename(path) for _, path in earlier_checkpoints(self.path)] if self.keep > 1 else []
        if left:
            raise DataError(
                f"checkpoint '{self.path}' is not there, but checkpoints of its run are beside it: {', '.join(left)}. "
                "Remove them to begin anew, or give the newest that name to go on from it"
            )

    def _read(self, path: str) -> RunStart:
        arrays = read_npz(path)
        record = {k: v for k, v in arrays.items() if k.partition("/")[0] == "record"} or None
        state = unpack_state(arrays)
        tuning = {k: v for k, v in arrays.items() if k.startswith(TUNING_PREFIX)} or None
        made = _read_batching(arrays), _read_particles(arrays), tuning
        found = RunStart(
            state, _read_start_step(arrays), _read_history(arrays), _read_stream_position(arrays), record, *made
        )
        if record is None:
            _check_history(found)
        self.written = state.step, _stored_validation_step(arrays.get("last_check"))
        self.best = float(arrays["best"]) if "best" in arrays and arrays["best"].shape == () else np.inf
        return found

    def batches_of(self, found: tuple[int, ...] | None, extent: tuple[int, ...]) -> None:
        """Take note of how batches are made; a warning says so where the checkpoint's run made them otherwise."""
        self.extent = extent
        if found is None or found == extent:
            return
        was, now = (", ".join(map("{} {}".format, each, BATCHING_TERMS[len(each)])) for each in (found, extent))
        text = f"the run in checkpoint '{self.path}' was one of {was}, and goes on with {now}: it becomes another run"
        warnings.warn(text, RuntimeWarning, stacklevel=5)

    def due(self, step: int) -> bool:
        """Return whether it is time to write."""
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self.clock > DEFAULT_INTERVAL_SECONDS

    def save(
        self,
        state: State,
        start: int,
        history: HistoryLists,
        place: tuple[int, int] | None = None,
        record: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write a checkpoint, unless the file holds this state and history already.

        Raises
        ------
        OSError, DataError
            The file cannot be written, or the optimizer's state not be stored.
        """
        if _position(state, history) == self.written:
            return
        if record is None:
            arrays = {
                HISTORY_PREFIX + k: np.array(v, np.int64 if k in INTEGER_COLUMNS else float) for k, v in history.items()
            }
        else:
            arrays = dict(record)
        extent = _position(state, history)
        arrays |= {} if extent[1] is None else {"last_check": np.array(extent[1], np.int64)}
        arrays |= {"best": np.array(self.best)} if self.keeps_best else {}
        arrays |= {"extent": np.array(self.extent, np.int64)} if self.extent else {}
        arrays |= {"particles": np.array(self.particles, np.int64)} if self.particles else {}
        arrays |= self.tuning()
        arrays |= {} if place is None else {"place": np.array(place, np.int64)}
        content = {**pack_state(state), **arrays, "start": np.array(start, np.int64)}
        if self.keep > 1 and self.written is not None and self.written[0] != state.step:
            archive_checkpoint(self.path, self.written[0])
        write_npz(self.path, content)
        self.written, self.clock = extent, time.monotonic()
        if self.keep > 1:
            prune_checkpoints(self.path, self.keep - 1)

    def validated(self, value: float, state: State) -> None:
        """Keep the state if its validation is the least so far; where that cannot be written, a warning says so."""
        if not (self.keeps_best and value < self.best):
            return
        self.best = value
        try:
            write_npz(sibling_path(self.path, "best"), {**pack_state(state), "validation": np.array(value)})
        except (OSError, DataError) as error:
            warnings.warn(
                f"the best state of '{self.path}' could not be written: {error}", RuntimeWarning, stacklevel=2
            )

    def try_to_save(
        self,
        state: State,
        start: int,
        history: HistoryLists,
        place: tuple[int, int] | None = None,
        record: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write a checkpoint; a failure is a warning, and the next time tries again."""
        try:
            self.save(state, start, history, place, record)
        except (OSError, DataError) as error:
            self.clock = time.monotonic()
            warnings.warn(f"the checkpoint '{self.path}' could not be written: {error}", RuntimeWarning, stacklevel=2)


def _position(state: State, history: HistoryLists) -> tuple[int, int | None]:
    """Return the place in a run: steps taken, and the step of the last validation."""
    checks = history.get("validation_step")
    return state.step, int(checks[-1]) if checks else None


def _stored_validation_step(stored: np.ndarray | None) -> int | None:
    """Return the step of the last validation, as it is stored."""
    return int(stored) if stored is not None and stored.shape == () else None


def _read_start_step(arrays: Mapping[str, np.ndarray]) -> int:
    if "start" not in arrays or arrays["start"].shape != ():
        raise DataError("it does not say where its run began")
    return step_count("the step at which the run began", arrays["start"], DataError)


def _read_particles(arrays: Mapping[str, np.ndarray]) -> int | None:
    """Return the particles of the run's program."""
    if "particles" not in arrays:
        return None
    if arrays["particles"].shape != () or arrays["particles"].dtype != np.int64 or arrays["particles"] < 1:
        raise DataError("its number of particles is damaged")
    return int(arrays["particles"])


def _read_stream_position(arrays: Mapping[str, np.ndarray]) -> tuple[int, int] | None:
    if "place" not in arrays:
        return None
    if arrays["place"].shape != (2,) or arrays["place"].dtype != np.int64 or min(arrays["place"]) < 0:
        raise DataError("its place in the stream is damaged")
    return int(arrays["place"][0]), int(arrays["place"][1])


def _read_batching(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...] | None:
    """Return how the batches of the run were made, where the file says so."""
    extent = np.ravel(arrays.get("extent", ()))
    return tuple(int(n) for n in extent) if len(extent) in BATCHING_TERMS else None


def _read_history(arrays: Mapping[str, np.ndarray]) -> HistoryLists:
    """Return the recorded lists by name, each of one axis and of its type."""
    found: HistoryLists = {}
    for key, array in arrays.items():
        name = key.removeprefix(HISTORY_PREFIX)
        if name != key:
            wanted = np.dtype(np.int64 if name in INTEGER_COLUMNS else float)
            if array.ndim != 1 or array.dtype != wanted:
                raise DataError(f"its history of '{name}' is an array of {array.dtype}{array.shape}")
            found[name] = array.tolist()
    return found


def _check_history(found: RunStart) -> None:
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
