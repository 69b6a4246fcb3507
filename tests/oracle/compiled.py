"""Compiled programs: against the interpreter noise for noise, and over many particles and seeds against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl.compiler.surrogate.variants import build_gradient
from ppl.errors import EstimatorError, ParameterError
from tests.helpers.replay import Case, interpreted
from tests.oracle.check import ROUNDING, WIDTH, Plan, Verdict, graph_of, message, text_of
from tests.oracle.estimators import CHOICES
from tests.oracle.exact import Answer
from tests.oracle.graphs.source import Program

REPLAY = 1e-8
SEEDS = 24
FEW = 1.6  # a standard error of 24 values is itself uncertain


def check_compiled(program: Program, plan: Plan, answer: Answer, samples: int = 20_000) -> Verdict:
    """One plan compiled in float64: steps equal the interpreter's, and the mean over seeds the oracle's gradient.

    A plan may also be refused when it runs: at parameters where its estimator would miss something.
    """
    try:
        return _checked(program, plan, answer, samples)
    except (EstimatorError, ParameterError) as error:
        return Verdict("refused", text_of(plan), str(error).splitlines()[0])


def _checked(program: Program, plan: Plan, answer: Answer, samples: int) -> Verdict:
    text = text_of(plan)
    particles = max((CHOICES[name].particles for name in plan.values()), default=1)
    given: Any = {node: CHOICES[name].estimator for node, name in plan.items()} or "auto"
    graph = graph_of(program, particles)
    made = graph.compile(given)
    state = made.init(0, *program.data).replace(params=program.params)
    case = Case("", given, {}, particles)
    for seed, step in ((1, 0), (2, 5)):
        state = state.replace(seed=seed, step=step)
        loss, grads = made.value_and_grad(state, *program.data, total_rows=program.total_rows)
        wanted = interpreted(made, graph, case, build_gradient, "float64", seed, step)
        wanted = {k.removeprefix("grad "): v for k, v in wanted.items() if k == "loss" or k.startswith("grad ")}
        scale = max(1.0, *(float(np.abs(v).max(initial=0)) for v in wanted.values()))
        for name, exact in wanted.items():
            g = loss if name == "loss" else grads[name]
            if not np.allclose(g, exact, rtol=REPLAY, atol=REPLAY * scale, equal_nan=True):
                return Verdict("wrong", text, f"{name} at seed {seed}: compiled {g}, interpreted {exact}")
    return _against_oracle(made, program, text, answer, particles, samples)


def _against_oracle(made: Any, program: Program, text: str, answer: Answer, particles: int, samples: int) -> Verdict:
    rows = max([len(d) for d in program.data if np.ndim(d)], default=1)
    each = max(particles, samples // rows // SEEDS)
    found: dict[str, list[Any]] = {}
    state = made.init(0, *program.data).replace(params=program.params)
    for seed in range(SEEDS):
        loss, grads = made.value_and_grad(
            state, *program.data, seed=seed + 10, particles=each, total_rows=program.total_rows
        )
        for name, g in {"": loss, **grads}.items():
            found.setdefault(name, []).append(np.asarray(g))
    scale = max(answer.norm, 1e-3 * abs(answer.loss), 1e-6)
    for name, listed in found.items():
        g = np.stack(listed)
        mean, se = g.mean(0), g.std(0) / np.sqrt(SEEDS - 1)
        exact, error = (answer.grads[name], answer.errors[name]) if name else (answer.loss, answer.loss_error)
        off = ~(
            np.abs(mean - exact) <= 1.6 * WIDTH * se + error + 10 * ROUNDING * (scale + abs(answer.loss) * (not name))
        )
        if np.any(off):
            at = tuple(np.argwhere(off)[0].tolist())
            what = f"compiled d/d{name}{list(at) or ''}" if name else "compiled loss"
            return Verdict("wrong", text, message(what, mean[at], se[at], np.asarray(exact)[at], np.asarray(error)[at]))
    return Verdict("agrees", text)
