"""Race contenders by successive halving on variance × seconds, and time the last ones compiled.

Successive halving (Jamieson and Talwalkar 2016) with common random numbers: every round doubles the gradients of those
that are left and drops the worse half, but none that is not clearly worse. The final rounds compile the best contenders
and correct the cost model by their times. A clock gives all times, so that a tuning is a function of its seed
otherwise."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ppl.choosing.contender import SHORT_STEP_SECONDS, Contender, ProgramsByChoice, uses_other_particles, variance_ratio
from ppl.choosing.frozen_steps import FrozenSteps
from ppl.compiler.plan.plan import Configuration
from ppl.ir.reference.interpret import evaluate
from ppl.progress import line
from ppl.runtime.call import bind_call

ADAPTING_STEPS, TIMED_STEPS, LONG_STEP_SECONDS = 200, 10, 0.1
"""Interpreted steps at most that adapt auxiliary variables, and that are timed where there are none; seconds of a step
from which two are enough."""

WARM_UP_STEPS, WARM_UP_SECONDS = 1000, 0.1
"""Compiled steps that adapt auxiliary variables, and about the most seconds that they may take."""

TIMING_ROUNDS, LEAST_TIMING_SECONDS = 15, 1.0
"""Turns in which compiled steps are timed one program after another, and seconds that they are given in any case."""


class Clock:
    """Times as this machine has them.

    Attributes
    ----------
    compiling : seconds that went into compiling, which no budget counts.
    """

    def __init__(self) -> None:
        self.compiling, self._began = 0.0, time.perf_counter()
        self._prices: dict[Any, Callable[[Mapping[str, int]], float]] = {}

    def spent(self) -> float:
        """Return the seconds since the tuning began, those of compiling not counted."""
        return time.perf_counter() - self._began - self.compiling

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What is done meanwhile counts as compiling."""
        began = time.perf_counter()
        yield
        self.compiling += time.perf_counter() - began

    def interpret(self, contender: Contender, seconds: float, times: bool = True) -> None:
        """Set the contender's seconds to those of an interpreted step, and adapt its auxiliary variables on the way.

        Without `times` one step says about how long they take, if there is nothing to adapt.
        """
        bound = bind_call(contender.program, contender.call)
        own = contender.config.particles == bound.compiled.settings.particles
        variant = bound.compiled.gradient if own else bound.compiled.variant("gradient")
        nodes = [variant.scalars["loss"], *variant.grads.values(), *variant.aux.values()]
        carried = set(bound.compiled.trace.carried)
        taken: list[float] = []
        state, until = contender.call.state, time.perf_counter() + seconds
        most, least = (ADAPTING_STEPS if contender.adapts else TIMED_STEPS if times else 1), TIMED_STEPS if times else 1
        while len(taken) < most and (len(taken) < least or time.perf_counter() < until):
            env = replace(bound, state=state).environment(variant, step=len(taken))
            began = time.perf_counter()
            found = evaluate(nodes, env)
            taken.append(time.perf_counter() - began)
            least = min(least, 2) if taken[-1] > LONG_STEP_SECONDS else least
            moved = dict(zip(variant.aux, found[len(found) - len(variant.aux) :], strict=True))
            state = state.replace(aux={**moved, **{name: state.aux[name] for name in carried}})
        contender.call = replace(contender.call, state=state)
        contender.pace = contender.seconds = min(taken)
        contender.clock = "interpreter"

    def price(self, contender: Contender) -> None:
        """Set the contender's seconds to what its schedule says that a step of training takes.

        Interpreted steps of small graphs take what calls of NumPy take, however large the arrays are.
        """
        with self.pause():
            key = contender.config.estimators
            if key not in self._prices:
                self._prices[key] = contender.program._predict_step_seconds(*contender.call.data)
            rows = bind_call(contender.program, contender.call).data.rows
            sizes = {f"n_{name}": count for name, count in rows.items()}
            contender.seconds = self._prices[key]({**sizes, "n_particles": contender.config.particles})
            contender.clock = "priced"

    def compile(self, contenders: Sequence[Contender], seconds: float) -> None:
        """Set the contenders' seconds to those of compiled steps of training, which take turns.

        Of the turns the fastest counts: others' work on the machine only adds to a turn.
        """
        began = time.perf_counter()
        steps: list[FrozenSteps] = []
        with line.during(lambda: f"tuning, choice {min(len(steps) + 1, len(contenders))} of {len(contenders)}"):
            for c in contenders:
                each = FrozenSteps(c.program, c.call)
                each.take(1)
                if c.adapts and c.clock != "compiled":
                    c.settle(each.settled(WARM_UP_STEPS, WARM_UP_SECONDS))
                steps.append(each)
        self.compiling += time.perf_counter() - began
        found: list[list[float]] = [[] for _ in contenders]
        until = time.perf_counter() + max(seconds, LEAST_TIMING_SECONDS)
        while len(found[-1]) < 2 or (len(found[-1]) < TIMING_ROUNDS and time.perf_counter() < until):
            for each, times in zip(steps, found, strict=True):
                times.append(each.seconds())
        for c, times in zip(contenders, found, strict=True):
            c.seconds, c.clock = min(times), "compiled"


PRECISE_ERROR = 0.02
"""Relative standard error of the variance at which a race ends."""

TIE_MARGIN, EQUAL_MARGIN = 0.1, 0.03
"""Relative difference of costs below which nothing is dropped from a race; and below which choices count as equal."""

ENOUGH_GRADIENTS, ENOUGH_BLOCKS, MOST_GRADIENTS = 500, 40, 4000
"""Gradients, and blocks of them, from which on a race may end; and gradients or blocks at which it does."""


def race_contenders(
    contenders: Sequence[Contender],
    clock: Clock,
    until: float,
    keep: int,
    doubt: float,
    measured: Callable[[Sequence[Contender]], None],
) -> list[Contender]:
    """Return the contenders, best first; those dropped early are last.

    Parameters
    ----------
    until : of `clock.spent()`, after which no more gradients are drawn than one chunk each, or two repeats.
    keep : how many are never dropped.
    measured : called with all contenders after each round.
    doubt : factor by which seconds may be wrong against one another: whoever is within it is not clearly worse.
    """
    alive, target = list(contenders), 1
    dropped: list[Contender] = []
    if not alive:
        return []
    sources = [c.source() for c in alive]
    chunk = min(s.chunk for s in sources)
    for c, source in zip(alive, sources, strict=True):
        if not c.begun:
            c.begin(chunk, source)
    while True:
        for c in alive:
            while c.repeats < 2 or (c.chunks < target and (not c.chunks or clock.spent() < until)):
                c.draw()
        measured(contenders)
        alive.sort(key=_cost_order)
        if clock.spent() >= until or all(map(_is_precise, alive)):
            return alive + dropped
        half = max(keep, (len(alive) + 1) // 2)
        kept = [c for i, c in enumerate(alive) if i < half or not _clearly_worse(c, alive[0], doubt)]
        dropped = [c for c in alive if c not in kept] + dropped
        alive, target = kept, 2 * target


def _cost_order(contender: Contender) -> tuple[float, float]:
    return contender.cost, contender.seconds


def _is_precise(c: Contender) -> bool:
    enough = c.repeats >= max(ENOUGH_GRADIENTS, ENOUGH_BLOCKS * c.together)
    return c.repeats >= MOST_GRADIENTS * c.together or (enough and c.trace_error <= PRECISE_ERROR * c.trace)


def _clearly_worse(contender: Contender, best: Contender, doubt: float) -> bool:
    """Return whether a contender is clearly worse than the best."""
    return contender.cost > (doubt + TIE_MARGIN) * best.cost + 2 * contender.behind(best)


def pick_winner(contenders: Sequence[Contender]) -> Contender:
    """Return the first contender as good as the best, costs one standard error up; of exact ones, as fast."""
    best = min(contenders, key=lambda c: (c.doubted, c.seconds))
    if best.doubted == 0:
        return next(c for c in contenders if c.doubted == 0 and c.seconds <= (1 + EQUAL_MARGIN) * best.seconds)
    return next(c for c in contenders if c is best or c.doubted <= (1 + EQUAL_MARGIN) * best.doubted)


NEAR_FACTOR, MOST_HEADS = 2.0, 6
"""Factor above the least variance × price up to which estimators are compiled, and how many at most."""

VARIANCE_DOUBT = 4.0
"""Factor up to which the variance of a choice with baselines from the other particles is measured with the most."""

CLOSE_FACTOR, MOST_CORRECTED = 1.3, 6
"""Factor above the least variance × corrected price up to which a choice is compiled, and how many at most."""

PARTICLE_CLIMBS, CLIMBING_ESTIMATORS = 2, 3
"""How often numbers of particles beside those of the best are compiled, and of how many estimators."""

FIRST_SHARE, NEXT_SHARE, TIMING_SHARE, LEAST_SHARE = 0.7, 0.8, 0.15, 0.1
"""Shares of the budget that are spent when the first ones, and the next, have been raced; share that times take; and
share that every race has."""

LEAST_COMPILED = 3
"""Estimators that are compiled at least: some gradients may be wrong by a factor; and choices that no race drops."""

AdmitChoice = Callable[[Configuration], Contender | str]

SettleContenders = Callable[[Sequence[Contender]], None]


class CostEstimate(NamedTuple):
    """A choice with its error (variance and squared bias) and seconds, as expected."""

    error: float
    seconds: float
    config: Configuration

    @property
    def order(self) -> tuple[float, float]:
        """The least product first; of exact ones the fastest."""
        return self.error * self.seconds, self.seconds

    def within(self, factor: float, best: CostEstimate) -> bool:
        """Return whether its product, or where both are exact its time, is at most so many times another's."""
        mine, other = self.order, best.order
        return mine[0] <= factor * other[0] and (mine[0] > 0 or mine[1] <= factor * other[1])


class FinalRounds:
    """The choices of a tuning that are compiled.

    Parameters
    ----------
    clock, budget : what is timed by, and seconds.
    admitted : gives the contender of a choice, or says why there is none.
    useful : numbers of particles to try with a choice.
    settle : called with all contenders after each round of a race.
    programs : programs by their choices.
    """

    def __init__(
        self,
        clock: Clock,
        budget: float,
        admitted: AdmitChoice,
        useful: Callable[[Configuration], Sequence[int]],
        settle: SettleContenders,
        programs: ProgramsByChoice,
    ):
        self.clock, self.budget, self.admitted, self.useful = clock, budget, admitted, useful
        self.settle, self.programs = settle, programs

    def run(self, known: Iterable[Contender], own: Configuration | None) -> list[Contender]:
        """Compile and race the best; `own` is among them, if there is one."""
        expected = self.expected(known)
        heads = self._contenders(best_of_each_estimator(expected), own)
        self.measure(heads, FIRST_SHARE)
        others = self._contenders(corrected_choices(expected, heads), None)
        found = self.measure([*heads, *others], NEXT_SHARE) if others else heads
        for _ in range(PARTICLE_CLIMBS):
            others = self._contenders(neighbouring_particles(found, self.useful), None)
            if not others:
                break
            found = self.measure([*found, *others], NEXT_SHARE)
        return self._race(found, max(1.0, self.clock.spent() / self.budget + LEAST_SHARE))

    def expected(self, known: Iterable[Contender]) -> list[CostEstimate]:
        """Return all choices, best first, by what the nearest number of particles has; only exact ones, if any are."""
        found: dict[Configuration, tuple[float, CostEstimate]] = {}
        for c in sorted(known, key=lambda c: c.config.particles):
            for e in self._expected(c):
                away = abs(math.log(e.config.particles / c.config.particles))
                if e.config not in found or away <= found[e.config][0]:
                    found[e.config] = away, e
        ranked = sorted((e for _, e in found.values()), key=lambda e: e.order)
        return [e for e in ranked if e.config.exact] or ranked

    def doubtful(self, known: Sequence[Contender]) -> list[Contender]:
        """Choices with the most particles that may be best, and whose variance does not follow from that with fewer."""
        expected, seen = self.expected(known), {c.config for c in known}
        most = {e.config.estimators: max(self.useful(e.config)) for e in expected if uses_other_particles(e.config)}
        found = [e for e in expected if e.config.particles == most.get(e.config.estimators)]
        return self._contenders(
            [e.config for e in found if e.config not in seen and e.within(VARIANCE_DOUBT, expected[0])], None
        )

    def _expected(self, known: Contender) -> Iterator[CostEstimate]:
        """Yield estimates for all numbers of particles, from what is known of one."""
        for p in self.useful(known.config):
            other = self.admitted(replace(known.config, particles=p))
            if not isinstance(other, str):
                self.clock.price(other)
                error = known.trace * variance_ratio(known.config, p) + known.squared_bias
                yield CostEstimate(error, other.seconds, other.config)

    def _contenders(self, configs: Sequence[Configuration], own: Configuration | None) -> list[Contender]:
        wanted = dict.fromkeys([*configs, *([own] if own is not None else [])])
        return [c for c in map(self.admitted, wanted) if not isinstance(c, str)]

    def measure(self, contenders: list[Contender], share: float) -> list[Contender]:
        """Compile those that are not, time all in turns, and race them until a share of the budget is spent."""
        new = [c for c in contenders if c.clock != "compiled"]
        for c in new:
            if c.program.settings.particles != c.config.particles:
                c.program = self.programs.of(c.config)
        self.clock.compile(contenders, max(0.05, TIMING_SHARE * self.budget))
        if not any(c.config.biased for c in contenders):
            with self.clock.pause():
                for c in new:
                    c.run_compiled(short=all(c.seconds < SHORT_STEP_SECONDS for c in contenders))
        return self._race(contenders, max(share, self.clock.spent() / self.budget + LEAST_SHARE))

    def _race(self, contenders: list[Contender], share: float) -> list[Contender]:
        return race_contenders(contenders, self.clock, share * self.budget, LEAST_COMPILED, 1.0, self.settle)


def best_of_each_estimator(expected: Sequence[CostEstimate]) -> list[Configuration]:
    """Return the best number of particles of each of the best estimators: three at least, unless they are exact."""
    heads: dict[object, CostEstimate] = {}
    for e in expected:
        heads.setdefault(e.config.estimators, e)
    ranked, least = list(heads.values())[:MOST_HEADS], 1 if expected[0].config.exact else LEAST_COMPILED
    return [e.config for i, e in enumerate(ranked) if i < least or e.within(NEAR_FACTOR, expected[0])]


def corrected_choices(expected: Sequence[CostEstimate], heads: Sequence[Contender]) -> list[Configuration]:
    """Return choices beside the first that may be best, by their variances and prices that times correct."""
    prices = {e.config: e.seconds for e in expected}
    found: list[CostEstimate] = []
    for c in heads:
        for e in expected:
            if c.config in prices and e.config.estimators == c.config.estimators:
                error = c.trace * variance_ratio(c.config, e.config.particles) + c.squared_bias
                found.append(CostEstimate(error, e.seconds * c.seconds / prices[c.config], e.config))
    found.sort(key=lambda e: e.order)
    compiled = {c.config for c in heads}
    return [e.config for e in found if e.config not in compiled and e.within(CLOSE_FACTOR, found[0])][:MOST_CORRECTED]


def neighbouring_particles(
    measured: Sequence[Contender], useful: Callable[[Configuration], Sequence[int]]
) -> list[Configuration]:
    """Return the next fewer and more particles of the best estimators, where they are not measured yet.

    Prices know little of caches and of vectors: a step of half the particles may take much less than they say.
    """
    ranked = sorted(measured, key=lambda c: (c.cost, c.seconds))
    heads: dict[object, Contender] = {}
    for c in ranked:
        heads.setdefault(c.config.estimators, c)
    known = {c.config for c in measured}
    found: list[Configuration] = []
    for c in list(heads.values())[:CLIMBING_ESTIMATORS]:
        if c.cost > CLOSE_FACTOR * ranked[0].cost:
            break
        counts = list(useful(c.config))
        at = counts.index(c.config.particles) if c.config.particles in counts else -1
        places = (at - 1, at + 1) if at >= 0 else ()
        found += [replace(c.config, particles=counts[i]) for i in places if 0 <= i < len(counts)]
    return [config for config in found if config not in known]
