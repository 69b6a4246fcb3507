"""Steps of `ppl.fit` that leave the parameters where they are: on them is timed what a step of training takes.

Calls of `program.step` from Python take some 15 µs more than a step inside the loop of `ppl.fit`. For small programs
that is most of the time, and would make particles look free.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.runtime.call import Call, bind, update
from ppl.runtime.nonfinite import refuse
from ppl.runtime.state import State
from ppl.training.live import Live, Steps, rule_of
from ppl.training.loops import Trainer
from ppl.training.optim.adam import Adam
from ppl.training.trainers import trainer_of
from ppl.training.tuned.timed import Timed

STILL = Adam(0.0)


class StandingSteps:
    """Steps of a program with Adam at rate 0, on all rows of a call's data; auxiliary variables move as in training.

    Programs that have no compiled training loop take their steps one by one from Python, as `ppl.fit` does.
    """

    def __init__(self, program: Any, call: Call, still: Adam = STILL):
        self._program, self._call, self._still = program, call, still
        self._timed = Timed(self.take, self._begin)
        compiled = program.prepare(*call.data)
        rule = rule_of(self._still)
        assert rule is not None
        self._trainer = trainer_of(compiled, rule.sparse, rule.name)
        self._start = functools.partial(Live, call.state, rule, compiled.estimators)
        self._begin()
        self._hyper = compiled.hyper_vector(call.hyper, call.state.step)[None]
        if self._trainer is not None:
            bound = compiled.binder.bind(call.data, None, call.total_rows, False)
            self._steps = Steps(bound, None, 0, next(iter(bound.totals.values()), 1))

    @property
    def state(self) -> State:
        """The state that the steps have come to; later ones leave it alone."""
        if self._trainer is None:
            return self._call.state
        self._live.share()
        return self._live.state

    def take(self, count: int) -> int:
        """Take so many steps, and return how many.

        Raises
        ------
        ParameterError, NonFiniteError : a loss or gradient is not finite; the message says where that begins.
        """
        if self._trainer is None:
            for _ in range(count):
                state = update(bind(self._program, self._call), self._still)[0]
                self._call = replace(self._call, state=state)
            return count
        rates = [0.0] * count
        if self._trainer.run(self._live, self._steps, rates, self._hyper.repeat(count, 0)) < count:
            bound = bind(self._program, replace(self._call, state=self.state))
            refuse(bound, "a loss or gradient of a training step is not finite", advice="")
        return count

    @property
    def sums_up(self) -> bool:
        """Whether `sums` is known."""
        return type(self._trainer) is Trainer

    def sums(self, count: int) -> np.ndarray:
        """The running means of the gradient and of its squares after so many steps, from zero: shape (2, entries)."""
        for slot in self._live.slots:
            slot[...] = 0
        self.take(count)
        total = float(self._steps.total)
        return np.array(self._live.slots, np.float64) * np.array([[total], [total**2]])

    def settled(self, steps: int, seconds: float) -> State:
        """The state after so many steps, or after about so many seconds."""
        until, taken = time.perf_counter() + seconds, 0
        while taken < steps and time.perf_counter() < until:
            self.take(min(20, steps - taken))
            taken += 20
        return self.state

    def seconds(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Seconds of a step by `clock`, the mean over a block of steps that begins where the first one did."""
        return self._timed.seconds(clock)

    def _begin(self) -> None:
        self._live = self._start()
