"""When a run with `tune=` compares its choices, and which it takes. All of its state is in `Choices` and kept vectors.

The first comparison comes before the first step: it finds the family, and measures seconds once. From then on a
decision is a function of (choices so far, state, batches), so that a run that is taken up again takes the same ones.
A comparison takes place before the step on the batch at hand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ppl.errors import DataError, OptionError
from ppl.runtime.call import Call, bind
from ppl.runtime.state import State
from ppl.training.batches import Batch
from ppl.training.checkpoint import TUNED, Resumed
from ppl.training.tuned.choices import Choices, packed, unpacked
from ppl.training.tuned.family import Family, allowed, found
from ppl.training.tuned.probe import ADAPTING, PAIRS, Probe, measured
from ppl.training.tuned.timed import Stepper, Timed

SHARE, FREE = 0.05, 0.01
"""What comparing may take of the seconds of the steps until the next comparison, and seconds that nobody notices."""
GROWTH, LEAST = 4, 100
"""A comparison follows after a further 1 / GROWTH of the steps that were taken, at least, and after so many steps."""
TIE = 0.1
"""Relative difference of variance × seconds below which the choice stays."""
TURNS = 15
"""Turns in which the first seconds of steps are measured. The least is taken: whatever else runs on the machine only
adds to it."""
NEVER = 2**62
KEPT = TUNED + "aux/"


class Loop(Protocol):
    """What a training loop tells a tuner."""

    def trains(self, program: Any) -> bool:
        """Whether the loop can take the steps of a program."""
        ...

    def stepper(self, program: Any, state: State, batch: Batch) -> Stepper:
        """Steps of a program on a batch, as the loop takes them, on a copy of a state."""
        ...

    def probed(self, batch: Batch) -> Callable[[int], Batch]:
        """Batches to compare on, by number; `batch` is that of the next step."""
        ...


class Next(NamedTuple):
    """What a comparison comes to: the choices, vectors kept for programs that were left, and how training goes on."""

    choices: Choices
    family: Family
    kept: dict[int, np.ndarray]
    program: Any
    state: State | None


class Tuner:
    """The choices of one run.

    Parameters
    ----------
    program, arrays : the program that was passed, and data of its signature.
    plan : the choices to replay; None means to measure.
    trainable : which entries of the gradient the optimizer uses; None means all.
    """

    def __init__(
        self, program: Any, arrays: Sequence[Any], plan: Choices | None, hyper: Any, trainable: np.ndarray | None
    ):
        self.program, self.arrays, self.hyper, self.trainable = program, arrays, hyper, trainable
        self.plan, self.choices, self.kept = plan, None if plan is None else plan.first(0), dict[int, np.ndarray]()
        self._family: Family | None = None
        if plan is not None:
            self._family = _fitting(program, arrays, plan)

    @property
    def family(self) -> Family:
        """The programs."""
        if self._family is None:
            assert self.choices is not None
            self._family = Family(self.program, self.arrays, self.choices.family)
        return self._family

    def resume(self, resumed: Resumed) -> Any:
        """Go on where a checkpoint ends; returns the program that takes the next step."""
        assert resumed.tuning is not None
        choices = unpacked(resumed.tuning)
        if choices is not None:
            if self.plan is not None and self.plan.first(len(choices)) != choices:
                raise DataError("tune=: the run in the checkpoint has taken other choices than those to be replayed")
            self.choices, self._family = choices, None
            self.kept = {int(k.removeprefix(KEPT)): v for k, v in resumed.tuning.items() if k.startswith(KEPT)}
            for i, vector in self.kept.items():
                if not i < len(choices.family) or vector.shape != (self.family.compiled(i).aux_layout.size,):
                    raise DataError("the auxiliary variables kept of other choices are damaged")
        return self.current

    @property
    def current(self) -> Any:
        """The program that takes the next step."""
        return self.program if self.choices is None else self.family.program(self.choices.current)

    def arrays_to_store(self) -> dict[str, np.ndarray]:
        """What a checkpoint stores."""
        stored = {TUNED + "run": np.array(1)}
        if self.choices is not None:
            stored |= packed(self.choices) | {f"{KEPT}{i}": aux for i, aux in self.kept.items()}
        return stored

    def shown(self, state: State) -> State:
        """`state` as one of the program that was passed."""
        if self.choices is None or self.choices.current == 0:
            return state
        return self.family.entered(0, state, self.kept)[0]

    def next_step(self) -> int:
        """After which step the next decision is due."""
        known = self.choices
        if self.plan is not None:
            count = 0 if known is None else len(known)
            return int(self.plan.steps[count]) if count < len(self.plan) else NEVER
        if known is None or not len(known):
            return -1
        if len(known.family) == 1:
            return NEVER
        first, last = int(known.steps[0]), int(known.steps[-1])
        pays = math.ceil(max(known.probing - FREE, 0.0) / (SHARE * known.seconds[known.current]))
        return last + max(pays, (last - first) // GROWTH, LEAST)

    def decide(self, state: State, batch: Batch, loop: Loop) -> Next:
        """The decision that is due; nothing changes before `take`."""
        probe = Probe(state, loop.probed(batch), self.hyper, self.trainable)
        if batch.check and batch.bound is None:
            call = Call(state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)
            bind(self.current, call)  # compiled code reads the batch unchecked
        if self.plan is not None:
            choices = self.plan.first(int(np.searchsorted(self.plan.steps, state.step, "right")))
            return self._moved(choices, self.family, state, probe, None)
        if self.choices is None:
            known, family = self._begin(state, batch, loop, probe)
        else:
            known, family = self.choices, self.family
        entered = [self._entered(family, i, known.current, state, probe) for i in range(len(known.family))]
        biased = [c.biased for c in known.family]
        programs = [family.program(i) for i in range(len(known.family))]
        variance, bias = measured(probe, programs, entered, biased)
        may = allowed(self.program, family.compiled(0), known.family)
        taken = best_of(variance + bias, known.seconds, known.current, may)
        figures = {
            "variance": variance.mean(1),
            "variance_error": variance.std(1, ddof=1) / math.sqrt(PAIRS),
            "squared_bias": np.maximum(bias.mean(1), 0.0),
        }
        return self._moved(known.having(state.step, taken, figures), family, state, probe, entered)

    def take(self, found: Next) -> None:
        """A decision counts from now on."""
        self.choices, self._family, self.kept = found.choices, found.family, found.kept

    def _entered(self, family: Family, i: int, current: int, state: State, probe: Probe) -> State:
        """The state as a program begins with it."""
        if i == current:
            return state
        moved, fresh = family.entered(i, state, self.kept)
        return probe.adapted(family.program(i), moved, fresh)

    def _moved(
        self,
        choices: Choices,
        family: Family,
        state: State,
        probe: Probe,
        entered: Sequence[State] | None,
    ) -> Next:
        """What follows from new choices."""
        before, after = (0 if self.choices is None else self.choices.current), choices.current
        if before == after:
            return Next(choices, family, self.kept, family.program(after), None)
        new = self._entered(family, after, before, state, probe) if entered is None else entered[after]
        return Next(choices, family, {**self.kept, before: state._aux.copy()}, family.program(after), new)

    def _begin(self, state: State, batch: Batch, loop: Loop, probe: Probe) -> tuple[Choices, Family]:
        """The family, and the seconds of its steps and of a comparison."""
        configs = found(self.program, state, batch, self.hyper, loop.trains)
        family = Family(self.program, self.arrays, configs)
        states = [family.entered(i, state, {}) for i in range(len(configs))]
        steppers = [loop.stepper(family.program(i), s, batch) for i, (s, _) in enumerate(states)]
        able = [i for i, stepper in enumerate(steppers) if stepper(1)]
        if 0 not in able:  # the first step will say what is wrong
            return Choices.begin(configs[:1], [1.0], 0.0), Family(self.program, self.arrays, configs[:1])
        seconds = timed([steppers[i] for i in able])
        if len(configs) == 1:
            return Choices.begin(configs, seconds, 0.0), family
        probing = sum(gradient_seconds(probe, family.program(i), *states[i]) for i in able)
        return Choices.begin([configs[i] for i in able], seconds, probing), family.only(able)


def best_of(errors: np.ndarray, seconds: np.ndarray, current: int, may: Sequence[bool]) -> int:
    """The choice of least error × seconds (rows: choices, columns: pairs); `current` unless it is clearly worse."""
    costs = errors * seconds[:, None]
    means = np.where(np.array(may) & np.isfinite(costs).all(1), costs.mean(1), np.inf)
    best = min(range(len(means)), key=lambda i: (means[i], seconds[i]))
    if means[best] == np.inf:
        return current
    if means[current] == np.inf:
        return best
    if means[best] == means[current] == 0:
        return best if seconds[current] > (1 + TIE) * seconds[best] else current
    return best if clearly_more(costs[current], costs[best]) else current


def clearly_more(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the mean of `one` is larger by `TIE`, and by two standard errors of the difference or three of the logs.

    Costs with heavy tails have errors as large as themselves, which no difference exceeds.
    """
    a, b, root = float(one.mean()), float(other.mean()), math.sqrt(one.size)
    if a - b <= TIE * abs(b):
        return False
    if a - b > 2 * float((one - other).std(ddof=1)) / root:
        return True
    return b > 0 and math.log(a / b) > 3 * math.hypot(one.std(ddof=1) / a, other.std(ddof=1) / b) / root


def timed(steppers: Sequence[Stepper]) -> list[float]:
    """Seconds of a step of each, which take turns: the least over turns."""
    blocks = [Timed(stepper) for stepper in steppers]
    turns = [[block.seconds() for block in blocks] for _ in range(TURNS)]
    return [min(times) for times in zip(*turns, strict=True)]


def gradient_seconds(probe: Probe, program: Any, state: State, fresh: frozenset[str]) -> float:
    """Seconds of all gradients of a program in a comparison."""
    found = []
    for _ in range(4):
        began = time.perf_counter()
        probe.gradient(program, state, 0)
        found.append(time.perf_counter() - began)
    return min(found[1:]) * (2 * PAIRS + ADAPTING * bool(fresh))


def _fitting(program: Any, arrays: Sequence[Any], plan: Choices) -> Family:
    try:
        return Family(program, arrays, plan.family)
    except DataError as error:
        raise OptionError(f"tune=choices: they are not of this program. {error}") from error


def tuner_of(option: Any, program: Any, arrays: Sequence[Any], hyper: Any, trainable: Any) -> Tuner | None:
    """The tuner that `tune=` asks for: False (None), True, or choices to replay.

    Raises
    ------
    OptionError
        The choices are of another program, or the program is one of a GPU.
    """
    replays = isinstance(option, Choices)
    if not replays and not option:
        return None
    compiled = program.prepare(*arrays)
    if compiled.target.resident:
        raise OptionError("tune= is for programs of a processor: choose with ppl.tune before training on a GPU")
    mask = None if trainable is None else trainable(compiled.layout)
    return Tuner(program, arrays, option if replays else None, hyper, mask)


def steps_until(tuner: Tuner | None, step: int) -> int:
    """Steps until the next decision, or very many."""
    return NEVER if tuner is None else tuner.next_step() - step
