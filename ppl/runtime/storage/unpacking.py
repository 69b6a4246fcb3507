"""States from files that `packing` has written, checked member by member: anybody may have made them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ppl.arguments import file_path, integer
from ppl.errors import DataError, MissingFileError
from ppl.estimators.parts.serialize import from_json
from ppl.runtime.state import Layout, State
from ppl.runtime.storage.npz import read_npz
from ppl.runtime.storage.packing import FORMAT

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
    """The result of `read`, or a DataError if a header is malformed."""
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
