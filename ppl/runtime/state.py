"""The state of a program: parameters, step counter, seed, auxiliary variables, optimizer state.

A state is immutable. Parameters are kept as one flat vector, which is what compiled code reads; `state.params` shows
them as read-only arrays by name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ppl.arguments import array, noise_seed, shown, step_count
from ppl.errors import DataError
from ppl.estimators.base import Estimator
from ppl.html import block, table
from ppl.names import Named
from ppl.records import dataclass
from ppl.runtime.storage.packing import save_state

FIELDS = "params", "aux", "step", "seed", "opt", "estimators"


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
        self._flat, self._aux = _vector("parameters", flat, layouts[0]), _vector("auxiliary variables", aux, layouts[1])
        if self._flat.dtype != self._aux.dtype:
            raise DataError(f"a state has parameters in {flat.dtype} and auxiliary variables in {aux.dtype}")
        self._layouts, self._opt = layouts, opt
        self._step = step_count("a state's step", step, DataError)
        self._seed = noise_seed("a state's seed", seed, DataError)
        self._estimators = _checked_estimators(estimators)

    @classmethod
    def made(
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
        new = _new(cls)
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
        unknown = set(changes) - set(FIELDS)
        if unknown:
            raise DataError(f"a state has no field {sorted(unknown)}; fields: {', '.join(FIELDS)}")
        flat, aux = self._flat, self._aux
        if "params" in changes:
            flat = self._layouts[0].join(changes["params"], flat.dtype, bounded=True)
        if "aux" in changes:
            aux = self._layouts[1].join(changes["aux"], aux.dtype, bounded=True)
        step = step_count("step", changes.get("step", self.step), DataError)
        seed = noise_seed("seed", changes.get("seed", self.seed), DataError)
        estimators = _checked_estimators(changes.get("estimators", self._estimators))
        return State.made(flat, aux, self._layouts, step, seed, changes.get("opt", self.opt), estimators)

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
        rows = [(name, x.shape or "scalar", *_extent(x)) for name, x in parts.items()]
        columns = ("parameter, unconstrained", "shape", "least", "mean", "largest")
        return block(f"State at step {self.step}, seed {self.seed}", table(columns, rows))


_new: Any = object.__new__


def _extent(x: np.ndarray) -> tuple[str, str, str]:
    """Least entry, mean and largest entry, in four digits."""
    if not x.size:
        return "", "", ""
    return f"{x.min():.4g}", f"{x.mean():.4g}", f"{x.max():.4g}"


def _frozen_views(layout: Layout, flat: np.ndarray) -> dict[str, np.ndarray]:
    views = layout.split(flat)
    for view in views.values():
        view.setflags(write=False)
    return views


def _vector(what: str, value: Any, layout: Layout) -> np.ndarray:
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
