"""How time grows with rows, environments, units and particles, from 10² to 10⁶, and what a second thread brings."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np

import ppl
from benchmarks import suite
from benchmarks.policy_gradient import Descent
from benchmarks.timing import Timing, check, duration, interleave
from benchmarks.workloads import gamma_units, pathwise_units, policy_step, sbn_step
from ppl import Bernoulli, Gamma, Normal
from ppl.models import pictures
from ppl.models.toy import toy

SIZES = tuple(10**k for k in range(2, 7))
LINEAR = 10**4
"""Size from which the time of a call itself does not count."""
SLOPE, SPEEDUP, TIMES = 1.05, 1.7, 10
THREADED = {"W2": pathwise_units, "W3": sbn_step, "W7": policy_step, "W8": gamma_units}
Call = Callable[[], object]


def pathwise(size: int) -> Call:
    """Gradient of W2 with that many units."""

    @ppl.model
    def units() -> None:
        z = ppl.sample("z", Normal(ppl.param("mu", 0.0, shape=(size,)), 1.0))
        ppl.cost("cost", np.sum(ppl.softplus(z) * np.cos(z)))

    return gradient(ppl.compile(units, estimators=ppl.estimators.Pathwise()))


def gamma(size: int) -> Call:
    """Gradient of W8 with that many units."""

    @ppl.model
    def units() -> None:
        g = ppl.sample("g", Gamma(np.exp(ppl.param("log_alpha", 0.5, shape=(size,))), 1.0))
        ppl.cost("cost", np.sum(np.log1p(g)))

    return gradient(ppl.compile(units, estimators=ppl.estimators.Implicit()))


@functools.cache
def belief_net() -> Any:
    """A sigmoid belief network 16-8 by leave-one-out over two particles."""

    @ppl.model
    def generative(x: Any) -> None:
        with ppl.plate("data", x) as x:
            h = ppl.sample("h", Bernoulli(logits=ppl.param("prior", 0.0, shape=(8,))))
            ppl.sample("x", Bernoulli(logits=ppl.dense("v", h, 16)), obs=x)

    @ppl.model
    def guide(x: Any) -> None:
        with ppl.plate("data", x) as x:
            ppl.sample("h", Bernoulli(logits=ppl.dense("w", x, 8)))

    leave_one_out = ppl.estimators.ScoreFunction("leave_one_out")
    return ppl.compile(ppl.elbo(generative, guide, kl="sampled"), estimators=leave_one_out, particles=2,
                       data=ppl.spec((None, 16), np.float32))  # fmt: skip


def rows(size: int) -> Call:
    """Gradient of the belief network with that many rows."""
    x = (np.random.default_rng(0).random((size, 16)) < 0.5).astype(np.float32)
    return gradient(belief_net(), x)


@functools.cache
def _descent() -> Descent:
    return Descent(1, TIMES, 0.0)


def environments(size: int) -> Call:
    """A step of W7 at ten times with that many environments."""
    made = _descent().executable

    return lambda: made.run(_descent().params, rows={"environments": size})


@functools.cache
def _toy() -> Any:
    return ppl.compile(toy, estimators=ppl.estimators.ScoreFunction("leave_one_out"), particles=2)


def particles(size: int) -> Call:
    """Gradient of W1b with that many particles."""
    program = _toy()
    state = program.init(0)
    return lambda: program.value_and_grad(state, particles=size)


def gradient(program: Any, *data: np.ndarray) -> Call:
    """A call of the gradient at the start."""
    state = program.init(0, *data)
    return lambda: program.value_and_grad(state, *data)


CURVES: Mapping[str, Callable[[int], Call]] = {
    "rows (belief net 16-8)": rows,
    "environments (W7, 10 times)": environments,
    "units (W2)": pathwise,
    "units (W8)": gamma,
    "particles (W1b)": particles,
}
"""What is enlarged: a call by size."""


def slope(seconds: Mapping[int, float], least: int) -> float:
    """Slope of the logarithm of the time over that of the size, by least squares from the size `least` on."""
    points = [(math.log(n), math.log(t)) for n, t in seconds.items() if n >= least]
    return float(np.polyfit(*zip(*points, strict=True), 1)[0])


def threads(label: str) -> dict[str, Timing]:
    """A step of a workload on one thread and on two, in turns."""
    form = next(iter(THREADED[label].forms().values()))

    def on(count: int) -> Call:
        def call() -> object:
            numba.set_num_threads(count)
            return form.call()

        return call

    found = interleave({f"{label}, {n}": on(n) for n in (1, 2)}, samples=12, sample_seconds=0.05)
    return {k: Timing(*(s / form.steps for s in t[:4]), *t[4:]) for k, t in found.items()}


def run(peers: list[str]) -> dict[str, Any]:
    """Time all sizes and both numbers of threads."""
    with suite.two_threads():
        curves = {}
        for label, make in CURVES.items():
            timed = interleave({str(n): make(n) for n in SIZES}, samples=9, sample_seconds=0.02)
            curves[label] = {n: timed[str(n)].median for n in SIZES}
        found = {label: threads(label) for label in THREADED}
    ratios = {label: f[f"{label}, 1"].median / f[f"{label}, 2"].median for label, f in found.items()}
    slopes = {label: slope(c, LINEAR) for label, c in curves.items()}
    return {
        "title": "Scaling: time against rows, units and particles, and two threads against one",
        "checks": [
            *(check(f"slope, {label}", s, SLOPE, "") for label, s in slopes.items()),
            *(check(f"{label}: one thread / two", r, SPEEDUP, "×", at_most=False) for label, r in ratios.items()),
        ],
        "tables": [_curve_table(curves, slopes), _thread_table(found, ratios)],
        "notes": [
            f"float32, two threads. Slopes of log time over log size by least squares from {LINEAR:,} on; below that, "
            "part of the time is that of the call itself, whatever its size.",
        ],
        "figure": _draw(curves),
        "details": {"curves": curves, "slopes": slopes, "ratios": ratios},
    }


def _curve_table(curves: Mapping[str, Mapping[int, float]], slopes: Mapping[str, float]) -> Any:
    head = ["", *(f"{n:,}" for n in SIZES), "slope", "per entry at the end"]
    cells = [[label, *(duration(t) for t in c.values()), f"{slopes[label]:.2f}", duration(c[SIZES[-1]] / SIZES[-1])]
             for label, c in curves.items()]  # fmt: skip
    return {"columns": head, "rows": cells}


def _thread_table(found: Mapping[str, Mapping[str, Timing]], ratios: Mapping[str, float]) -> Any:
    cells = [[label, *(duration(t.median) for t in f.values()), f"{ratios[label]:.2f}"] for label, f in found.items()]
    return {"columns": ["a step", "one thread", "two threads", "ratio"], "rows": cells}


def _draw(curves: Mapping[str, Mapping[int, float]]) -> Any:
    figure, ax = pictures.pyplot().subplots(figsize=(7, 5), layout="constrained")
    for label, c in curves.items():
        ax.loglog(list(c), [t * 1e3 for t in c.values()], "o-", label=label)
    top = max(c[SIZES[-1]] for c in curves.values())
    ax.loglog(SIZES, [1e3 * top * n / SIZES[-1] for n in SIZES], color="0.8", zorder=0, label="slope 1")
    ax.set(xlabel="rows, environments, units or particles", ylabel="milliseconds a gradient")
    ax.legend()
    return figure
