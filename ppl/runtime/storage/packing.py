"""States as files: a dict of arrays with a JSON header, checked member by member when it is read back.

The header says step, seed, the layouts, the estimators and the tree of the optimizer's state, whose arrays are members.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ppl.arguments import file_path, integer
from ppl.errors import DataError, MissingFileError
from ppl.estimators.parts.serialize import from_json, to_json
from ppl.runtime.state import Layout, State
from ppl.runtime.storage.npz import read_npz, remove_abandoned, write_npz

FORMAT = 1
"""Version of the header; files without one are of version 1."""

T = TypeVar("T")


def save_state(state: State, path: str | os.PathLike[str]) -> None:
    """Write a state to a file of its own; see `State.save`."""
    path = file_path("path", path, DataError)
    arrays = pack_state(state)
    try:
        remove_abandoned(path)
        write_npz(path, arrays)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error


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


def pack_state(state: State) -> dict[str, np.ndarray]:
    """The state as a flat dict of arrays."""
    meta = {
        "format": FORMAT,
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


def unpack_state(arrays: Mapping[str, np.ndarray]) -> State:
    """The inverse of `pack_state`, on arrays that anybody may have made.

    Raises
    ------
    DataError
        Something is missing, or does not fit the rest.
    """
    return _understood(lambda: _unpack_state(arrays))


def _unpack_state(arrays: Mapping[str, np.ndarray]) -> State:
    meta = json.loads(arrays["meta"].tobytes().decode())
    written = meta.get("format", 1)
    if written != FORMAT:
        raise DataError(f"it is in format {written!r}; this version of ppl reads {FORMAT}")
    layouts = _layout(meta["params"]), _layout(meta["aux"])
    opt, estimators = _unpack_tree(meta["opt"], arrays), from_json(meta.get("estimators", {}))
    return State(arrays["params"], arrays["aux"], layouts, meta["step"], meta["seed"], opt, estimators)


def _understood(read: Callable[[], T]) -> T:
    """What `read` returns; a DataError where a header is not what it should be."""
    try:
        return read()
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"its header is damaged ({type(error).__name__}: {error})") from error


def _layout(listed: Any) -> Layout:
    """A layout of names that differ and of shapes that an array can have."""
    shapes = tuple((name, tuple(integer("a length", n, 0, 2**48, DataError) for n in shape)) for name, shape in listed)
    names = [name for name, _ in shapes]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DataError(f"its parameters have names {names}")
    if sum(math.prod(shape) for _, shape in shapes) >= 2**48:
        raise DataError("its parameters have more entries than memory holds")
    return Layout(shapes)


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
