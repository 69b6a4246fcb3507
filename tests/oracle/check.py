"""Holding `ppl`'s estimates against the oracle: per-sample gradients in the interpreter, in float64.

A mean within 5 standard errors of the oracle's gradient (plus the oracle's own error) agrees. One outside is drawn
again, on other noise and at least `CERTAIN` times, before it counts as wrong, because tails may be heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl.errors import EstimatorError, PplError
from ppl.estimators.base import check_support
from ppl.estimators.marginalize import Marginalize
from ppl.estimators.not_needed import NotNeeded
from ppl.lang.loops import base_name
from ppl.runtime.nonfinite import find_violation
from tests.helpers.laws import Graph, Sampler, make_env, named
from tests.oracle.estimators import CHOICES
from tests.oracle.exact import Answer
from tests.oracle.graphs.source import Program

WIDTH, POWER, ROUNDING = 5.0, 0.02, 1e-6

CERTAIN = 40_000
"""Samples after which a mean outside its bounds counts as wrong."""

UNROLLED = 10_000
"""Copies that estimators may take which unroll a loop."""

Plan = Mapping[str, str]

Draw = Callable[[int, int], tuple[np.ndarray, dict[str, np.ndarray]]]
"""So many losses and gradients, one a sample, on the noise of a seed."""


@dataclass(frozen=True)
class Verdict:
    """What came of one plan: "agrees", "wrong", "refused" or "weak" (too noisy to tell), and why."""

    outcome: str
    plan: str
    message: str = ""


def graph_of(program: Program, particles: int = 1) -> Graph:
    """The program as a law graph."""
    copies = UNROLLED if "ppl.scan" in program.text else None
    return Graph(program.objective, program.params, program.data, program.total_rows, particles, max_copies=copies)


def admissible(program: Program) -> dict[str, list[str]]:
    """Node -> names of the choices that admit it, for all nodes that need an estimator."""
    compiled = graph_of(program).compile().prepare()
    return {
        name: [k for k, c in CHOICES.items() if check_support(c.estimator, compiled.graph[name]).ok]
        for name, estimator in compiled.plan.estimators.items()
        if not isinstance(estimator, (NotNeeded, Marginalize)) and compiled.trace.sites[name].estimator is None
    }


def plans(found: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    """The automatic plan, every choice on every node, and every choice on all nodes that admit it."""
    yield {}
    for node, names in found.items():
        yield from ({node: name} for name in names)
    for name in CHOICES:
        nodes = [n for n, names in found.items() if name in names]
        if len(nodes) > 1:
            yield dict.fromkeys(nodes, name)


def text_of(plan: Plan) -> str:
    """The plan as source text."""
    inner = ", ".join(f"{node!r}: {CHOICES[name].text}" for node, name in plan.items())
    return f"{{{inner}}}" if plan else "'auto'"


def _sampler(program: Program, plan: Plan) -> Sampler:
    particles = max((CHOICES[name].particles for name in plan.values()), default=1)
    given: Any = {node: CHOICES[name].estimator for node, name in plan.items()} or "auto"
    sampler = Sampler(graph_of(program, particles), given, particles=particles)
    wanted = {f"{node}/{k}": v for node, name in plan.items() for k, v in CHOICES[name].aux.items()}
    sampler.aux = {k: v for name, v in wanted.items() for k in sampler.variant.aux_slots if named(base_name(k), name)}
    return sampler


def check(program: Program, plan: Plan, answer: Answer, most: int = 40_000, seed: int = 1) -> Verdict:
    """One plan against the oracle's answer, with at most `most` samples (rows count: many rows, fewer samples)."""
    text = text_of(plan)
    try:
        sampler = _sampler(program, plan)
    except EstimatorError as error:
        return Verdict("refused", text, str(error).splitlines()[0])
    except PplError as error:
        return Verdict("wrong", text, f"{type(error).__name__}: {error}")
    refused = _refused(sampler, seed)
    if refused:
        return Verdict("refused", text, refused)
    rows = max([len(d) for d in program.data if np.ndim(d)], default=1)
    limit = max(400, most // rows)
    if plan and not np.all(np.isfinite(sampler(20, seed)[0])):
        return Verdict("refused", text, "the loss is not finite, for which programs raise an error when they run")
    outcome, message, needed = _compare(sampler, answer, max(200, min(1500, limit)), seed)
    if outcome == "weak" and needed > 0:
        outcome, message, _ = _compare(sampler, answer, min(needed, limit), seed + 1)
    if outcome == "wrong":
        outcome, message, _ = _compare(_in_parts(sampler, 4 * limit), answer, max(4 * limit, CERTAIN), seed + 2)
    return Verdict(outcome, text, message)


def _in_parts(sampler: Sampler, most: int) -> Draw:
    """`sampler`, which draws at most so many samples at once."""

    def draw(repeats: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        parts = [sampler(most, seed + i) for i in range(-(-repeats // most))]
        grads = {name: np.concatenate([g[name] for _, g in parts])[:repeats] for name in parts[0][1]}
        return np.concatenate([losses for losses, _ in parts])[:repeats], grads

    return draw


def _refused(sampler: Sampler, seed: int) -> str:
    """What the program says in its first call where a parameter is out of the range that the plan can treat."""
    if np.isfinite(sampler(1, seed)[0]).all():
        return ""
    compiled, graph = sampler.compiled, sampler.graph
    env = make_env(compiled, graph, compiled.variant("gradient"), sampler.aux, seed=seed)
    found = find_violation(compiled, "gradient", env, compiled.binder.bind(graph.data, None, graph.total_rows))
    return "" if found is None else found.text


def _compare(sampler: Draw, answer: Answer, repeats: int, seed: int) -> tuple[str, str, int]:
    """Outcome, message, and how many samples would have told."""
    losses, grads = sampler(repeats, seed)
    scale = max(answer.norm, 1e-3 * abs(answer.loss), 1e-6)
    worst = 0.0
    for name, g in grads.items():
        mean, se = g.mean(0), g.std(0) / np.sqrt(repeats)
        exact, error = answer.grads[name], answer.errors[name]
        off = ~(np.abs(mean - exact) <= WIDTH * se + error + ROUNDING * scale)
        if np.any(off):
            at = tuple(np.argwhere(off)[0].tolist())
            return "wrong", message(f"d/d{name}{list(at) or ''}", mean[at], se[at], exact[at], error[at]), 0
        worst = max(worst, float(se.max(initial=0)))
    mean, se = losses.mean(), losses.std() / np.sqrt(repeats)
    if not abs(mean - answer.loss) <= WIDTH * se + answer.loss_error + ROUNDING * (1 + abs(answer.loss)):
        return "wrong", message("loss", mean, se, answer.loss, answer.loss_error), 0
    if worst > POWER * scale:
        return (
            "weak",
            f"standard error {worst:.2g} of a gradient of {scale:.2g}",
            int(1.3 * repeats * (worst / (POWER * scale)) ** 2),
        )
    return "agrees", "", 0


def message(what: str, mean: float, se: float, exact: float, error: float) -> str:
    return f"{what}: ppl {mean:.6g} ± {se:.2g}, oracle {exact:.6g} ± {error:.1g}"
