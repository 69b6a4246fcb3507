"""The state of a program (parameters, step, seed, auxiliary variables, optimizer state), and its file format.

A state is immutable. Parameters are kept as one flat vector, which is what compiled code reads; `state.params` shows
them as read-only arrays by name. A file holds the vectors, and a JSON header with step, seed, layouts, estimators and
the tree of the optimizer's state. What is read is checked member by member: anybody may have written it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ppl.arguments import array, file_path, integer, noise_seed, shown, step_count
from ppl.errors import DataError, MissingFileError
from ppl.estimators.base import Estimator
from ppl.estimators.serialize import from_json, to_json
from ppl.names import Named
from ppl.notebook.html import table, titled_block
from ppl.records import dataclass
from ppl.runtime.array_files import read_npz, remove_abandoned, write_npz

STATE_FIELDS = "params", "aux", "step", "seed", "opt", "estimators"


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the parts of a flat vector, in order."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def slices(self) -> tuple[tuple[str, slice, tuple[int, ...]], ...]:
        """(name, place in the flat vector, shape) of every part."""
        out, start = [], 0
        for name, shape in self.shapes:
            out.append((name, slice(start, start + math.prod(shape)), shape))
            start = out[-1][1].stop
        return tuple(out)

    @cached_property
    def size(self) -> int:
        """Length of the flat vector."""
        return self.slices[-1][1].stop if self.shapes else 0

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Views of the parts by name."""
        return {name: flat[place].reshape(shape) for name, place, shape in self.slices}

    def join(self, parts: Mapping[str, Any], dtype: Any, bounded: bool = False) -> np.ndarray:
        """One flat vector from parts by name; `bounded` refuses finite numbers that are infinite in `dtype`.

        Raises
        ------
        DataError
            Parts are missing, unknown, of another shape, not real numbers, or too large for `dtype`.
        """
        if not isinstance(parts, Mapping):
            raise DataError(f"parameters are given as a dict of name → array, not as {type(parts).__name__}")
        names = [name for name, _ in self.shapes]
        if set(names) != set(parts):
            missing, unknown = sorted(set(names) - set(parts)), sorted(map(str, set(parts) - set(names)))
            raise DataError(f"parameters do not match the program: missing {missing}, unknown {unknown}")
        out = np.empty(self.size, dtype)
        for name, view in self.split(out).items():
            value = array(f"parameter '{name}'", parts[name], DataError)
            if value.shape != view.shape:
                raise DataError(f"parameter '{name}' has shape {value.shape}, the program expects {view.shape}")
            with np.errstate(over="ignore"):
                view[...] = value
            if bounded and np.isfinite(value).sum() > np.isfinite(view).sum():
                raise DataError(f"parameter '{name}' holds a number beyond the range of {view.dtype}")
        return out


class State:
    """Parameters (unconstrained), step, seed, auxiliary variables and optimizer state of one training run.

    Its vectors have the lengths of their layouts, and one precision. Every way to make a state checks this, because
    compiled code reads and writes them unchecked.

    Attributes
    ----------
    params, aux : dict of name → read-only ndarray.
    step, seed : int.
    opt : the optimizer's own state (a dict of arrays) or None.
    estimators : dict of node → estimator of the program that made the state, as `ppl.compile(estimators=)` takes it;
        empty in checkpoints that do not have it.

    Raises
    ------
    DataError
        A vector has another length, rank or type than its layout says; the step or seed is out of range.
    """

    __slots__ = ("_aux", "_estimators", "_flat", "_layouts", "_opt", "_seed", "_step")

    def __init__(
        self,
        flat: np.ndarray,
        aux: np.ndarray,
        layouts: tuple[Layout, Layout],
        step: int,
        seed: int,
        opt: Any = None,
        estimators: Mapping[str, Estimator] | None = None,
    ):
        if not isinstance(layouts, tuple) or [type(part) for part in layouts] != [Layout, Layout]:
            raise DataError(f"a state's layouts are those of its two vectors, not {shown(layouts)}")
        self._flat, self._aux = (
            _checked_vector("parameters", flat, layouts[0]),
            _checked_vector("auxiliary variables", aux, layouts[1]),
        )
        if self._flat.dtype != self._aux.dtype:
            raise DataError(f"a state has parameters in {flat.dtype} and auxiliary variables in {aux.dtype}")
        self._layouts, self._opt = layouts, opt
        self._step = step_count("a state's step", step, DataError)
        self._seed = noise_seed("a state's seed", seed, DataError)
        self._estimators = _checked_estimators(estimators)

    @classmethod
    def unchecked(
        cls,
        flat: np.ndarray,
        aux: np.ndarray,
        layouts: tuple[Layout, Layout],
        step: int,
        seed: int,
        opt: Any,
        estimators: Mapping[str, Estimator],
    ) -> State:
        """A state on vectors that the package has made, shared and not checked again."""
        new = _new_object(cls)
        new._flat, new._aux, new._layouts = flat, aux, layouts
        new._step, new._seed, new._opt, new._estimators = step, seed, opt, estimators
        return new

    @property
    def step(self) -> int:
        """Training steps taken."""
        return self._step

    @property
    def seed(self) -> int:
        """The seed of noise and batches."""
        return self._seed

    @property
    def opt(self) -> Any:
        """The optimizer's own state, or None."""
        return self._opt

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Unconstrained parameters by name."""
        return _frozen_views(self._layouts[0], self._flat)

    @property
    def aux(self) -> dict[str, np.ndarray]:
        """Baselines, control-variate parameters and carried values (`ppl.carried`) by name."""
        return Named("auxiliary variable", _frozen_views(self._layouts[1], self._aux))

    @property
    def estimators(self) -> dict[str, Estimator]:
        """Node → estimator of the program that made the state."""
        return Named("node", self._estimators)

    def replace(self, **changes: Any) -> State:
        """A state with other `params`, `aux` (dicts, all names), `step`, `seed`, `opt` or `estimators`.

        Raises
        ------
        DataError
            There is no such field, or a value does not fit it.
        """
        unknown = set(changes) - set(STATE_FIELDS)
        if unknown:
            raise DataError(f"a state has no field {sorted(unknown)}; fields: {', '.join(STATE_FIELDS)}")
        flat, aux = self._flat, self._aux
        if "params" in changes:
            flat = self._layouts[0].join(changes["params"], flat.dtype, bounded=True)
        if "aux" in changes:
            aux = self._layouts[1].join(changes["aux"], aux.dtype, bounded=True)
        step = step_count("step", changes.get("step", self.step), DataError)
        seed = noise_seed("seed", changes.get("seed", self.seed), DataError)
        estimators = _checked_estimators(changes.get("estimators", self._estimators))
        return State.unchecked(flat, aux, self._layouts, step, seed, changes.get("opt", self.opt), estimators)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to an `.npz` file, atomically and without pickle.

        Raises
        ------
        DataError
            The file cannot be written, or the optimizer's state or an estimator's option cannot be stored.
        """
        save_state(self, path)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self._flat, self._aux, self._layouts, self._step, self._seed, self._opt, dict(self._estimators)
        return State, parts

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n} {s}" for n, s in self._layouts[0].shapes)
        return f"State(step={self.step}, seed={self.seed}, params: {shapes})"

    def _repr_html_(self) -> str:
        parts = self._layouts[0].split(self._flat)
        rows = [(name, x.shape or "scalar", *_summarize_entries(x)) for name, x in parts.items()]
        columns = ("parameter, unconstrained", "shape", "least", "mean", "largest")
        return titled_block(f"State at step {self.step}, seed {self.seed}", table(columns, rows))


_new_object: Any = object.__new__


def _summarize_entries(x: np.ndarray) -> tuple[str, str, str]:
    """Least entry, mean and largest entry, in four digits."""
    if not x.size:
        return "", "", ""
    return f"{x.min():.4g}", f"{x.mean():.4g}", f"{x.max():.4g}"


def _frozen_views(layout: Layout, flat: np.ndarray) -> dict[str, np.ndarray]:
    views = layout.split(flat)
    for view in views.values():
        view.setflags(write=False)
    return views


def _checked_vector(what: str, value: Any, layout: Layout) -> np.ndarray:
    """A copy of the flat vector of a layout, as compiled code reads it."""
    given = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    if not given or value.dtype not in (np.float32, np.float64):
        raise DataError(f"a state's {what} are a float32 or float64 array, not {getattr(value, 'dtype', type(value))}")
    if value.shape != (layout.size,):
        raise DataError(f"a state's {what} are a vector of {layout.size} numbers, not an array of shape {value.shape}")
    return np.array(value, order="C", subok=False)


def _checked_estimators(estimators: Any) -> Mapping[str, Estimator]:
    given = {} if estimators is None else estimators
    if not isinstance(given, Mapping) or not all(isinstance(e, Estimator) for e in given.values()):
        raise DataError(f"a state's estimators are a dict of node → estimator, not {shown(estimators)}")
    return given


STATE_FORMAT = 1
"""Version of the header; files without one are of version 1."""


def save_state(state: State, path: str | os.PathLike[str]) -> None:
    """Write a state to a file of its own; see `State.save`."""
    path = file_path("path", path, DataError)
    arrays = pack_state(state)
    try:
        remove_abandoned(path)
        write_npz(path, arrays)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error


def pack_state(state: State) -> dict[str, np.ndarray]:
    """The state as a flat dict of arrays."""
    meta = {
        "format": STATE_FORMAT,
        "step": state.step,
        "seed": state.seed,
        "params": [[n, list(s)] for n, s in state._layouts[0].shapes],
        "aux": [[n, list(s)] for n, s in state._layouts[1].shapes],
        "estimators": to_json(state._estimators),
    }
    arrays = {"params": state._flat, "aux": state._aux}
    meta["opt"] = _pack_tree(state.opt, "opt", arrays)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    return arrays


def _pack_tree(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            return {"items": [[k, _pack_tree(v, f"{path}/{k}", arrays)] for k, v in value.items()]}
        return {"dict": {k: _pack_tree(v, f"{path}/{k}", arrays) for k, v in value.items()}}
    if isinstance(value, (tuple, list)):
        return {"list": [_pack_tree(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise DataError(f"optimizer state holds an array of {array.dtype}, which a checkpoint cannot store")
        while path in arrays:
            path += "'"
        arrays[path] = array
        return {"array": path}
    raise DataError(f"optimizer state holds a {type(value).__name__}, which a checkpoint cannot store")


T = TypeVar("T")


def load_state(path: str | os.PathLike[str]) -> State:
    """Read a state written by `State.save`, or the state in a checkpoint of `ppl.fit`.

    Raises
    ------
    MissingFileError : there is no such file.
    DataError : the file is something else, damaged, or names an estimator that is not defined in this process.
    """
    path = file_path("path", path, DataError)
    try:
        return unpack_state(read_npz(path))
    except MissingFileError:
        raise
    except DataError as error:
        raise DataError(f"'{path}' is not a state that State.save wrote: {error}") from error


def unpack_state(arrays: Mapping[str, np.ndarray]) -> State:
    """The inverse of `pack_state`, on arrays that anybody may have made.

    Raises
    ------
    DataError
        Something is missing, or does not fit the rest.
    """
    return _refuse_damaged_header(lambda: _unpack_state(arrays))


def _unpack_state(arrays: Mapping[str, np.ndarray]) -> State:
    meta = json.loads(arrays["meta"].tobytes().decode())
    written = meta.get("format", 1)
    if written != STATE_FORMAT:
        raise DataError(f"it is in format {written!r}; this version of ppl reads {STATE_FORMAT}")
    layouts = _read_layout(meta["params"]), _read_layout(meta["aux"])
    opt, estimators = _unpack_tree(meta["opt"], arrays), from_json(meta.get("estimators", {}))
    return State(arrays["params"], arrays["aux"], layouts, meta["step"], meta["seed"], opt, estimators)


def _refuse_damaged_header(read: Callable[[], T]) -> T:
    """The result of `read`, or a DataError if a header is malformed."""
    try:
        return read()
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"its header is damaged ({type(error).__name__}: {error})") from error


def _read_layout(listed: Any) -> Layout:
    """A layout of names that differ and of shapes that an array can have."""
    shapes = tuple((name, tuple(integer("a length", n, 0, 2**48, DataError) for n in shape)) for name, shape in listed)
    names = [name for name, _ in shapes]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DataError(f"its parameters have names {names}")
    if sum(math.prod(shape) for _, shape in shapes) >= 2**48:
        raise DataError("its parameters have more entries than memory holds")
    return Layout(shapes)


def _unpack_tree(packed: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if "value" in packed:
        return packed["value"]
    if "dict" in packed:
        return {k: _unpack_tree(v, arrays) for k, v in packed["dict"].items()}
    if "items" in packed:
        return {k: _unpack_tree(v, arrays) for k, v in packed["items"]}
    if "list" in packed:
        return tuple(_unpack_tree(v, arrays) for v in packed["list"])
    return arrays[packed["array"]]


def require_state(state: Any, name: str = "the first argument") -> None:
    """Raise a DataError unless `state` is a State whose vectors have the lengths that it says."""
    if not isinstance(state, State):
        raise DataError(f"{name} is a State (from program.init, a fit or a file), not {type(state).__name__}")
    params, aux = state._layouts
    if state._flat.size != params.size or state._aux.size != aux.size:
        lengths, wanted = (state._flat.size, state._aux.size), (params.size, aux.size)
        raise DataError(f"the state's vectors have {lengths} entries instead of {wanted}")
