"""Choose estimators while `ppl.fit` trains (`tune=True`): when choices are compared, and which is taken.

The first comparison comes before the first step: it finds the family of choices, and measures seconds once. From then
on a decision is a function of (choices so far, state, batches), so that a run that is taken up again takes the same
ones. A comparison draws gradients beside the step on the batch at hand; their noise is a function of (seed, step,
number of the gradient), and none of it is that of a training step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from ppl.choosing.candidates import node_candidates
from ppl.choosing.choices import Choices, pack_choices, unpack_choices
from ppl.choosing.contender import ProgramsByChoice
from ppl.choosing.frozen_steps import BlockTimer, TakeSteps
from ppl.choosing.tune import TuningRun
from ppl.compiler.plan.plan import Configuration, describe_choice
from ppl.errors import DataError, EstimatorError, OptionError
from ppl.ir.reference.noise import mix, node_hash
from ppl.runtime.call import Call, bind_call, run_variant
from ppl.runtime.state import State
from ppl.training.batches import Batch
from ppl.training.checkpoints import TUNING_PREFIX, RunStart

MOST_RIVALS = 3
"""Choices that are compared besides the program's own."""

FAMILY_SECONDS = 2.0
"""What the first measurements may take, compiling not counted."""


def configuration_of(compiled: Any) -> Configuration:
    """Return the choice of a program."""
    return Configuration(tuple(compiled.plan.as_dict().items()), int(compiled.settings.particles))


class ProgramFamily:
    """Programs by their number; 0 is the program that was passed.

    Parameters
    ----------
    own : the program that was passed.
    data : of the signature that they are traced with.
    configs : their choices, beginning with the program's own.

    Raises
    ------
    DataError
        The first choice is not the program's own, or the program does not have one of the others.
    """

    def __init__(self, own: Any, data: Sequence[Any], configs: Sequence[Configuration]):
        self.configs, self._data = tuple(configs), tuple(data)
        self._others, self._made = ProgramsByChoice(own, self._data), {0: own}
        mine = configuration_of(own.prepare(*self._data))
        if configs[0] != mine:
            was, now = (describe_choice(c.estimators, c.particles) for c in (configs[0], mine))
            raise DataError(f"tune=: the run began with a program of {was}; this one has {now}")

    def program(self, i: int) -> Any:
        """Return the program of a choice."""
        if i not in self._made:
            made = self._others.of(self.configs[i])
            if isinstance(made, str):
                label = describe_choice(self.configs[i].estimators, self.configs[i].particles)
                raise DataError(f"tune=: the choice {label} is none of this program: {made}")
            self._made[i] = made
        return self._made[i]

    def only(self, kept: Sequence[int]) -> ProgramFamily:
        """Return the family without the others; the first is kept."""
        found = ProgramFamily(self.program(0), self._data, [self.configs[i] for i in kept])
        found._made = {k: self._made[i] for k, i in enumerate(kept) if i in self._made}
        return found

    def compiled(self, i: int) -> Any:
        """Return the prepared program of a choice."""
        return self.program(i).prepare(*self._data)

    def entered(self, i: int, state: State, kept: Mapping[int, np.ndarray]) -> tuple[State, frozenset[str]]:
        """Return `state` as program `i` begins with it, and the auxiliary variables that have yet to be adapted to it.

        Those of nodes whose estimator stays are those of `state`, and so is what is carried from step to step. Others
        are what they were when the program was left (`kept`), else as at the start.
        """
        compiled = self.compiled(i)
        layouts, estimators = (compiled.layout, compiled.aux_layout), compiled.estimators
        start = kept[i] if i in kept else compiled.aux_init(state.seed)
        parts = {name: part.copy() for name, part in compiled.aux_layout.split(start).items()}
        now, before = state.aux, state.estimators
        same = {
            name
            for name, part in parts.items()
            if name in now and now[name].shape == part.shape and _variable_stays(name, compiled, estimators, before)
        }
        aux = compiled.aux_layout.join({**parts, **{name: now[name] for name in same}}, state._flat.dtype)
        moved = State.unchecked(state._flat, aux, layouts, state.step, state.seed, state._opt, estimators)
        return moved, frozenset(set(parts) - same)


def _variable_stays(name: str, compiled: Any, estimators: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether a variable is carried by the model, or of a node whose estimator is the same."""
    node = name.rpartition("/")[0]
    return name in compiled.trace.carried or (node in before and before[node] == estimators.get(node))


def find_family(
    program: Any, state: State, batch: Batch, hyper: Any, able: Callable[[Any], bool]
) -> list[Configuration]:
    """Return the choices to move between: the program's own, and the best of each kind where the run begins."""
    compiled = program.prepare(*batch.data)
    own = configuration_of(compiled)
    if not own.estimators:
        return [own]
    call = Call(state, batch.data, state.seed, None, batch.rows, batch.total_rows, hyper)
    bench = TuningRun(program, call, lambda _, mine: node_candidates(mine), None, None, FAMILY_SECONDS, False)
    best = [c.config for c in bench.kinds(MOST_RIVALS)]
    family = [own, *(c for c in best if c != own)]
    family = [c for i, c in enumerate(family) if not i or able(bench.programs.of(c))]
    if any(c.biased for c in family) and bench.bias and all(c.biased for c in family):
        raise EstimatorError("tune=True: no estimator without bias is admissible, which bias could be measured against")
    return family


def allowed_configurations(program: Any, compiled: Any, configs: Sequence[Configuration]) -> list[bool]:
    """Say which choices may be taken: all where bias is allowed, else those where only pinned nodes are biased."""
    free = [name for name in compiled.plan.as_dict() if compiled.graph[name].site.estimator is None]
    return [program.settings.allow_bias or not any(c[name].biased for name in free) for c in configs]


GRADIENT_PAIRS = 16
"""Pairs of gradients that a variance is estimated from."""

ADAPTING_GRADIENTS = 32
"""Gradients by which auxiliary variables are adapted before."""


class GradientProbe:
    """Gradients at one state.

    Parameters
    ----------
    state : where; of any program of the family.
    batches : the minibatch of a gradient, by its number.
    hyper : as for `ppl.fit`.
    used : which entries of the gradient the optimizer uses; None means all.
    """

    def __init__(self, state: State, batches: Callable[[int], Batch], hyper: Any, used: np.ndarray | None = None):
        self.seed = mix(mix(state.seed, node_hash("ppl.fit/tune")), state.step)
        self.batches, self.hyper, self.used = batches, hyper, used

    def gradient(self, program: Any, state: State, i: int, check: bool = False) -> tuple[np.ndarray, State]:
        """Gradient `i` of a program, and the state with the auxiliary variables after it."""
        batch = self.batches(i)
        call = Call(state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)
        bound = replace(bind_call(program, call, check), seed=self.seed, step=i)
        result = run_variant(bound, "gradient")
        grad = np.asarray(result.grad, np.float64)
        return grad if self.used is None else grad[self.used], _with_aux(bound.compiled, state, result.aux)

    def adapted(self, program: Any, state: State, fresh: frozenset[str]) -> State:
        """Return `state` with those auxiliary variables adapted that are not yet.

        An exponential mean that begins anywhere is far from the mean for long; what it began with is taken out.
        """
        if not fresh:
            return state
        moved = state
        for i in range(ADAPTING_GRADIENTS):
            _, moved = self.gradient(program, moved, 2 * GRADIENT_PAIRS + i)
        slots, parts = program.prepare(*self.batches(0).data).gradient.aux_slots, dict(state.aux)
        for name in fresh:
            left = slots[name].decay ** ADAPTING_GRADIENTS
            parts[name] = (moved.aux[name] - left * state.aux[name]) / (1 - left)
        return moved.replace(aux=parts)


def _with_aux(compiled: Any, state: State, aux: np.ndarray) -> State:
    """Return the state with new auxiliary variables; what the model carries from step to step stays."""
    if not aux.size:
        return state
    new = np.array(aux)
    for name, place, _ in compiled.aux_layout.slices:
        if name in compiled.trace.carried:
            new[place] = state._aux[place]
    return State.unchecked(state._flat, new, state._layouts, state.step, state.seed, state._opt, state.estimators)


def measure_errors(
    probe: GradientProbe, programs: Sequence[Any], states: Sequence[State], biased: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Return, of every program (rows) and pair of gradients (columns), half their squared distance; and of biased
    programs the product of their distances from an unbiased program's.

    Means over pairs are the variance of the gradient and the square of its bias, without bias themselves.
    """
    reference = next((i for i, b in enumerate(biased) if not b), None) if any(biased) else None
    variance, bias = np.zeros((2, len(programs), GRADIENT_PAIRS))
    moving = list(states)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(GRADIENT_PAIRS):
            kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
            for m, program in enumerate(programs):
                first, moving[m] = probe.gradient(program, moving[m], 2 * k)
                second, moving[m] = probe.gradient(program, moving[m], 2 * k + 1)
                variance[m, k] = ((first - second) ** 2).sum() / 2
                if reference is not None and (biased[m] or m == reference):
                    kept[m] = first, second
            for m, pair in kept.items():
                assert reference is not None
                bias[m, k] = np.prod([a - b for a, b in zip(pair, kept[reference], strict=True)], axis=0).sum()
    return variance, bias


COMPARING_SHARE, UNNOTICED_SECONDS = 0.05, 0.01
"""What comparing may take of the seconds of the steps until the next comparison, and seconds that nobody notices."""

SPACING_GROWTH, LEAST_SPACING = 4, 100
"""A comparison follows after a further 1 / GROWTH of the steps that were taken, at least, and after so many steps."""

TIE_MARGIN = 0.1
"""Relative difference of variance × seconds below which the choice stays."""

TIMING_ROUNDS = 15
"""Turns in which the first seconds of steps are measured. The least is taken: whatever else runs on the machine only
adds to it."""

NEVER = 2**62

KEPT_KEY = TUNING_PREFIX + "aux/"


class TunedLoop(Protocol):
    """What a training loop tells a tuner."""

    def trains(self, program: Any) -> bool:
        """Return whether the loop can take the steps of a program."""
        ...

    def stepper(self, program: Any, state: State, batch: Batch) -> TakeSteps:
        """Steps of a program on a batch, as the loop takes them, on a copy of a state."""
        ...

    def comparison_batches(self, batch: Batch) -> Callable[[int], Batch]:
        """Batches to compare on, by number; `batch` is that of the next step."""
        ...


class TuningDecision(NamedTuple):
    """What a comparison comes to: the choices, vectors kept for programs that were left, and how training goes on."""

    choices: Choices
    family: ProgramFamily
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
        self._family: ProgramFamily | None = None
        if plan is not None:
            self._family = _replayed_family(program, arrays, plan)

    @property
    def family(self) -> ProgramFamily:
        """The programs."""
        if self._family is None:
            assert self.choices is not None
            self._family = ProgramFamily(self.program, self.arrays, self.choices.family)
        return self._family

    def resume(self, resumed: RunStart) -> Any:
        """Go on where a checkpoint ends; returns the program that takes the next step."""
        assert resumed.tuning is not None
        choices = unpack_choices(resumed.tuning)
        if choices is not None:
            if self.plan is not None and self.plan.first(len(choices)) != choices:
                raise DataError("tune=: the run in the checkpoint has taken other choices than those to be replayed")
            self.choices, self._family = choices, None
            self.kept = {int(k.removeprefix(KEPT_KEY)): v for k, v in resumed.tuning.items() if k.startswith(KEPT_KEY)}
            for i, vector in self.kept.items():
                if not i < len(choices.family) or vector.shape != (self.family.compiled(i).aux_layout.size,):
                    raise DataError("the auxiliary variables kept of other choices are damaged")
        return self.current

    @property
    def current(self) -> Any:
        """The program that takes the next step."""
        return self.program if self.choices is None else self.family.program(self.choices.current)

    def arrays_to_store(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint stores."""
        stored = {TUNING_PREFIX + "run": np.array(1)}
        if self.choices is not None:
            stored |= pack_choices(self.choices) | {f"{KEPT_KEY}{i}": aux for i, aux in self.kept.items()}
        return stored

    def shown(self, state: State) -> State:
        """Return `state` as one of the program that was passed."""
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
        pays = math.ceil(max(known.probing - UNNOTICED_SECONDS, 0.0) / (COMPARING_SHARE * known.seconds[known.current]))
        return last + max(pays, (last - first) // SPACING_GROWTH, LEAST_SPACING)

    def decide(self, state: State, batch: Batch, loop: TunedLoop) -> TuningDecision:
        """Return the decision that is due; nothing changes before `take`."""
        probe = GradientProbe(state, loop.comparison_batches(batch), self.hyper, self.trainable)
        if batch.check and batch.bound is None:
            call = Call(state, batch.data, rows=batch.rows, total_rows=batch.total_rows, hyper=self.hyper)
            bind_call(self.current, call)  # compiled code reads the batch unchecked
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
        variance, bias = measure_errors(probe, programs, entered, biased)
        may = allowed_configurations(self.program, family.compiled(0), known.family)
        taken = best_configuration(variance + bias, known.seconds, known.current, may)
        figures = {
            "variance": variance.mean(1),
            "variance_error": variance.std(1, ddof=1) / math.sqrt(GRADIENT_PAIRS),
            "squared_bias": np.maximum(bias.mean(1), 0.0),
        }
        return self._moved(known.having(state.step, taken, figures), family, state, probe, entered)

    def take(self, found: TuningDecision) -> None:
        """Make a decision count from now on."""
        self.choices, self._family, self.kept = found.choices, found.family, found.kept

    def _entered(self, family: ProgramFamily, i: int, current: int, state: State, probe: GradientProbe) -> State:
        """Return the state as a program begins with it."""
        if i == current:
            return state
        moved, fresh = family.entered(i, state, self.kept)
        return probe.adapted(family.program(i), moved, fresh)

    def _moved(
        self,
        choices: Choices,
        family: ProgramFamily,
        state: State,
        probe: GradientProbe,
        entered: Sequence[State] | None,
    ) -> TuningDecision:
        """Return what follows from new choices."""
        before, after = (0 if self.choices is None else self.choices.current), choices.current
        if before == after:
            return TuningDecision(choices, family, self.kept, family.program(after), None)
        new = self._entered(family, after, before, state, probe) if entered is None else entered[after]
        return TuningDecision(choices, family, {**self.kept, before: state._aux.copy()}, family.program(after), new)

    def _begin(
        self, state: State, batch: Batch, loop: TunedLoop, probe: GradientProbe
    ) -> tuple[Choices, ProgramFamily]:
        """Return the family, and the seconds of its steps and of a comparison."""
        configs = find_family(self.program, state, batch, self.hyper, loop.trains)
        family = ProgramFamily(self.program, self.arrays, configs)
        states = [family.entered(i, state, {}) for i in range(len(configs))]
        steppers = [loop.stepper(family.program(i), s, batch) for i, (s, _) in enumerate(states)]
        able = [i for i, stepper in enumerate(steppers) if stepper(1)]
        if 0 not in able:  # the first step will say what is wrong
            return Choices.begin(configs[:1], [1.0], 0.0), ProgramFamily(self.program, self.arrays, configs[:1])
        seconds = time_steps([steppers[i] for i in able])
        if len(configs) == 1:
            return Choices.begin(configs, seconds, 0.0), family
        probing = sum(gradient_seconds(probe, family.program(i), *states[i]) for i in able)
        return Choices.begin([configs[i] for i in able], seconds, probing), family.only(able)


def best_configuration(errors: np.ndarray, seconds: np.ndarray, current: int, may: Sequence[bool]) -> int:
    """Find the choice of least error × seconds (rows: choices, columns: pairs); `current` unless clearly worse."""
    costs = errors * seconds[:, None]
    means = np.where(np.array(may) & np.isfinite(costs).all(1), costs.mean(1), np.inf)
    best = min(range(len(means)), key=lambda i: (means[i], seconds[i]))
    if means[best] == np.inf:
        return current
    if means[current] == np.inf:
        return best
    if means[best] == means[current] == 0:
        return best if seconds[current] > (1 + TIE_MARGIN) * seconds[best] else current
    return best if clearly_larger(costs[current], costs[best]) else current


def clearly_larger(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether the mean of `one` is larger by `TIE`, and by two standard errors of the difference or three of the
    logs.

    Costs with heavy tails have errors as large as themselves, which no difference exceeds.
    """
    a, b, root = float(one.mean()), float(other.mean()), math.sqrt(one.size)
    if a - b <= TIE_MARGIN * abs(b):
        return False
    if a - b > 2 * float((one - other).std(ddof=1)) / root:
        return True
    return b > 0 and math.log(a / b) > 3 * math.hypot(one.std(ddof=1) / a, other.std(ddof=1) / b) / root


def time_steps(steppers: Sequence[TakeSteps]) -> list[float]:
    """Time a step of each in turns, and return the least seconds."""
    blocks = [BlockTimer(stepper) for stepper in steppers]
    turns = [[block.seconds() for block in blocks] for _ in range(TIMING_ROUNDS)]
    return [min(times) for times in zip(*turns, strict=True)]


def gradient_seconds(probe: GradientProbe, program: Any, state: State, fresh: frozenset[str]) -> float:
    """Time all gradients of a program in a comparison."""
    found = []
    for _ in range(4):
        began = time.perf_counter()
        probe.gradient(program, state, 0)
        found.append(time.perf_counter() - began)
    return min(found[1:]) * (2 * GRADIENT_PAIRS + ADAPTING_GRADIENTS * bool(fresh))


def _replayed_family(program: Any, arrays: Sequence[Any], plan: Choices) -> ProgramFamily:
    try:
        return ProgramFamily(program, arrays, plan.family)
    except DataError as error:
        raise OptionError(f"tune=choices: they are not of this program. {error}") from error


def make_tuner(option: Any, program: Any, arrays: Sequence[Any], hyper: Any, trainable: Any) -> Tuner | None:
    """Return the tuner that `tune=` asks for: False (None), True, or choices to replay.

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


def steps_until_decision(tuner: Tuner | None, step: int) -> int:
    """Steps until the next decision, or very many."""
    return NEVER if tuner is None else tuner.next_step() - step
