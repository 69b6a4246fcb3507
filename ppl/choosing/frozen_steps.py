"""Time the steps of `ppl.fit` with parameters that stay where they are.

Calls of `program.step` from Python take some 15 µs more than a step inside the loop of `ppl.fit`. For small programs
that is most of the time, and would make particles look free."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.runtime.call import Call, bind_call, take_optimizer_step
from ppl.runtime.nonfinite import raise_nonfinite
from ppl.runtime.state import State
from ppl.training.mutable_state import BlockData, MutableState, update_rule_of
from ppl.training.optim.first_order import Adam
from ppl.training.trainers import Trainer, trainer_of

BLOCK_SECONDS, MOST_BLOCK_STEPS = 0.002, 2**16
"""About how long a block takes, and how many steps it has at most."""

TakeSteps = Callable[[int], int]
"""Takes up to so many steps that nobody sees, and returns how many: fewer where one is not finite."""


class BlockTimer:
    """Blocks of steps, which grow until they take long enough; `begin` prepares one before it is timed."""

    def __init__(self, take: TakeSteps, begin: Callable[[], None] | None = None):
        self._take, self._begin, self._count = take, begin, 1

    def seconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Return the seconds of a step by `clock`."""
        found = self._block(clock)
        while found * self._count < BLOCK_SECONDS / 2 and self._count < MOST_BLOCK_STEPS:
            wanted = int(0.75 * BLOCK_SECONDS / max(found, 1e-9))
            self._count = min(max(2 * self._count, wanted), MOST_BLOCK_STEPS)
            found = self._block(clock)
        return found

    def _block(self, clock: Callable[[], float]) -> float:
        if self._begin is not None:
            self._begin()
        began = clock()
        taken = self._take(self._count)
        return (clock() - began) / max(taken, 1)


ZERO_RATE_ADAM = Adam(0.0)


class FrozenSteps:
    """Steps of a program with Adam at rate 0, on all rows of a call's data; auxiliary variables move as in training.

    Programs that have no compiled training loop take their steps one by one from Python, as `ppl.fit` does.
    """

    def __init__(self, program: Any, call: Call, still: Adam = ZERO_RATE_ADAM):
        self._program, self._call, self._still = program, call, still
        self._timed = BlockTimer(self.take, self._begin)
        compiled = program.prepare(*call.data)
        rule = update_rule_of(self._still)
        assert rule is not None
        self._trainer = trainer_of(compiled, rule.sparse)
        self._start = functools.partial(MutableState, call.state, rule, compiled.estimators)
        self._begin()
        self._hyper = compiled.hyper_vector(call.hyper, call.state.step)[None]
        if self._trainer is not None:
            bound = compiled.binder.bind(call.data, None, call.total_rows, False)
            self._steps = BlockData(bound, None, 0, next(iter(bound.totals.values()), 1))

    @property
    def state(self) -> State:
        """The state that the steps have come to; later ones leave it alone."""
        if self._trainer is None:
            return self._call.state
        self._live.mark_shared()
        return self._live.state

    def take(self, count: int) -> int:
        """Take so many steps, and return how many.

        Raises
        ------
        ParameterError, NonFiniteError : a loss or gradient is not finite; the message says where that begins.
        """
        if self._trainer is None:
            for _ in range(count):
                state = take_optimizer_step(bind_call(self._program, self._call), self._still)[0]
                self._call = replace(self._call, state=state)
            return count
        rates = [0.0] * count
        if self._trainer.run(self._live, self._steps, rates, self._hyper.repeat(count, 0)) < count:
            bound = bind_call(self._program, replace(self._call, state=self.state))
            raise_nonfinite(bound, "a loss or gradient of a training step is not finite", advice="")
        return count

    @property
    def sums_up(self) -> bool:
        """Whether `sums` is known."""
        return type(self._trainer) is Trainer

    def sums(self, count: int) -> np.ndarray:
        """Return running means of the gradient and of its squares after steps from zero: shape (2, entries)."""
        for slot in self._live.slots:
            slot[...] = 0
        self.take(count)
        total = float(self._steps.total)
        return np.array(self._live.slots, np.float64) * np.array([[total], [total**2]])

    def settled(self, steps: int, seconds: float) -> State:
        """Return the state after so many steps, or after about so many seconds."""
        until, taken = time.perf_counter() + seconds, 0
        while taken < steps and time.perf_counter() < until:
            self.take(min(20, steps - taken))
            taken += 20
        return self.state

    def seconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Time a step by `clock`: the mean over a block of steps that begins where the first one did."""
        return self._timed.seconds(clock)

    def _begin(self) -> None:
        self._live = self._start()
