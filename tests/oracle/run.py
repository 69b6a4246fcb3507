"""One graph, all of it: its text, the oracle's answer, and a verdict for each of the plans that are asked for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ppl.errors import EstimatorError
from tests.oracle.check import POWER, Verdict, admissible, check, plans
from tests.oracle.compiled import check_compiled
from tests.oracle.exact import Answer, Cannot, solve
from tests.oracle.graphs.source import Program, program


@dataclass(eq=False)
class Record:
    """What came of one graph.

    `pairs` counts the admitted (node, estimator) pairs by estimator, `outcomes` the verdicts by (estimator, outcome);
    `state` is "checked", "refused" (by `ppl`, as a whole) or why the oracle has no answer.
    """

    name: str
    text: str
    state: str = "checked"
    pairs: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def report(self) -> str:
        """The wrong plans, each as a program that reproduces it."""
        return "\n".join(self.wrong)


def inexact(answer: Answer) -> bool:
    """Whether the oracle's own error would hide a bias."""
    scale = max(answer.norm, 1e-3 * abs(answer.loss), 1e-6)
    worst = max((float(np.max(e, initial=0.0)) for e in answer.errors.values()), default=0.0)
    return not (worst <= 0.5 * POWER * scale and np.isfinite(answer.loss))


def answer_for(made: Program) -> Answer | str:
    """The oracle's answer, or in a word why there is none."""
    try:
        found = solve(made.objective, made.params, made.data, made.total_rows)
    except Cannot as error:
        return type(error).__name__
    return "Inexact" if inexact(found) else found


def random_plan(found: Mapping[str, Sequence[str]], seed: int) -> dict[str, str]:
    """A choice for every node, drawn at random from those that admit it."""
    rng = random.Random(seed)
    return {node: rng.choice(list(names)) for node, names in found.items() if names}


def label(plan: Mapping[str, str]) -> str:
    """What a plan is counted under: its estimator, "auto", or "several"."""
    names = set(plan.values())
    return "auto" if not names else next(iter(names)) if len(names) == 1 else "several"


def run(name: str, text: str, every: bool = False, seed: int = 0, most: int = 12_000, compiled: int = 0) -> Record:
    """Hold one graph against the oracle: the automatic plan and one drawn at random, or `every` plan.

    `most` samples are taken for a plan, over rows; `compiled` plans are compiled too.
    """
    record = Record(name, text)
    made = program(name, text)
    try:
        found = admissible(made)
    except EstimatorError:
        record.state = "refused"
        return record
    for names in found.values():
        record.pairs.update(names)
    answer = answer_for(made)
    if isinstance(answer, str):
        record.state = answer
        return record
    drawn = random_plan(found, seed)
    listed = list(plans(found)) if every else [{}, *([drawn] if drawn else [])]
    for plan in listed:
        _note(record, made, plan, check(made, plan, answer, most))
    for plan in [{}, drawn][:compiled]:
        _note(record, made, plan, check_compiled(made, plan, answer), "compiled ")
    return record


def _note(record: Record, made: Program, plan: Mapping[str, str], verdict: Verdict, how: str = "") -> None:
    record.outcomes[how + label(plan), verdict.outcome] += 1
    if verdict.outcome == "wrong":
        record.wrong.append(f"# {record.name}: {how}{verdict.message}\n{made.reproduce(verdict.plan)}")
