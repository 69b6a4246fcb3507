"""The contract of optimizers, and what those of this package share.

Any object with `init(params)` and `update(grads, opt_state, params)` on dicts of arrays is an optimizer;
updates are added to the parameters. That is optax's contract, so optax's optimizers are optimizers here.
Training itself runs on one flat vector through `Transform.apply`; `ppl.training.optim.transform` makes
one from any optimizer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ppl.arguments import WORD, array, number, step_count
from ppl.errors import DataError, OptionError
from ppl.lazy import checks, parallel_optimizers
from ppl.lazy import optimizers as kernels
from ppl.names import Keywords
from ppl.runtime.buffers import ArrayPool
from ppl.runtime.state import Layout
from ppl.training.optim.schedules import Rate, check_rate, rate_at
from ppl.tuning import POOLED_ENTRIES

SQUARE_SLOTS = "v", "sum"
"""Slots that add up squares."""

SLOT_LIMITS = {
    (np.dtype(kind), squares): (kind(0.0), kind(np.inf)) if squares else (np.finfo(kind).min, np.finfo(kind).max)
    for kind in (np.float32, np.float64)
    for squares in (False, True)
}
"""The least and the largest entry of a slot, by its type and whether it adds up squares."""

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

Params = Mapping[str, Any]

_thread_memory = threading.local()


def empty_vector(purpose: str, like: np.ndarray) -> np.ndarray:
    """Return an uninitialised vector like `like` that nobody else refers to; large ones use memory again."""
    if like.size < POOLED_ENTRIES:
        return np.empty(like.size, like.dtype)
    pool = getattr(_thread_memory, "pool", None)
    if pool is None:
        pool = _thread_memory.pool = ArrayPool()
    return pool.empty(purpose, like.size, like.dtype)


OptimizerState = dict[str, Any]

Slots = tuple[np.ndarray, ...]


@runtime_checkable
class Optimizer(Protocol):
    """The public contract: pure functions on dicts name → array."""

    def init(self, params: Any) -> Any:
        """Return the optimizer state for parameters of these shapes."""
        ...

    def update(self, grads: Any, opt_state: Any, params: Any = None) -> tuple[Any, Any]:
        """Return (updates, new optimizer state); new parameters are params + updates."""
        ...


class Transform(Protocol):
    """One step on flat vectors, for `ppl.runtime.call.take_optimizer_step`; it writes to no argument."""

    def apply(
        self, flat: np.ndarray, grad: np.ndarray, opt: Any, layout: Layout, step: int, scale: float = 1.0
    ) -> tuple[np.ndarray, Any]:
        """Return (new parameters, new optimizer state) for the gradient `scale · grad`; `opt` is None at first."""
        ...

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise DataError unless a run on parameters `flat` can begin with `opt`."""
        ...


def _check_fraction(name: str, value: Any) -> None:
    """Raise OptionError unless a value is a number in [0, 1)."""
    if not 0.0 <= number(name, value) < 1.0:
        raise OptionError(f"{name} must lie in [0, 1), not {value}")


def _check_eps(name: str, value: Any) -> None:
    """Raise OptionError unless what is added to a root is a number that float32 can hold and that is not 0 there."""
    if not SMALLEST_NORMAL <= number(name, value) <= 1.0 / SMALLEST_NORMAL:
        raise OptionError(f"{name} must be positive, and a number that float32 can hold, not {value}")


def _check_decay(name: str, value: Any) -> None:
    """Raise OptionError unless a value is a number that is not negative."""
    if not number(name, value) >= 0.0:
        raise OptionError(f"{name} must be at least 0, not {value}")


NUMBERS: dict[str, Callable[[str, Any], None]] = {
    "beta": _check_fraction,
    "decay": _check_fraction,
    "b1": _check_fraction,
    "b2": _check_fraction,
    "eps": _check_eps,
    "weight_decay": _check_decay,
}
"""The numbers of updates besides the rate, in the order in which kernels take them, and what checks each."""

MOMENTS = "m", "v"
"""The slots of updates that are told how many steps they have taken."""


def _numbers_of(kind: type) -> tuple[str, ...]:
    """Return the fields of a class that its update takes besides the rate."""
    return tuple(name for name in NUMBERS if hasattr(kind, name))


class FlatOptimizer(Keywords):
    """Base of the optimizers whose step is one fused kernel on a flat vector.

    A concrete class is a frozen dataclass with the fields `lr` and `clip_norm` and those of `NUMBERS` that its update
    takes; it names its `kernel` and its `slots` (flat vectors that start at zero). Its state is
    {"t": steps taken, slot: vector}. Schedules are given the step of the training state by `apply`, and `t` by the
    dict form `update`, which knows no other.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[str]
    reads_params: ClassVar[bool] = False
    lr: Rate
    clip_norm: float | None

    def __post_init__(self) -> None:
        """Check all fields, and keep them as the floats that kernels take where they are other numbers."""
        owner = type(self).__name__
        check_rate(owner, self.lr)
        numbers = _numbers_of(type(self))
        for name in numbers:
            NUMBERS[name](f"{owner}: {name}", getattr(self, name))
        if self.clip_norm is not None and not number(f"{owner}: clip_norm", self.clip_norm) > 0.0:
            raise OptionError(f"{owner}: clip_norm must be positive, not {self.clip_norm}")
        for name in ("lr", *numbers, "clip_norm"):
            value = getattr(self, name)
            if value is not None and not callable(value) and (type(value) not in (int, float) or abs(value) >= WORD):
                object.__setattr__(self, name, float(value))

    def numbers(self) -> list[float]:
        """Return what the update takes besides the rate."""
        return [getattr(self, name) for name in _numbers_of(type(self))]

    def _kernel(self) -> str:
        """Return the name of the function that takes a step."""
        return self.kernel

    def _step(self, flat: np.ndarray, grad: np.ndarray, slots: Slots, step: int, t: int, scale: float) -> Slots:
        """Return fresh (new parameters, *new slots) for the gradient `scale · grad`; `t` counts from 1."""
        new = tuple([empty_vector(name, flat) for name in ("parameters", *self.slots)])
        numbers = [*self.numbers(), t] if self.slots == MOMENTS else self.numbers()
        rate = rate_at(self.lr, step, type(self).__name__)
        parallel_optimizers.into(self._kernel(), *new, flat, grad, *slots, rate, *numbers, scale)
        return new

    def apply(
        self,
        flat: np.ndarray,
        grad: np.ndarray,
        opt: OptimizerState | None,
        layout: Layout | None,
        step: int,
        scale: float = 1.0,
    ) -> tuple[np.ndarray, OptimizerState]:
        """Take one step on flat vectors; see `Transform`."""
        if opt is None:
            opt = self._start(flat)
        else:
            self.require(opt, flat)
        t = opt["t"] + 1
        slots = tuple([opt[name] for name in self.slots]) if self.slots else ()
        if self.clip_norm is not None:
            norm = abs(scale) * kernels.norm(grad)
            scale = scale if norm <= self.clip_norm else scale * (self.clip_norm / norm)
        new = self._step(flat, grad, slots, step, t, scale)
        return new[0], {"t": t, **dict(zip(self.slots, new[1:], strict=True))} if slots else {"t": t}

    def init(self, params: Params) -> OptimizerState:
        """Return the state for `params`, a dict of arrays of one dtype."""
        return self._start(_flatten(params, _layout_of(params)))

    def update(
        self, grads: Params, opt_state: OptimizerState, params: Params | None = None
    ) -> tuple[dict[str, np.ndarray], OptimizerState]:
        """Return updates to be added to the parameters, by name, and the new state.

        Parameters
        ----------
        grads : dict of arrays of one dtype, the gradient of the loss.
        opt_state : from `init` or the last `update`.
        params : the parameters, by name; needed by optimizers whose step depends on them (`AdamW`).
        """
        layout = _layout_of(grads)
        grad = _flatten(grads, layout)
        self.require(opt_state, grad)
        if self.reads_params and params is None:
            raise DataError(f"{type(self).__name__}.update needs params=: its step depends on the parameters")
        flat = layout.join(params, grad.dtype) if self.reads_params and params is not None else np.zeros_like(grad)
        new, opt = self.apply(flat, grad, opt_state, layout, opt_state["t"])
        return layout.split(new - flat if self.reads_params else new), opt

    def require(self, opt: Any, like: np.ndarray) -> None:
        """Raise DataError unless `opt` is a state of this optimizer for a vector like `like`; kernels check nothing."""
        if type(opt) is not dict and not isinstance(opt, Mapping):
            raise self._foreign(opt)
        if len(opt) != len(self.slots) + 1 or "t" not in opt:
            raise self._foreign(opt)
        t = opt["t"]
        if type(t) is not int or not 0 <= t < WORD:
            step_count(f"{type(self).__name__}: the optimizer state's t", t, DataError)
        for name in self.slots:
            slot = opt.get(name)
            if type(slot) is not np.ndarray or slot.shape != like.shape or slot.dtype != like.dtype:
                raise self._foreign(opt)
            if not slot.flags.c_contiguous:
                raise DataError(f"{type(self).__name__}: '{name}' of the optimizer state is not contiguous")

    def check(self, opt: Any, flat: np.ndarray, layout: Layout) -> None:
        """Raise DataError unless a run can begin with `opt`: as `require`, no NaN, and no negative sums of squares."""
        if opt is None:
            return
        self.require(opt, flat)
        for name in self.slots:
            slot, ends = opt[name], SLOT_LIMITS[opt[name].dtype, name in SQUARE_SLOTS]
            if slot.size and checks.count_in_range(slot, *ends) < slot.size:
                owner = type(self).__name__
                raise DataError(f"{owner}: '{name}' of the optimizer state holds NaN or numbers out of range")

    def _start(self, flat: np.ndarray) -> OptimizerState:
        return {"t": 0, **{name: np.zeros_like(flat) for name in self.slots}}

    def _foreign(self, opt: Any) -> DataError:
        found = sorted(opt) if isinstance(opt, Mapping) else type(opt).__name__
        return DataError(
            f"{type(self).__name__}: the state's optimizer state ({found}) is of another optimizer or other "
            "parameters; start afresh with state.replace(opt=None)"
        )


def _layout_of(parts: Params) -> Layout:
    if not isinstance(parts, Mapping):
        raise DataError(f"parameters and gradients are dicts of name → array, not {type(parts).__name__}")
    return Layout(tuple((name, np.shape(value)) for name, value in parts.items()))


def _flatten(parts: Params, layout: Layout) -> np.ndarray:
    return layout.join(parts, np.result_type(np.float32, *(array(f"'{n}'", v, DataError) for n, v in parts.items())))
