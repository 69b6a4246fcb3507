"""The loop of `ppl.fit` for the optimizers that compiled code knows: many steps per call, on a state written in place.

A block of steps ends where someone looks (callback, validation, checkpoint) and after a while. Where gradients
are sparse, a step is the same up to the order of sums: SGD, AdaGrad and LazyAdam do nothing where the gradient is zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ppl.runtime.binding import Bound
from ppl.runtime.compiled import Compiled
from ppl.runtime.state import State
from ppl.training.batches import Batch, Rows, stay_as_they_are
from ppl.training.live import Coming, Live, Rule, Steps, numbers_of, paced, rule_of
from ppl.training.loops import Trainer
from ppl.training.progress import Bar
from ppl.training.run import Run
from ppl.training.streams.ahead import Ahead
from ppl.training.streams.group import alike, together
from ppl.training.streams.stream import Stream
from ppl.training.trainers import trainer_of
from ppl.training.tuned.tuner import steps_until
from ppl.tuning import CONVERTED_BYTES


class InPlace(Run):
    """A `Run` that writes its state in place; `state` is a view of it, and what a callback may keep is left alone."""

    _live: Live
    _whole: Bound
    _recorded, _count = 0, 0

    def __init__(self, trainer: Trainer, rule: Rule, *rest: Any):
        self.trainer, self.rule = trainer, rule
        super().__init__(*rest)

    @property
    def state(self) -> State:
        """The state as it is now."""
        return self._live.state

    @state.setter
    def state(self, new: State) -> None:
        self._live = Live(new, self.rule, self.trainer.compiled.estimators)

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._live.step

    def _loop(self, bar: Bar) -> None:
        if isinstance(self.source, Stream) or self.source.gathers:
            self.source.binds = True
            super()._loop(bar)
            return
        assert isinstance(self.source, Rows)
        binder, whole = self.trainer.compiled.binder, self.source.whole
        self._whole = whole if whole and self.source.binder is binder else binder.bind(self.source.data, check=False)
        size = self.source.batch_size
        known, count = self.trainer.paced
        self._count = count if known == size else 1
        self._coming = Coming(self.source)
        self._catch_up()
        while not self._finished():
            self.signals.check()
            if steps_until(self.tuner, self.step) <= 0:
                self._tune(next(self.source.batches(self.step)))
            began, before = time.monotonic(), self.step
            self._block(bar)
            self._count = paced(self._count, time.monotonic() - began, self.step - before)
            self.trainer.paced = size, self._count
            if self.step % self.source.steps_per_epoch == 0:
                self._end_epoch()
            self._thin()
            if self.keeper is not None and self.keeper.due(self.step):
                self._keep()
            if self._called_back():
                return

    def _block(self, bar: Bar) -> None:
        """Up to `_count` steps on rows in memory, none of them beyond an epoch or a checkpoint."""
        source, step = self.source, self.step
        assert isinstance(source, Rows)
        steps, count = self._coming.steps(self._whole, step, self._steps_ahead(step))
        if self._take(steps, count, source.batch_size, bar) == 0:
            super()._step(next(source.batches(step)), bar)

    def _steps_ahead(self, step: int) -> int:
        """Steps until someone looks, at most `_count`."""
        every = None if self.keeper is None else self.keeper.every
        limits = [self._count, steps_until(self.tuner, step)]
        limits += [] if self.end is None else [self.end - step]
        limits += [] if every is None else [every - step % every]
        looked = isinstance(self.source, Rows) and self.source.steps_per_epoch == 1 and self.validate is not None
        limits += [] if self.callback is None else [self._called_every - step % self._called_every]
        return 1 if looked else min(limits)

    def _take_next(self, batch: Batch, batches: Iterator[Any], bar: Bar) -> Batch:
        """Take the steps on a batch and on those of the same sizes that have been read ahead; returns the last one."""
        began, before = time.monotonic(), self.step
        if not self._count:
            known, count = self.trainer.paced
            self._count = count if known == batch.size else 1
        group = [batch, *self._alike(batch, batches)]
        for _ in group[1:]:
            next(batches)  # so that the reader goes on meanwhile
        plate = self.trainer.plate
        steps = together(group, None if plate is None else plate.name) if len(group) > 1 else None
        if steps is None or not self._take(steps, len(group), batch.size, bar):
            self._step(batch, bar)
        done = self.step - before
        self._count = paced(self._count, time.monotonic() - began, done)
        self.trainer.paced = batch.size, self._count
        if done < len(group):
            assert isinstance(batches, Ahead)
            batches.put_back(group[done:])
        return group[done - 1]

    def _alike(self, batch: Batch, batches: Iterator[Any]) -> list[Batch]:
        """The batches behind one that are there already and can be taken in one call with it, before someone looks."""
        if not isinstance(batches, Ahead) or batch.bound is None or batch.last or not self.trainer.several:
            return []
        return alike(batch, batches.ready()[: self._steps_ahead(self.step) - 1])

    def _step(self, batch: Batch, bar: Bar) -> None:
        """One step on a batch of a stream; where its shape needs another program, on the general path."""
        steps = self.signals.letting(self._bound, batch)
        if steps is None or not self._take(steps, 1, batch.size, bar):
            super()._step(batch, bar)

    def _bound(self, batch: Batch) -> Steps | None:
        """The step on a batch, or None if it is not one of the program that trains."""
        compiled = self.trainer.compiled
        if batch.bound is None and self.program.prepare(*batch.data) is not compiled:
            return None
        return _steps_on(batch, compiled)

    def _enter(self, program: Any, state: State) -> None:
        trainer = self._trainer(program)
        assert trainer is not None
        self.trainer = trainer
        super()._enter(program, state)

    def _trainer(self, program: Any) -> Trainer | None:
        return trainer_of(program.prepare(), self.rule.sparse, self.rule.name)

    def trains(self, program: Any) -> bool:
        """Whether compiled code takes the steps of a program."""
        return self._trainer(program) is not None

    def stepper(self, program: Any, state: State, batch: Batch) -> Callable[[int], int]:
        """Steps of rate 0 on a copy of a state."""
        trainer = self._trainer(program)
        assert trainer is not None
        live, steps = Live(state, self.rule, trainer.compiled.estimators), _steps_on(batch, trainer.compiled)
        hypers = trainer.compiled.hyper_vector(self.hyper, state.step)[None]
        trainer.run(live, steps, [], hypers[:0])
        trainer.ready = True

        def take(count: int) -> int:
            rows = None if steps.rows is None else np.tile(steps.rows, count)
            return trainer.run(live, steps._replace(rows=rows), [0.0] * count, hypers.repeat(count, 0))

        return take

    def _take(self, steps: Steps, count: int, size: int, bar: Bar) -> int:
        """Take up to `count` steps and record them; one that may not be finite is not taken."""
        rates, hypers = self.signals.letting(self._numbers, count)
        if not rates:
            return 0
        if not self.trainer.ready:
            self.signals.letting(self.trainer.run, self._live, steps, [], hypers[:0])
            self.trainer.ready = True
        self._recorded = len(self.history["step"])
        done = self.trainer.run(self._live, steps, rates, hypers)
        self._record()
        for loss in self.history["loss"][-done:] if done and bar.shown else ():
            bar.step(loss, size)
        return done

    def _numbers(self, count: int) -> tuple[list[float], np.ndarray]:
        """Rates and hyperparameters of up to `count` steps."""
        return numbers_of(self.trainer.compiled, self.transform.lr, self.hyper, self.step, count)

    def _record(self) -> None:
        """Write the steps that compiled code has taken into the history; the state's counter says how many they are."""
        block = self._live.block
        if block is not None and self.step > block.at:
            for key, values in block.scalars(self.step).items():
                self.history.setdefault(key, [])[self._recorded :] = values
                self.metrics[key] = values[-1]
            self.history["step"][self._recorded :] = range(block.at + 1, self.step + 1)
        self._live.block = None

    def _consistent(self) -> dict[str, list[float]]:
        self._record()
        return super()._consistent()

    def _called_back(self) -> bool:
        if self.callback is not None and self.step % self._called_every == 0:
            self._live.share()
        return super()._called_back()

    def _validate(self) -> None:
        if self.validate is not None:
            self._live.share()
        super()._validate()


def _steps_on(batch: Batch, compiled: Compiled) -> Steps:
    """A step on a batch."""
    bound = batch.bound or compiled.binder.bind(batch.data, None, batch.total_rows, batch.check)
    gathered = batch.rows is not None
    return Steps(bound, batch.rows, batch.size * gathered, bound.total, gathered)


def run_for(program: Any, transform: Any, hyper: Any, source: Rows | Stream, state: State, start: int) -> Run:
    """The loop that suits a program and an optimizer."""
    rule = rule_of(transform)
    compiled = program.prepare()
    large = isinstance(source, Rows) and sum(np.size(d) for d in source.data) * 8 > CONVERTED_BYTES
    if isinstance(source, Rows) and compiled.target.resident:
        large = large or source.gathers
    elif isinstance(source, Rows) and large:
        large = not (source.gathers or stay_as_they_are(source))
    trainer = None if rule is None or large else trainer_of(compiled, rule.sparse, rule.name)
    if rule is None or trainer is None:
        return Run(program, transform, hyper, source, state, start)
    return InPlace(trainer, rule, program, transform, hyper, source, state, start)
