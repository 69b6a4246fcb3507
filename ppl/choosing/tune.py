"""`ppl.tune`: choose estimators and particles by measuring variance × time instead of by the table.

1. Node by node, the others at their current choice, all candidates race (`tuning.race`).
2. Nodes that share a cost are tried together: each pair among the best three of both.
3. What a step takes is a price so far, read off the schedule: an interpreted step of a small graph takes what calls of
   NumPy take. The best number of particles of each of the best estimators is compiled, steps of its training loop are
   timed, and gradients of compiled steps raced (`tuning.finals`); then those that may be the best by prices that these
   times correct. Variances follow the laws of `tuning.laws` where only particles differ.
4. The least variance × seconds is taken, variances one standard error up; of those within 3 % of it the program's own
   choice, else the first in the decision table. Of exact ones the fastest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ppl.arguments import checked, flag, noise_seed, number, one_of, optional, shown, within
from ppl.choosing.candidates import node_candidates, particle_counts, share_a_cost
from ppl.choosing.contender import (
    Contender,
    ProgramsByChoice,
    joint_choice,
    measured_candidate,
    pool_variances,
    same_gradients,
)
from ppl.choosing.racing import TIE_MARGIN, Clock, FinalRounds, pick_winner, race_contenders
from ppl.compiler.plan.decision_table import matching_nodes
from ppl.compiler.plan.plan import Configuration, MeasuredCandidate, TuningReport
from ppl.errors import EstimatorError, OptionError, ParameterError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.inference.unbiased import ReferenceGradient, find_reference_gradient
from ppl.names import keywords
from ppl.runtime.call import Call
from ppl.runtime.prepared import require_program
from ppl.runtime.state import State, require_state

Candidates = Iterable[Estimator] | Mapping[str, Iterable[Estimator]] | None


@keywords
@checked(
    "tune",
    budget_seconds=optional(within(number, low=0, open_low=True)),
    seed=optional(noise_seed),
    allow_bias=optional(flag),
    clock=one_of("compiled", "interpreter"),
)
def tune(
    program: Any,
    state: State,
    *data: Any,
    budget_seconds: float | None = None,
    candidates: Candidates = None,
    seed: int | None = None,
    particles: int | Sequence[int] | None = None,
    total_rows: Any = None,
    rows: Any = None,
    hyper: Any = None,
    allow_bias: bool | None = None,
    clock: str = "compiled",
) -> Any:
    """Return a new program with the estimators and the number of particles of the least measured variance × seconds.

    Parameters
    ----------
    program : what to start from; its choices stand for the nodes that are not being measured.
    state : where to measure: variances depend on the parameters.
    budget_seconds : time for measuring; None means 5 seconds or the time of 50 steps, whichever is more. Compiling
        comes on top; `explain()` reports both. Every candidate is measured a little, even when time is up.
    candidates : estimators to consider: for all nodes, or as {node-name glob: estimators}, which are tried beside the
        nodes' own (of nodes that no glob matches, only that). None means one of each kind in the decision table and
        the registry. Those a node does not support are left out, with reasons.
    particles : a number of particles, or numbers to try; None means 1, 2, 4, 8, 16 and the program's own.
    seed, total_rows, rows, hyper : as for `program.step`. At equal times, equal seeds give equal choices.
    allow_bias : whether biased estimators compete, by their mean squared error × seconds, whose bias is measured
        against the reference of `program.check_unbiased`. None means as in `ppl.compile`.
    clock : "compiled": the last few choices are compiled and timed. "interpreter": nothing is compiled; ratios of
        times follow the number of operations.

    Returns
    -------
    Program
        With the measured tables in `explain()`; `ppl.compile(objective, **explain().as_options())` makes it again.
        Nodes pinned in the model (`sample(estimator=)`) keep their estimator.

    Raises
    ------
    EstimatorError
        A node has only biased candidates, and `allow_bias` is false; or a glob of `candidates` matches no node.
    """
    require_program("ppl.tune", program)
    if program.processes > 1:
        raise OptionError("ppl.tune is for one process: tune the program, and call on(comm) of what it returns")
    require_state(state, "tune: state")
    _require_candidates(candidates)
    if isinstance(candidates, Mapping):
        candidates = _candidates_by_node(program.prepare(*data).graph, candidates)
    call = Call(state, data, None if seed is None else int(seed), None, rows, total_rows, hyper)
    return TuningRun(
        program,
        call,
        lambda name, own: _candidates_of_node(candidates, name, own),
        particles,
        allow_bias,
        budget_seconds,
        clock == "compiled",
    ).run()


def _require_candidates(candidates: Any) -> None:
    """Raise unless there are none, or they are estimators, or lists of them by node."""
    if candidates is None:
        return
    lists = candidates.values() if isinstance(candidates, Mapping) else [candidates]
    for listed in lists:
        if not listed and isinstance(listed, (tuple, list)):
            raise OptionError("tune: candidates: a list of estimators is empty")
        if not isinstance(listed, (tuple, list)) or not all(isinstance(e, Estimator) for e in listed):
            raise OptionError(
                "tune: candidates must be a list of estimators, or a dict of node names to such lists, not "
                f"{shown(candidates)}"
            )


def _candidates_by_node(graph: StochasticGraph, asked: Mapping[str, Iterable[Estimator]]) -> dict[str, list[Estimator]]:
    found: dict[str, list[Estimator]] = {}
    for pattern, listed in asked.items():
        for name in matching_nodes(graph, pattern, "tune: candidates"):
            found.setdefault(name, list(listed))
    return found


def _candidates_of_node(asked: Candidates, name: str, own: Estimator) -> list[Estimator]:
    if isinstance(asked, Mapping):
        return list(dict.fromkeys([own, *asked.get(name, ())]))
    if asked is not None:
        return list(dict.fromkeys(asked))
    return node_candidates(own)


MAX_COPIES = 64
"""Evaluations of the downstream computation that a candidate may take, to be measured at all."""

BUDGET_SECONDS, BUDGET_STEPS = 5.0, 50
"""A budget in seconds and in steps of the program; the larger is taken."""

BEST_CANDIDATES, FINALIST_CHOICES, FAIR_PARTICLES = 3, 2, 4
"""Candidates of a node that are tried together with others'; choices that are tried with all numbers of particles where
nothing is compiled, beside the program's own; and particles from which on baselines from the others are near their
best."""

PRICE_DOUBT = 1.5
"""Factor by which the ratio of two prices may be wrong."""

NODES_SHARE, PAIRS_SHARE, PARTICLES_SHARE = 0.3, 0.45, 0.6
"""Shares of the budget that are spent after nodes, pairs of nodes and numbers of particles."""

OUT_OF_TIME = "the budget was spent before it was tried"

REFERENCE_REPEATS = 2000
"""Repeats of a reference that biased candidates are held against, where none is exact."""


class TuningRun:
    """One call of `tune`."""

    def __init__(
        self,
        program: Any,
        call: Call,
        candidates: Callable[[str, Estimator], list[Estimator]],
        particles: Any,
        bias: bool | None,
        budget: Any,
        compiles: bool,
    ):
        compiled = program.prepare(*call.data)
        self.program, self.call, self.compiles = program, call, compiles
        self.plan, self.graph, self.trace = compiled.plan, compiled.graph, compiled.trace
        self.bias = program.settings.allow_bias if bias is None else bias
        own = int(compiled.settings.particles)
        self.counts = particle_counts(particles, own, self.trace)
        self.own = Configuration(tuple(self.plan.as_dict().items()), own)
        self.nodes = [n for n, _ in self.own.estimators if self.graph[n].site.estimator is None]
        self.nodes.sort(key=lambda n: not self.own[n].biased)  # first, so that others are not measured beside them
        self.lists = {n: candidates(n, self.own[n]) for n in self.nodes}
        self.programs, self.known = ProgramsByChoice(program, call.data), dict[Configuration, Contender]()
        self.failed: dict[Configuration, ParameterError] = {}
        self.measured: dict[str, tuple[MeasuredCandidate, ...]] = {}
        self.untried: list[tuple[str, str]] = []
        self._reference: ReferenceGradient | str | None = None
        self.clock = Clock()
        self.budget = BUDGET_SECONDS if budget is None else float(budget)
        if budget is None and self.own.estimators:
            self._widen()

    def _widen(self) -> None:
        """Make the budget that of some steps, if they take longer."""
        own = Contender(self.own, self.program, self.call)
        if self.compiles:
            self.clock.compile([own], 0.1)
        else:
            self.clock.interpret(own, 0.0)
        self.budget = max(self.budget, BUDGET_STEPS * own.seconds)

    def run(self) -> Any:
        """Return the tuned program."""
        if not self.own.estimators:
            return self.program
        base = self._base()
        best = self._nodes(replace(self.own, particles=base))
        if len(self.nodes) > 1:
            best = self._pairs(best)
        finalists = self._finals(base) if self.compiles else self._particles(best)
        finalists.sort(key=self._rank)
        chosen = pick_winner(finalists)
        whole = tuple(joint_choice(c, c is chosen) for c in finalists)
        tuning = TuningReport(whole, self.clock.spent(), self.clock.compiling, tuple(self.untried))
        return self.programs.of(
            chosen.config, measured=self.measured, tuning=tuning, allow_bias=self.program.settings.allow_bias
        )

    def _finals(self, base: int) -> list[Contender]:
        """Return the last choices, compiled; that of `particles="auto"` and the program's own are among them."""
        if (weighed := self._automatic_estimators(base)) is not None and weighed not in self.known:
            found = self._admitted(weighed)
            self._race([found] if isinstance(found, Contender) else [], PARTICLES_SHARE)
        finals = FinalRounds(self.clock, self.budget, self._admitted, self._useful, self._settle, self.programs)
        self._race(finals.doubtful(self._different()), PARTICLES_SHARE)
        return finals.run(self._different(), self.own if self._keeps else None)

    def _different(self) -> list[Contender]:
        """List what was measured; of choices with the same gradients the table's first, unless its price is higher."""
        found: list[Contender] = []
        for c in sorted((c for c in self.known.values() if c.begun), key=self._rank):
            if not any(other.seconds <= (1 + TIE_MARGIN) * c.seconds and same_gradients(c, other) for other in found):
                found.append(c)
        return found

    def kinds(self, count: int) -> list[Contender]:
        """Return the best choice of each of `count` combinations of kinds of estimators, with its best number of
        particles.

        An unbiased one is among them, if there is one. Nothing is compiled, and pairs of nodes are not tried. The
        budget is for gradients alone.
        """
        self._nodes(replace(self.own, particles=self._base()))
        if not self.known and isinstance(pinned := self._admitted(self.own), Contender):
            self._race([pinned], PAIRS_SHARE)
        heads: dict[tuple[type[Estimator], ...], Contender] = {}
        for c in sorted(self.known.values(), key=lambda c: (c.cost, c.seconds)):
            kinds = tuple(type(e) for _, e in c.config.estimators)
            if kinds not in heads and not any(same_gradients(c, h) for h in heads.values()):
                heads[kinds] = c
        best = [self._best_particles(c) for c in list(heads.values())[: 2 * count]]
        best.sort(key=lambda c: (c.cost, c.seconds))
        taken = best[:count]
        if all(c.config.biased for c in taken):
            taken += [c for c in (*best, *heads.values()) if not c.config.biased][:1]
        return taken

    def _best_particles(self, contender: Contender) -> Contender:
        """Return the choice with the least number of particles that is about as good as the best."""
        configs = (replace(contender.config, particles=p) for p in self._useful(contender.config))
        able = [c for c in map(self._admitted, configs) if isinstance(c, Contender)]
        able = self._race(able, PARTICLES_SHARE)
        most = (1 + TIE_MARGIN) * min(c.cost for c in able)
        return min((c for c in able if c.cost <= most), key=lambda c: c.config.particles, default=contender)

    def _base(self) -> int:
        """Return the particles with which nodes are measured: the first number that all candidates admit."""
        listed = [e for es in self.lists.values() for e in es]
        order = [self.own.particles] if self.own.particles in self.counts else []
        order += [p for p in self.counts if p not in order]
        refused = {p: sum(e.validate(p) is not None for e in listed) for p in (1, *order)}
        return min(order, key=lambda p: (refused[p], refused[1] > 0 and p < FAIR_PARTICLES, order.index(p)))

    def _admitted(self, config: Configuration) -> Contender | str:
        """Return a contender, or why there is none."""
        if config in self.known:
            return self.known[config]
        if config in self.failed:
            return str(self.failed[config])
        with self.clock.pause():
            return self._tried(config)

    def _tried(self, config: Configuration) -> Contender | str:
        """Return a new contender, or why there is none."""
        if config.biased and not self.bias and any(config[n].biased for n in self.nodes):
            return "biased"
        trial = self.programs.measuring(config)
        if isinstance(trial, str):
            return trial.partition("): ")[2] or trial
        copies = trial.prepare(*self.call.data).plan.copies
        if copies > MAX_COPIES:
            return f"{copies} copies exceed {MAX_COPIES}, too many to try"
        found = Contender(config, trial, self.call)
        if config.biased and self.bias and isinstance(self._against(found), str):
            return f"its bias cannot be measured: {self._reference}"
        self.known[config] = found
        return found

    def _against(self, contender: Contender) -> ReferenceGradient | str:
        """Return what biased contenders are compared with."""
        if self._reference is None:
            try:
                self._reference = find_reference_gradient(
                    contender.program, contender.pilot(), REFERENCE_REPEATS, "auto"
                )
            except EstimatorError as error:
                self._reference = str(error)
        return self._reference

    def _race(self, contenders: Sequence[Contender], share: float, least: int = 1) -> list[Contender]:
        """Race until a share of the budget is spent; all but `least` are left out that come too late."""
        until = self.budget * share
        seconds = max(0.0, until - self.clock.spent()) / (3 * max(len(contenders), 1))
        able: list[Contender] = []
        for c in contenders:
            coming = sum(2 * each.pace for each in able if not each.begun)
            if len(able) >= least and not c.begun and self.clock.spent() + coming > until:
                self.known.pop(c.config, None)
                continue
            with self.clock.pause():
                failed = c.failed()
            if failed is not None:
                self.known.pop(c.config, None)
                self.failed[c.config] = failed
                continue
            able.append(c)
            if not c.clock:
                self.clock.interpret(c, seconds, times=not self.compiles)
                if self.compiles:
                    self.clock.price(c)
        if contenders and not able:
            raise self.failed[contenders[0].config]
        return race_contenders(
            able, self.clock, until, BEST_CANDIDATES, PRICE_DOUBT if self.compiles else 1.0, self._settle
        )

    def _settle(self, contenders: Sequence[Contender]) -> None:
        """Compute what follows from the gradients of all: biases, and variances by the laws of particles."""
        for c in contenders:
            if c.config.biased and isinstance(self._reference, ReferenceGradient):
                c.compare_with(self._reference.grads, self._reference.errors)
        pool_variances(contenders)

    def _nodes(self, current: Configuration) -> Configuration:
        """Return every node's candidates, the others at their current choice."""
        for i, name in enumerate(self.nodes, 1):
            rows = {e: self._admitted_at(current, name, e) for e in self.lists[name]}
            able = [c for c in rows.values() if isinstance(c, Contender)]
            if not able:
                reasons = "".join(f"\n  {e.label}: {why}" for e, why in rows.items())
                raise EstimatorError(f"tune: no candidate for node '{name}' is admissible:{reasons}")
            able = self._race(able, NODES_SHARE * i / len(self.nodes), BEST_CANDIDATES)
            found = {e: self._left_out(c) if isinstance(c, Contender) and c not in able else c for e, c in rows.items()}
            self.measured[name] = tuple(measured_candidate(e, c) for e, c in found.items())
            current = pick_winner(sorted(able, key=self._rank)).config
        return current

    def _left_out(self, contender: Contender) -> str:
        """Say why a contender was not raced."""
        failed = self.failed.get(contender.config)
        return OUT_OF_TIME if failed is None else str(failed).splitlines()[0]

    def _admitted_at(self, current: Configuration, name: str, e: Estimator) -> Contender | str:
        """Return the contender with an estimator in place, with the current or the fewest particles that it takes."""
        counts = [p for p in (current.particles, *self.counts) if e.validate(p) is None] or [current.particles]
        return self._admitted(replace(current.having(**{name: e}), particles=counts[0]))

    def _pairs(self, current: Configuration) -> Configuration:
        """Pairs of nodes that share a cost, among each one's best."""
        pairs = [p for p in itertools.combinations(self.nodes, 2) if share_a_cost(self.graph, *p)]
        for i, (a, b) in enumerate(pairs):
            if self.clock.spent() > PAIRS_SHARE * self.budget:
                self.untried.append((a, b))
                continue
            both = itertools.product(self._best(a), self._best(b))
            tried = (self._admitted(current.having(**{a: x, b: y})) for x, y in both)
            able = [c for c in tried if isinstance(c, Contender)]
            if able:
                able = self._race(able, NODES_SHARE + (PAIRS_SHARE - NODES_SHARE) * (i + 1) / len(pairs))
                current = pick_winner(sorted(able, key=self._rank)).config
        return current

    def _best(self, name: str) -> list[Estimator]:
        rows = sorted((m for m in self.measured[name] if not m.rejected), key=lambda m: (m.cost, m.seconds))
        return [m.estimator for m in rows[:BEST_CANDIDATES]]

    def _particles(self, best: Configuration) -> list[Contender]:
        """Return the best choices with all numbers of particles: those to be compiled, the program's own among them."""
        known = sorted(self.known.values(), key=lambda c: (c.config != best, c.cost, c.seconds))
        choices = [c.config for c in known[:BEST_CANDIDATES]]
        choices += [self.own] if self._keeps else []
        configs = dict.fromkeys(replace(c, particles=p) for c in choices for p in self._useful(c))
        able = [c for c in map(self._admitted, configs) if isinstance(c, Contender)]
        ranked = self._race(able, PARTICLES_SHARE)
        kept = list(dict.fromkeys(c.config.estimators for c in ranked))[:FINALIST_CHOICES]
        kept += [c.estimators for c in choices[BEST_CANDIDATES:]]
        return [c for c in ranked if c.config.estimators in kept]

    @property
    def _keeps(self) -> bool:
        """Whether the program's own choice is among the candidates."""
        return all(self.own[n] in self.lists[n] for n in self.nodes) and self.own.particles in self.counts

    def _automatic_estimators(self, base: int) -> Configuration | None:
        """Return what `particles="auto"` would take, if it is among the candidates."""
        with self.clock.pause():
            found = self.program._automatic_estimators(self.call.state, *self.call.data)
        if found is None or any(found[n] not in self.lists[n] for n in self.nodes):
            return None
        return replace(self.own.having(**{n: found[n] for n in self.nodes}), particles=base)

    def _useful(self, config: Configuration) -> Sequence[int]:
        """Return the numbers of particles to try with a choice: where there is no variance, only the least."""
        able = [p for p in self.counts if all(e.validate(p) is None for _, e in config.estimators)]
        return able[:1] if config.exact else able

    def _rank(self, contender: Contender) -> tuple[Any, ...]:
        """Return the order of choices that are equally good: the program's own, else as the decision table has them."""
        config = contender.config
        table = sum(self.lists[n].index(config[n]) for n in self.nodes if config[n] in self.lists[n])
        own = tuple(config[n] for n in self.nodes) == tuple(self.own[n] for n in self.nodes)
        return config != self.own, not own, table, config.particles != self.own.particles, config.particles
