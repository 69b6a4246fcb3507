"""The state that a compiled training loop writes to, and what a block of steps is given: data, rates, hyperparameters.

A `MutableState` is a copy of an ordinary `State` that becomes one again. It counts its own steps, so that the
results that a call of compiled code has recorded always fit it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.cpu.training import OPTIMIZER_RULES
from ppl.errors import ScheduleError
from ppl.runtime.binding import BoundData
from ppl.runtime.buffers import aligned_zeros
from ppl.runtime.state import State
from ppl.training.batches import ArrayBatches, epoch_permutation
from ppl.training.optim.base import FlatOptimizer
from ppl.training.optim.schedules import rate_at
from ppl.tuning import BLOCK_SECONDS, BLOCK_STEPS, LONG_BUFFER

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled

T = TypeVar("T")

LARGEST_COMPILED_RATE = 1e18
"""Rates beyond which a step may overflow; the general path takes it."""

SPARSE_RULES = ("SGD", "AdaGrad", "LazyAdam")


class UpdateRule(NamedTuple):
    """An optimizer as emitted code knows it: rule, the names of its vectors, and its numbers besides the rate."""

    name: str
    slots: tuple[str, ...]
    numbers: tuple[float, ...]

    @property
    def sparse(self) -> bool:
        """Whether entries with a gradient of zero stay where they are."""
        return self.name in SPARSE_RULES


def update_rule_of(optimizer: Any) -> UpdateRule | None:
    """Return the rule of an optimizer of this package that compiled code knows; None of any other."""
    name = type(optimizer).__name__
    if not isinstance(optimizer, FlatOptimizer) or optimizer.clip_norm is not None:
        return None
    if name not in OPTIMIZER_RULES or not type(optimizer).__module__.startswith("ppl."):
        return None
    nesterov = getattr(optimizer, "nesterov", False)
    return UpdateRule("Nesterov" if nesterov else name, optimizer.slots, tuple(map(float, optimizer.numbers())))


class BlockData(NamedTuple):
    """Data of some steps: `bound` in the order of the inputs, and the rows of every step if they are minibatches.

    `rows` is None where every step takes all of `bound`. `total` is the number of rows of the whole data set. With
    `gathered`, `bound` is the minibatch of the first step, `others` are those of the steps behind it, `rows` the
    numbers of the rows of all, and `size` how many each has.
    """

    bound: BoundData
    rows: np.ndarray | None
    size: int
    total: int
    gathered: bool = False
    others: tuple[BoundData, ...] = ()


class EpochBlocks:
    """The steps that come on rows in memory; the order of the rows of an epoch is kept."""

    def __init__(self, source: ArrayBatches):
        self.source, self._epoch = source, -1

    def steps(self, whole: BoundData, at: int, count: int) -> tuple[BlockData, int]:
        """Return up to `count` steps on `whole` from number `at` on, none beyond the epoch, and how many they are.

        All have minibatches of one size: the shorter one at an epoch's end is alone.
        """
        source = self.source
        if source.steps_per_epoch == 1:
            return BlockData(whole, None, 0, source.total), count
        epoch, i = divmod(at, source.steps_per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = epoch_permutation(source.seed, epoch, source.count), epoch
        size = source.batch_size
        count = min(count, max(1, source.count // size - i))
        rows = self._order[i * size : (i + count) * size]
        return BlockData(whole, rows, len(rows) // count, source.total), count


class BlockResults(NamedTuple):
    """Steps that compiled code takes in one call: after which they come, and where it writes the scalars of each."""

    at: int
    names: Sequence[str]
    results: np.ndarray
    total: int

    def scalars(self, step: int) -> dict[str, list[float]]:
        """Return the scalars, divided by the rows, of the steps up to `step`."""
        taken = self.results[: step - self.at] / self.total
        return dict(zip(self.names, taken.T.tolist(), strict=True))


class MutableState:
    """A state that training writes to. `state` shows it; after `mark_shared` the next step leaves what was shown alone.

    While there is a `copy_back`, a copy elsewhere is newer than `flat`, and `copy_back` brings it here.
    """

    def __init__(self, state: State, rule: UpdateRule, estimators: Any):
        self._like, self.rule, self.estimators, self._shared = state, rule, estimators, False
        self.flat, self.aux = _aligned_copy(state._flat), state._aux.copy()
        opt = state.opt or {}
        self.slots = [opt[name].copy() if name in opt else np.zeros_like(self.flat) for name in rule.slots]
        self.counter = np.array([state.step, state.step - opt.get("t", 0)], np.int64)
        self.copy_back: Callable[[], None] | None = None
        self.block_results: BlockResults | None = None
        self.device_state: Any = None
        """This state on a device."""
        self.thread_copies: np.ndarray | None = None
        """Copies of `flat` for threads, which they move with it."""
        self._cache: dict[str, tuple[Any, Any]] = {}

    def cached(self, what: str, key: Any, make: Callable[[], T]) -> T:
        """Return what `make` gives, made once for all calls of compiled code whose sizes, the `key`, are the same."""
        if what not in self._cache or self._cache[what][0] != key:
            self._cache[what] = key, make()
        found: T = self._cache[what][1]
        return found

    @property
    def seed(self) -> int:
        """The seed of noise."""
        return self._like.seed

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.counter[0])

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """The optimizer's two vectors, empty where it has none."""
        first, second = [*self.slots, self.flat[:0], self.flat[:0]][:2]
        return first, second

    @property
    def state(self) -> State:
        """The state as it is now, sharing memory."""
        if self.copy_back is not None:
            self.copy_back()
            self.copy_back = None
        like = self._like
        opt: dict[str, Any] = {"t": int(self.counter[0] - self.counter[1])}
        opt |= dict(zip(self.rule.slots, self.slots, strict=True))
        return State.unchecked(self.flat, self.aux, like._layouts, self.step, like.seed, opt, self.estimators)

    def mark_shared(self) -> None:
        """Note that someone may keep what `state` has shown."""
        self._shared = True

    def make_private(self) -> None:
        """Make sure that nobody else sees what is written."""
        if self._shared:
            self.flat, self.aux, self.slots = _aligned_copy(self.flat), self.aux.copy(), [s.copy() for s in self.slots]
            self._shared, self.thread_copies = False, None


def _aligned_copy(x: np.ndarray) -> np.ndarray:
    """Return a copy that begins at a cache line, if it is long."""
    if x.size < LONG_BUFFER and not CHECKED:
        return x.copy()
    out = aligned_zeros(x.size, x.dtype)
    out[:] = x
    return out


def rates_and_hypers(compiled: Compiled, lr: Any, hyper: Any, at: int, count: int) -> tuple[list[float], np.ndarray]:
    """Return rates and hyperparameters of up to `count` steps from `at` on, as many as have them.

    Others are for the general path.
    """
    if callable(lr):
        given = _until_schedule_fails(rate_at(lr, i) for i in range(at, at + count))
        rates = list(itertools.takewhile(lambda rate: rate <= LARGEST_COMPILED_RATE, given))
    else:
        rates = [lr] * count if lr <= LARGEST_COMPILED_RATE else []
    if not any(map(callable, (hyper or {}).values())):
        return rates, compiled.hyper_vector(hyper, at)[None].repeat(len(rates), 0)
    hypers = list(_until_schedule_fails(compiled.hyper_vector(hyper, i) for i in range(at, at + len(rates))))
    return rates[: len(hypers)], np.array(hypers)


def adapt_block_length(count: int, seconds: float, steps: int) -> int:
    """Return how many steps the next block may have, after one of at most `count` that took `seconds` for `steps`."""
    if seconds >= BLOCK_SECONDS / 2:
        return max(1, min(steps, count) // 2)
    return min(BLOCK_STEPS, 2 * count) if steps >= count else count


def _until_schedule_fails(values: Iterable[T]) -> Iterator[T]:
    """Yield the values before the first that a schedule does not give."""
    with contextlib.suppress(ScheduleError):
        yield from values
