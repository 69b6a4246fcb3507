"""The loop of `ppl.fit` on ranks of one machine that take blocks of steps together in compiled code.

Between two blocks ranks tell each other what they tell with every step of a `CommonRun`: errors, signals, the end; and
rank 0 says how many steps the next block but one may have, since validation, checkpoints and callbacks are its own.
Steps that are not finite, or may not be, are left to the general path of `CommonRun`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.errors import RankError
from ppl.runtime.ranks.comm import Ranks, hush
from ppl.runtime.ranks.memory import Window, padded
from ppl.runtime.ranks.shared import Shared
from ppl.training.batches import Batch, stay_as_they_are
from ppl.training.live import Coming, Steps, numbers_of, paced
from ppl.training.ranks.common import CommonRun, common_window, worth_sharing
from ppl.training.ranks.heads import FIXED, STEP, Part
from ppl.training.ranks.joint import JointTrainer, joint_executable, one_thread
from ppl.training.ranks.rows import RankRows
from ppl.training.ranks.run import RankRun
from ppl.training.ranks.stream import RankStream
from ppl.tuning import BLOCK_STEPS, CONVERTED_BYTES

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


RATES = padded(8 * (1 + BLOCK_STEPS))
"""Bytes of what a rank says of the rates of a block: how many, and these."""


class Block(NamedTuple):
    """Steps that ranks take in one call: their data, the first of them, and the numbers of each."""

    steps: Steps
    at: int
    rates: list[float]
    hypers: np.ndarray


class BlockRun(CommonRun):
    """A `CommonRun` that takes many steps between two messages.

    Parameters
    ----------
    trainer : what takes them.
    window : as for `CommonRun`; the area of rank 0 has the trainer's memory behind the vectors of the state.
    rest : arguments of `RankRun`.
    """

    source: RankRows
    _block: Block | None = None
    _general, _stale = False, True
    """Whether the general path takes the next step; whether ranks' copies of the parameters are old."""
    _count = _allowed = 1
    """Steps of a block, as this rank would have them for the time that they take, and as rank 0 allows."""

    def __init__(self, trainer: JointTrainer, window: Window, ranks: Ranks, shared: Shared, saves: bool, *rest: Any):
        self.trainer, source = trainer, rest[3]
        source.nothing = np.zeros(1)
        self._rows = Coming(source)
        size = ranks.size
        self._rates = window.areas[0][-RATES * size :].view(np.float64).reshape(size, -1)
        trainer.enter(window.areas[0][-RATES * size - trainer.nbytes : -RATES * size])
        super().__init__(window, ranks, shared, saves, *rest)
        trainer.gradient = self._gradients[0]
        self.window.meet()
        ranks.together(self._compile)

    def _compile(self) -> None:
        """Compile the steps, of which none is taken."""
        rows = next(iter(self.trainer.works))
        steps = Steps(self.trainer.whole, np.zeros(0, np.int64) if rows else None, rows, self.source.total)
        self.trainer.run(self._live, steps, [], np.zeros((0, len(self.shared.compiled.hypers)), self._live.flat.dtype))

    def _next(self, batches: Iterator[Batch | None]) -> tuple[int, Batch | None, Part]:
        """See `RankRun`: a block, or a step for the general path."""
        if self._general:
            self._block, self._general, self._stale = None, False, True
            return super()._next(iter(self.source.batches(self.step)))
        self._block = self.signals.letting(self._prepared)
        return STEP, Batch((), None, None, self.source.batch_size, False, False), Part(None, None, 0)

    def _prepared(self) -> Block:
        """The next block, whose rates the others are told."""
        at = self.step
        count = self._allowed if self.end is None else min(self._allowed, self.end - at)
        steps, count = self._rows.steps(self.trainer.whole, at, count)
        rates, hypers = numbers_of(self.shared.compiled, self.transform.lr, self.hyper, at, count)
        own = self._rates[self.ranks.rank]
        own[0], own[1 : 1 + len(rates)] = len(rates), rates
        if self._stale:
            self.trainer.refresh(self._live.flat)
            self._stale = False
        return Block(steps, at, rates, hypers)

    def _coming(self, said: int, batch: Batch | None) -> np.ndarray:
        """How many steps the next block but one may have, as far as this rank knows."""
        at = self.step + (1 if self._block is None else len(self._block.rates))
        every = None if self.keeper is None else self.keeper.every
        limits = [self._count] + ([] if every is None else [every - at % every])
        limits += [] if self.callback is None else [self._called_every - at % self._called_every]
        looked = self.validate is not None and self.source.steps_per_epoch == 1
        return np.array([1.0 if looked else min(limits)])

    def _hear(self, heads: np.ndarray, error: BaseException | None) -> None:
        """See `CommonRun`; ranks compare the rates of all steps of a block."""
        super()._hear(heads, error)
        if (heads[:, 0] == STEP).all():
            self._allowed = int(heads[0, FIXED])
            if self._block is not None:
                self.window.see()
                self._compare(self._block)

    def _compare(self, block: Block) -> None:
        """Raise where ranks have other rates."""
        told = self._rates[:, 1 : 1 + self._taken_by_all()]
        for i in np.flatnonzero((told != told[0]).any(0))[:1]:
            self._left = True
            hush()
            rates = ", ".join(f"{rate:.6g}" for rate in told[:, i])
            raise RankError(
                f"ranks were given different optimizers: step {block.at + i} has the learning rates {rates}", 0
            )

    def _taken_by_all(self) -> int:
        """Steps of a block for which all ranks have rates."""
        return int(self._rates[:, 0].min())

    def _reduced(self, batch: Batch, part: Part, heads: np.ndarray) -> tuple[Any, ...]:
        """See `RankRun`; a block is taken here: how many steps of it, and in how many seconds."""
        if self._block is None:
            return super()._reduced(batch, part, heads)
        block, count, began = self._block, self._taken_by_all(), time.monotonic()
        done = self.trainer.run(self._live, block.steps, block.rates[:count], block.hypers[:count]) if count else 0
        return done, time.monotonic() - began

    def _finish(self, batch: Batch, part: Part, *rest: Any) -> None:
        if self._block is None:
            super()._finish(batch, part, *rest)
            return
        done, seconds, bar = rest
        self._general = done < self._taken_by_all() or not done
        if done:
            self._record(bar)
            self._count = paced(self._count, seconds, done)

    def _record(self, bar: Any) -> None:
        """Write the steps of a block into the history."""
        block, size = self._live.block, self.source.batch_size
        assert block is not None
        for key, values in block.scalars(self.step).items():
            self.history.setdefault(key, []).extend(values)
            self.metrics[key] = values[-1]
        self.history["step"].extend(range(block.at + 1, self.step + 1))
        self._live.block = None
        for loss in self.history["loss"][block.at - self.step :] if bar.shown else ():
            bar.step(loss, size)

    def _looked(self, batch: Batch) -> bool:
        if self._block is not None:
            if self.step == self._block.at:
                return False
            batch = batch._replace(last=self.step % self.source.steps_per_epoch == 0)
        return super()._looked(batch)


def run_in_memory(
    ranks: Ranks, shared: Shared, transform: Any, source: RankRows | RankStream
) -> Callable[..., RankRun]:
    """The loop that suits ranks which may share memory, or not. Collective."""
    if not (worth_sharing(ranks, shared, transform) and ranks.on_one_machine()):
        return RankRun
    trainer = ranks.together(_trainer, ranks, shared.compiled, source)
    everywhere = ranks.exchange(np.array([trainer is not None], float)).all()
    trainer = trainer if everywhere else None
    window = common_window(ranks, shared, 0 if trainer is None else trainer.nbytes + RATES * ranks.size)
    if window is None:
        return RankRun
    return functools.partial(CommonRun, window) if trainer is None else functools.partial(BlockRun, trainer, window)


def _trainer(ranks: Ranks, compiled: Compiled, source: RankRows | RankStream) -> JointTrainer | None:
    """What takes blocks of steps on this rank, or None where it cannot."""
    if not isinstance(source, RankRows) or not (source.has_rows and source.whole_here and one_thread()):
        return None
    executable = None if compiled.int32(source.data) else joint_executable(compiled)
    large = sum(np.size(d) for d in source.data) * 8 > CONVERTED_BYTES
    if executable is None or (large and not stay_as_they_are(source)):
        return None
    count, size = source.count, source.batch_size
    minibatches = [] if size == count else [size, *([count % size] if count % size else [])]
    whole = compiled.binder.bind(source.data, check=False)
    return JointTrainer(compiled, executable, whole, minibatches, ranks.rank, ranks.size)
