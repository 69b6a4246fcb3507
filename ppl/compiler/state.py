"""The state of a program: parameters, step counter, seed, auxiliary variables, optimizer state.

A state is immutable. Parameters are kept as one flat vector, which is what compiled code reads; `state.params` shows
them as read-only arrays by name.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ppl.errors import DataError
from ppl.estimators.base import Estimator
from ppl.estimators.serialize import from_json, to_json


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

    def join(self, parts: Mapping[str, Any], dtype: Any) -> np.ndarray:
        """One flat vector from parts by name; raises DataError on missing, unknown or misshapen parts."""
        names = [name for name, _ in self.shapes]
        if set(names) != set(parts):
            missing, unknown = sorted(set(names) - set(parts)), sorted(set(parts) - set(names))
            raise DataError(f"parameters do not match the program: missing {missing}, unknown {unknown}")
        out = np.empty(self.size, dtype)
        for name, view in self.split(out).items():
            value = np.asarray(parts[name])
            if value.shape != view.shape:
                raise DataError(f"parameter '{name}' has shape {value.shape}, the program expects {view.shape}")
            view[...] = value
        return out


class State:
    """Parameters (unconstrained), step, seed, auxiliary variables and optimizer state of one training run.

    Attributes
    ----------
    params, aux : dict of name → read-only ndarray.
    step, seed : int.
    opt : the optimizer's own state (a dict of arrays) or None.
    estimators : dict of node → estimator of the program that made the state, as `ppl.compile(estimators=)` takes it;
        empty in checkpoints that do not have it.
    """

    __slots__ = ("_aux", "_estimators", "_flat", "_layouts", "opt", "seed", "step")

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
        self._flat, self._aux, self._layouts = flat, aux, layouts
        self.step, self.seed, self.opt = step, seed, opt
        self._estimators = {} if estimators is None else estimators

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Unconstrained parameters by name."""
        return _frozen_views(self._layouts[0], self._flat)

    @property
    def aux(self) -> dict[str, np.ndarray]:
        """Baselines, control-variate parameters and carried values (`ppl.carried`) by name."""
        return _frozen_views(self._layouts[1], self._aux)

    @property
    def estimators(self) -> dict[str, Estimator]:
        """Node → estimator of the program that made the state."""
        return dict(self._estimators)

    def replace(self, **changes: Any) -> State:
        """A state with other `params`, `aux` (dicts, all names), `step`, `seed`, `opt` or `estimators`."""
        unknown = set(changes) - {"params", "aux", "step", "seed", "opt", "estimators"}
        if unknown:
            raise DataError(f"a state has no field {sorted(unknown)}; fields: params, aux, step, seed, opt, estimators")
        flat, aux = self._flat, self._aux
        if "params" in changes:
            flat = self._layouts[0].join(changes["params"], flat.dtype)
        if "aux" in changes:
            aux = self._layouts[1].join(changes["aux"], aux.dtype)
        opt = changes.get("opt", self.opt)
        step, seed = changes.get("step", self.step), changes.get("seed", self.seed)
        return State(flat, aux, self._layouts, step, seed, opt, changes.get("estimators", self._estimators))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to an `.npz` file, atomically and without pickle."""
        write_npz(path, pack_state(self))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n} {s}" for n, s in self._layouts[0].shapes)
        return f"State(step={self.step}, seed={self.seed}, params: {shapes})"


def _frozen_views(layout: Layout, flat: np.ndarray) -> dict[str, np.ndarray]:
    views = layout.split(flat)
    for view in views.values():
        view.setflags(write=False)
    return views


def pack_state(state: State) -> dict[str, np.ndarray]:
    """The state as a flat dict of arrays, ready for `np.savez`."""
    meta = {
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
    """The inverse of `pack_state`."""
    meta = json.loads(arrays["meta"].tobytes().decode())
    params, aux = (Layout(tuple((n, tuple(s)) for n, s in meta[k])) for k in ("params", "aux"))
    opt = _unpack_tree(meta["opt"], arrays)
    flat, aux_flat = np.array(arrays["params"]), np.array(arrays["aux"])
    estimators = from_json(meta.get("estimators", {}))
    return State(flat, aux_flat, (params, aux), meta["step"], meta["seed"], opt, estimators)


def _pack_tree(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if isinstance(value, Mapping):
        return {"dict": {k: _pack_tree(v, f"{path}/{k}", arrays) for k, v in value.items()}}
    if isinstance(value, (tuple, list)):
        return {"list": [_pack_tree(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        arrays[path] = np.asarray(value)
        return {"array": path}
    raise DataError(f"optimizer state holds a {type(value).__name__}, which a checkpoint cannot store")


def _unpack_tree(packed: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if "value" in packed:
        return packed["value"]
    if "dict" in packed:
        return {k: _unpack_tree(v, arrays) for k, v in packed["dict"].items()}
    if "list" in packed:
        return tuple(_unpack_tree(v, arrays) for v in packed["list"])
    return np.array(arrays[packed["array"]])


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` next to `path` and move it into place, so that a crash never leaves half a file."""
    path = os.fspath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load_state(path: str | os.PathLike[str]) -> State:
    """Read a state written by `State.save`.

    Raises
    ------
    DataError : the file is something else, or names an estimator that is not defined in this process.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return unpack_state(arrays)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{os.fspath(path)} is not a state that State.save wrote") from error
