"""The loop of `ppl.fit` for the optimizers that compiled code knows: many steps per call, on a state written in place.

A block of steps ends where someone looks (callback, validation, checkpoint) and after about `SECONDS`. Where gradients
are sparse, a step is the same up to the order of sums: SGD and AdaGrad do nothing where the gradient is zero.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ppl.compiler.bind import Bound
from ppl.compiler.state import State
from ppl.compiler.training import Live, Rule, Steps, Trainer, rule_of
from ppl.inference.fit_data import KEEP_CONVERTED, Batch, Rows, Stream, permutation
from ppl.inference.fit_progress import Bar
from ppl.inference.fit_run import Run
from ppl.inference.optim.schedules import rate_at

SECONDS, MOST = 0.05, 4096


class InPlace(Run):
    """A `Run` that writes its state in place; `state` is a view of it, and what a callback may keep is left alone."""

    _live: Live
    _whole: Bound
    _epoch, _count = -1, 1

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
        if isinstance(self.source, Stream):
            super()._loop(bar)
            return
        self._whole = self.trainer.compiled.binder.bind(self.source.data, check=False)
        while not self._finished():
            began = time.monotonic()
            self._block(bar)
            taken = time.monotonic() - began
            self._count = min(MOST, 2 * self._count) if taken < SECONDS / 2 else max(1, self._count // 2)
            ended = self.step % self.source.steps_per_epoch == 0
            if ended and self.has_rows and self.validate is not None:
                self._validate()
            if self.keeper is not None and self.keeper.due(self.step):
                self.keeper.save(self.state, self.start, self._consistent())
            if self._called_back():
                return

    def _block(self, bar: Bar) -> None:
        """Up to `_count` steps on rows in memory, none of them beyond an epoch or a checkpoint."""
        source, step = self.source, self.step
        assert isinstance(source, Rows)
        per_epoch, size = source.steps_per_epoch, source.batch_size
        total = source.count if source.total_rows is None else source.total_rows
        count = self._steps_ahead(step)
        if per_epoch == 1:
            steps = Steps(self._whole, None, 0, total)
        else:
            epoch, i = divmod(step, per_epoch)
            if epoch != self._epoch:
                self._order, self._epoch = permutation(source.seed, epoch, source.count), epoch
            count = min(count, max(1, source.count // size - i))
            rows = self._order[i * size : (i + count) * size]
            steps = Steps(self._whole, rows, len(rows) // count, total)
        if self._take(steps, count, source.batch_size, bar) == 0:
            super()._step(next(source.batches(step)), bar)

    def _steps_ahead(self, step: int) -> int:
        """Steps until someone looks, at most `_count`."""
        every = None if self.keeper is None else self.keeper.every
        limits = [self._count]
        limits += [] if self.end is None else [self.end - step]
        limits += [] if every is None else [every - step % every]
        assert isinstance(self.source, Rows)
        looked = self.source.steps_per_epoch == 1 and self.validate is not None
        return 1 if self.callback is not None or looked else min(limits)

    def _step(self, batch: Batch, bar: Bar) -> None:
        """One step on a batch of a stream; where its shape needs another program, on the general path."""
        compiled = self.trainer.compiled
        if self.program.prepare(*batch.data) is compiled:
            bound = compiled.binder.bind(batch.data, None, batch.total_rows, batch.check)
            total = next(iter(bound.totals.values()))
            if self._take(Steps(bound, None, 0, total), 1, batch.size, bar):
                return
        super()._step(batch, bar)

    def _take(self, steps: Steps, count: int, size: int, bar: Bar) -> int:
        """Take up to `count` steps and record them; one that may not be finite is not taken."""
        at, compiled = self.step, self.trainer.compiled
        steps_taken = range(at, at + count)
        rates = [rate_at(self.transform.lr, i) for i in steps_taken]
        if any(map(callable, (self.hyper or {}).values())):
            hypers = np.array([compiled.hyper_vector(self.hyper, i) for i in steps_taken])
        else:
            hypers = np.tile(compiled.hyper_vector(self.hyper, at), (count, 1))
        done, scalars = self.trainer.run(self._live, steps, rates, hypers)
        if done:
            for key, values in scalars.items():
                self.history.setdefault(key, []).extend(values)
                self.metrics[key] = values[-1]
            self.history["step"].extend(range(at + 1, at + done + 1))
            for loss in scalars["loss"] if bar.shown else ():
                bar.step(loss, size)
        return done

    def _called_back(self) -> bool:
        if self.callback is not None:
            self._live.share()
        return super()._called_back()

    def _validate(self) -> None:
        self._live.share()
        super()._validate()


def run_for(program: Any, transform: Any, hyper: Any, source: Rows | Stream, state: State, start: int) -> Run:
    """The loop that suits a program and an optimizer."""
    rule = rule_of(transform)
    large = isinstance(source, Rows) and sum(np.size(d) for d in source.data) * 8 > KEEP_CONVERTED
    trainer = None if rule is None or large else program.prepare().trainer(rule.sparse, rule.name)
    if rule is None or trainer is None or not fits(state, rule):
        return Run(program, transform, hyper, source, state, start)
    return InPlace(trainer, rule, program, transform, hyper, source, state, start)


def fits(state: State, rule: Rule) -> bool:
    """Whether the optimizer state is that of the rule, or none; if not, the general loop says what is wrong."""
    opt = state.opt
    if opt is None:
        return True
    known = isinstance(opt, dict) and set(opt) == {"t", *rule.slots}
    return known and all(opt[name].shape == state._flat.shape for name in rule.slots)
