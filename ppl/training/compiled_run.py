"""The loop of `ppl.fit` for optimizers that compiled code knows: many steps per call, on a state written in place.

A block of steps ends where someone looks (callback, validation, checkpoint) and after a while. Prefetched batches of
equal sizes are one block. Where gradients are sparse, a step is the same up to the order of sums: SGD, AdaGrad and
LazyAdam do nothing where the gradient is zero."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ppl.choosing.tuner import steps_until_decision
from ppl.runtime.binding import BoundData
from ppl.runtime.compiled import Compiled
from ppl.runtime.state import State
from ppl.training.batches import ArrayBatches, Batch, needs_no_conversion
from ppl.training.mutable_state import (
    BlockData,
    EpochBlocks,
    MutableState,
    UpdateRule,
    adapt_block_length,
    rates_and_hypers,
    update_rule_of,
)
from ppl.training.prefetcher import Prefetcher
from ppl.training.progress_bar import ProgressBar
from ppl.training.run import Run
from ppl.training.streams import StreamBatches
from ppl.training.trainers import Trainer, trainer_of
from ppl.tuning import CONVERTED_BYTES


def same_shaped_batches(first: Batch, ahead: Sequence[Any]) -> list[Batch]:
    """Return the first batches of `ahead` whose sizes and scales are those of `first`, up to the end of a pass."""
    found = []
    for batch in itertools.takewhile(lambda batch: batch is not None, ahead):
        if not _have_same_shapes(first, batch):
            break
        found.append(batch)
        if batch.last:
            break
    return found


def _have_same_shapes(a: Batch, b: Batch) -> bool:
    if a.bound is None or b.bound is None or a.size != b.size or (a.rows is None) != (b.rows is None):
        return False
    shapes = [x.shape for x in a.bound.arrays] == [x.shape for x in b.bound.arrays]
    return shapes and (a.bound.rows, a.bound.scales, a.bound.totals) == (b.bound.rows, b.bound.scales, b.bound.totals)


def block_of_batches(group: Sequence[Batch], plate: str | None) -> BlockData:
    """Return the steps on batches of the same sizes, whose rows `plate` opens."""
    bounds = [b.bound for b in group if b.bound is not None]
    first, others = bounds[0], tuple(bounds[1:])
    if plate is None:
        return BlockData(first, None, 0, first.total, others=others)
    size = first.rows[plate]
    given = [np.arange(size) if b.rows is None else b.rows for b in group]
    return BlockData(first, np.concatenate(given), size, first.total, True, others)


class CompiledRun(Run):
    """A `Run` that writes its state in place; `state` is a view of it, and what a callback may keep is left alone."""

    _live: MutableState
    _whole: BoundData
    _first_recorded, _block_length = 0, 0

    def __init__(self, trainer: Trainer, rule: UpdateRule, *rest: Any):
        self.trainer, self.rule = trainer, rule
        super().__init__(*rest)

    @property
    def state(self) -> State:
        """The state as it is now."""
        return self._live.state

    @state.setter
    def state(self, new: State) -> None:
        self._live = MutableState(new, self.rule, self.trainer.compiled.estimators)

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._live.step

    def _loop(self, bar: ProgressBar) -> None:
        if isinstance(self.source, StreamBatches) or self.source.gathers:
            self.source.binds = True
            super()._loop(bar)
            return
        assert isinstance(self.source, ArrayBatches)
        binder, whole = self.trainer.compiled.binder, self.source.whole
        self._whole = whole if whole and self.source.binder is binder else binder.bind(self.source.data, check=False)
        size = self.source.batch_size
        known, count = self.trainer.last_block_length
        self._block_length = count if known == size else 1
        self._epoch_blocks = EpochBlocks(self.source)
        self._validate_interrupted_epoch()
        while not self._finished():
            self.signals.check()
            if steps_until_decision(self.tuner, self.step) <= 0:
                self._tune(next(self.source.batches(self.step)))
            began, before = time.monotonic(), self.step
            self._take_block(bar)
            self._block_length = adapt_block_length(self._block_length, time.monotonic() - began, self.step - before)
            self.trainer.last_block_length = size, self._block_length
            if self.step % self.source.steps_per_epoch == 0:
                self._end_epoch()
            self._drain_history()
            if self.checkpoint_file is not None and self.checkpoint_file.due(self.step):
                self._save_checkpoint()
            if self._run_callback():
                return

    def _take_block(self, bar: ProgressBar) -> None:
        """Take up to `_block_length` steps on rows in memory, none of them beyond an epoch or a checkpoint."""
        source, step = self.source, self.step
        assert isinstance(source, ArrayBatches)
        steps, count = self._epoch_blocks.steps(self._whole, step, self._steps_ahead(step))
        if self._take_and_record(steps, count, source.batch_size, bar) == 0:
            super()._step(next(source.batches(step)), bar)

    def _steps_ahead(self, step: int) -> int:
        """Return the steps until someone looks, at most `_block_length`."""
        every = None if self.checkpoint_file is None else self.checkpoint_file.every
        limits = [self._block_length, steps_until_decision(self.tuner, step)]
        limits += [] if self.end is None else [self.end - step]
        limits += [] if every is None else [every - step % every]
        looked = (
            isinstance(self.source, ArrayBatches) and self.source.steps_per_epoch == 1 and self.validate is not None
        )
        limits += [] if self.callback is None else [self._called_every - step % self._called_every]
        return 1 if looked else min(limits)

    def _take_batches(self, batch: Batch, batches: Iterator[Any], bar: ProgressBar) -> Batch:
        """Take the steps on a batch and on those of the same sizes that have been read ahead; returns the last one."""
        began, before = time.monotonic(), self.step
        if not self._block_length:
            known, count = self.trainer.last_block_length
            self._block_length = count if known == batch.size else 1
        group = [batch, *self._matching_batches(batch, batches)]
        for _ in group[1:]:
            next(batches)  # so that the reader goes on meanwhile
        plate = self.trainer.plate
        steps = block_of_batches(group, None if plate is None else plate.name) if len(group) > 1 else None
        if steps is None or not self._take_and_record(steps, len(group), batch.size, bar):
            self._step(batch, bar)
        done = self.step - before
        self._block_length = adapt_block_length(self._block_length, time.monotonic() - began, done)
        self.trainer.last_block_length = batch.size, self._block_length
        if done < len(group):
            assert isinstance(batches, Prefetcher)
            batches.put_back(group[done:])
        return group[done - 1]

    def _matching_batches(self, batch: Batch, batches: Iterator[Any]) -> list[Batch]:
        """Return the prefetched batches that can be taken in one call with a batch, before someone looks."""
        if (
            not isinstance(batches, Prefetcher)
            or batch.bound is None
            or batch.last
            or not self.trainer.takes_several_batches
        ):
            return []
        return same_shaped_batches(batch, batches.ready()[: self._steps_ahead(self.step) - 1])

    def _step(self, batch: Batch, bar: ProgressBar) -> None:
        """Take one step on a batch of a stream; where its shape needs another program, on the general path."""
        steps = self.signals.run_interruptible(self._block_data, batch)
        if steps is None or not self._take_and_record(steps, 1, batch.size, bar):
            super()._step(batch, bar)

    def _block_data(self, batch: Batch) -> BlockData | None:
        """Return the step on a batch, or None if it is not one of the program that trains."""
        compiled = self.trainer.compiled
        if batch.bound is None and self.program.prepare(*batch.data) is not compiled:
            return None
        return _block_of_batch(batch, compiled)

    def _switch_program(self, program: Any, state: State) -> None:
        trainer = self._trainer_of(program)
        assert trainer is not None
        self.trainer = trainer
        super()._switch_program(program, state)

    def _trainer_of(self, program: Any) -> Trainer | None:
        return trainer_of(program.prepare(), self.rule.sparse)

    def trains(self, program: Any) -> bool:
        """Return whether compiled code takes the steps of a program."""
        return self._trainer_of(program) is not None

    def stepper(self, program: Any, state: State, batch: Batch) -> Callable[[int], int]:
        """Return a function that takes steps of rate 0 on a copy of a state."""
        trainer = self._trainer_of(program)
        assert trainer is not None
        live, steps = (
            MutableState(state, self.rule, trainer.compiled.estimators),
            _block_of_batch(batch, trainer.compiled),
        )
        hypers = trainer.compiled.hyper_vector(self.hyper, state.step)[None]
        trainer.run(live, steps, [], hypers[:0])

        def take(count: int) -> int:
            rows = None if steps.rows is None else np.tile(steps.rows, count)
            return trainer.run(live, steps._replace(rows=rows), [0.0] * count, hypers.repeat(count, 0))

        return take

    def _take_and_record(self, steps: BlockData, count: int, size: int, bar: ProgressBar) -> int:
        """Take up to `count` steps and record them; one that may not be finite is not taken."""
        rates, hypers = self.signals.run_interruptible(self._rates_and_hypers, count)
        if not rates:
            return 0
        if not self.trainer.is_compiled:
            self.signals.run_interruptible(self.trainer.run, self._live, steps, [], hypers[:0])
        self._first_recorded = len(self.history["step"])
        done = self.trainer.run(self._live, steps, rates, hypers)
        self._record()
        for loss in self.history["loss"][-done:] if done and bar.shown else ():
            bar.step(loss, size)
        return done

    def _rates_and_hypers(self, count: int) -> tuple[list[float], np.ndarray]:
        """Return rates and hyperparameters of up to `count` steps."""
        return rates_and_hypers(self.trainer.compiled, self.transform.lr, self.hyper, self.step, count)

    def _record(self) -> None:
        """Write the steps that compiled code has taken into the history; the state's counter says how many they are."""
        block = self._live.block_results
        if block is not None and self.step > block.at:
            for key, values in block.scalars(self.step).items():
                self.history.setdefault(key, [])[self._first_recorded :] = values
                self.metrics[key] = values[-1]
            self.history["step"][self._first_recorded :] = range(block.at + 1, self.step + 1)
        self._live.block_results = None

    def _consistent_history(self) -> dict[str, list[float]]:
        self._record()
        return super()._consistent_history()

    def _run_callback(self) -> bool:
        if self.callback is not None and self.step % self._called_every == 0:
            self._live.mark_shared()
        return super()._run_callback()

    def _validate(self) -> None:
        if self.validate is not None:
            self._live.mark_shared()
        super()._validate()


def _block_of_batch(batch: Batch, compiled: Compiled) -> BlockData:
    """Return a step on a batch."""
    bound = batch.bound or compiled.binder.bind(batch.data, None, batch.total_rows, batch.check)
    gathered = batch.rows is not None
    return BlockData(bound, batch.rows, batch.size * gathered, bound.total, gathered)


def make_run(
    program: Any, transform: Any, hyper: Any, source: ArrayBatches | StreamBatches, state: State, start: int
) -> Run:
    """Make the loop that suits a program and an optimizer."""
    rule = update_rule_of(transform)
    compiled = program.prepare()
    large = isinstance(source, ArrayBatches) and sum(np.size(d) for d in source.data) * 8 > CONVERTED_BYTES
    if isinstance(source, ArrayBatches) and compiled.target.resident:
        large = large or source.gathers
    elif isinstance(source, ArrayBatches) and large:
        large = not (source.gathers or needs_no_conversion(source))
    trainer = None if rule is None or large else trainer_of(compiled, rule.sparse)
    if rule is None or trainer is None:
        return Run(program, transform, hyper, source, state, start)
    return CompiledRun(trainer, rule, program, transform, hyper, source, state, start)
