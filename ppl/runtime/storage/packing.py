"""States as files: a dict of arrays with a JSON header; `unpacking` reads what is written here.

The header says step, seed, the layouts, the estimators and the tree of the optimizer's state, whose arrays are members.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import file_path
from ppl.errors import DataError
from ppl.estimators.parts.serialize import to_json
from ppl.runtime.storage.npz import remove_abandoned, write_npz

if TYPE_CHECKING:
    from ppl.runtime.state import State

FORMAT = 1
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
