"""The last rounds of a tuning: which choices are compiled, and how they are timed and raced.

Variances are known of all choices by then, at one number of particles, and prices at all. First compiled is the best
number of particles of each of the best estimators. What their steps take corrects the prices, and the choices that may
still be the best follow, most of them with other numbers of particles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ppl.inference.tuning.blocks import SHORT
from ppl.inference.tuning.clock import Clock
from ppl.inference.tuning.contender import Config, Contender, Programs
from ppl.inference.tuning.laws import reads_others, scaled
from ppl.inference.tuning.race import race

NEAR, HEADS = 2.0, 6
"""Factor above the least variance × price up to which estimators are compiled, and how many at most."""
DOUBT = 4.0
"""Factor up to which the variance of a choice with baselines from the other particles is measured with the most."""
CLOSE, MOST = 1.3, 6
"""Factor above the least variance × corrected price up to which a choice is compiled, and how many at most."""
CLIMBS, BESIDE = 2, 3
"""How often numbers of particles beside those of the best are compiled, and of how many estimators."""
FIRST, NEXT, TIMED, LEAST = 0.7, 0.8, 0.15, 0.1
"""Shares of the budget that are spent when the first ones, and the next, have been raced; share that times take; and
share that every race has."""
BEST = 3
"""Estimators that are compiled at least: some gradients may be wrong by a factor; and choices that no race drops."""

Admitted = Callable[[Config], Contender | str]
Settle = Callable[[Sequence[Contender]], None]


class Expected(NamedTuple):
    """A choice with its error (variance and squared bias) and seconds, as expected."""

    error: float
    seconds: float
    config: Config

    @property
    def order(self) -> tuple[float, float]:
        """The least product first; of exact ones the fastest."""
        return self.error * self.seconds, self.seconds

    def within(self, factor: float, best: Expected) -> bool:
        """Whether its product, or where both are exact its time, is at most so many times another's."""
        mine, other = self.order, best.order
        return mine[0] <= factor * other[0] and (mine[0] > 0 or mine[1] <= factor * other[1])


class Finals:
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
        admitted: Admitted,
        useful: Callable[[Config], Sequence[int]],
        settle: Settle,
        programs: Programs,
    ):
        self.clock, self.budget, self.admitted, self.useful = clock, budget, admitted, useful
        self.settle, self.programs = settle, programs

    def run(self, known: Iterable[Contender], own: Config | None) -> list[Contender]:
        """Compile and race the best; `own` is among them, if there is one."""
        expected = self.expected(known)
        heads = self._contenders(first_of_each(expected), own)
        self.measure(heads, FIRST)
        others = self._contenders(corrected(expected, heads), None)
        found = self.measure([*heads, *others], NEXT) if others else heads
        for _ in range(CLIMBS):
            others = self._contenders(beside(found, self.useful), None)
            if not others:
                break
            found = self.measure([*found, *others], NEXT)
        return self._race(found, max(1.0, self.clock.spent() / self.budget + LEAST))

    def expected(self, known: Iterable[Contender]) -> list[Expected]:
        """All choices, best first, by what the nearest number of particles has; only exact ones, if any are."""
        found: dict[Config, tuple[float, Expected]] = {}
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
        most = {e.config.estimators: max(self.useful(e.config)) for e in expected if reads_others(e.config)}
        found = [e for e in expected if e.config.particles == most.get(e.config.estimators)]
        return self._contenders(
            [e.config for e in found if e.config not in seen and e.within(DOUBT, expected[0])], None
        )

    def _expected(self, known: Contender) -> Iterator[Expected]:
        """With all numbers of particles, from what is known of one."""
        for p in self.useful(known.config):
            other = self.admitted(replace(known.config, particles=p))
            if not isinstance(other, str):
                self.clock.price(other)
                error = known.trace * scaled(known.config, p) + known.squared_bias
                yield Expected(error, other.seconds, other.config)

    def _contenders(self, configs: Sequence[Config], own: Config | None) -> list[Contender]:
        wanted = dict.fromkeys([*configs, *([own] if own is not None else [])])
        return [c for c in map(self.admitted, wanted) if not isinstance(c, str)]

    def measure(self, contenders: list[Contender], share: float) -> list[Contender]:
        """Compile those that are not, time all in turns, and race them until a share of the budget is spent."""
        new = [c for c in contenders if c.clock != "compiled"]
        for c in new:
            if c.program.settings.particles != c.config.particles:
                c.program = self.programs.of(c.config)
        self.clock.compile(contenders, max(0.05, TIMED * self.budget))
        if not any(c.config.biased for c in contenders):
            with self.clock.pause():
                for c in new:
                    c.run_compiled(short=all(c.seconds < SHORT for c in contenders))
        return self._race(contenders, max(share, self.clock.spent() / self.budget + LEAST))

    def _race(self, contenders: list[Contender], share: float) -> list[Contender]:
        return race(contenders, self.clock, share * self.budget, BEST, 1.0, self.settle)


def first_of_each(expected: Sequence[Expected]) -> list[Config]:
    """The best number of particles of each of the best estimators: three at least, unless they are exact."""
    heads: dict[object, Expected] = {}
    for e in expected:
        heads.setdefault(e.config.estimators, e)
    ranked, least = list(heads.values())[:HEADS], 1 if expected[0].config.exact else BEST
    return [e.config for i, e in enumerate(ranked) if i < least or e.within(NEAR, expected[0])]


def corrected(expected: Sequence[Expected], heads: Sequence[Contender]) -> list[Config]:
    """The choices beside the first that may be the best, by variances of these and prices that their times correct."""
    prices = {e.config: e.seconds for e in expected}
    found: list[Expected] = []
    for c in heads:
        for e in expected:
            if c.config in prices and e.config.estimators == c.config.estimators:
                error = c.trace * scaled(c.config, e.config.particles) + c.squared_bias
                found.append(Expected(error, e.seconds * c.seconds / prices[c.config], e.config))
    found.sort(key=lambda e: e.order)
    compiled = {c.config for c in heads}
    return [e.config for e in found if e.config not in compiled and e.within(CLOSE, found[0])][:MOST]


def beside(measured: Sequence[Contender], useful: Callable[[Config], Sequence[int]]) -> list[Config]:
    """The next fewer and more particles of the best estimators, where they are not measured yet.

    Prices know little of caches and of vectors: a step of half the particles may take much less than they say.
    """
    ranked = sorted(measured, key=lambda c: (c.cost, c.seconds))
    heads: dict[object, Contender] = {}
    for c in ranked:
        heads.setdefault(c.config.estimators, c)
    known = {c.config for c in measured}
    found: list[Config] = []
    for c in list(heads.values())[:BESIDE]:
        if c.cost > CLOSE * ranked[0].cost:
            break
        counts = list(useful(c.config))
        at = counts.index(c.config.particles) if c.config.particles in counts else -1
        places = (at - 1, at + 1) if at >= 0 else ()
        found += [replace(c.config, particles=counts[i]) for i in places if 0 <= i < len(counts)]
    return [config for config in found if config not in known]
