"""Training steps, copies and products on an NVIDIA GPU; without one this says so, and measures nothing.

A step's time is the difference of two fits, so that compiling, and moving data to the device, do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import ppl
from ppl.estimators import Implicit, Relaxed, ScoreFunction
from ppl.kernels.cuda import compat, launch, products

BATCHES = (100, 10_000)
SHORT, LONG, TRIES = 50, 550, 3
SIDE, COPIED = 4096, 1 << 28
HEADERS = ["program", "rows", "µs per step", "rows per second"]


def programs() -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Names of programs, what compiles them, and entries of a row of data (0 without data)."""
    from benchmarks.workloads import categorical_vae_step, gamma_units, sbn_step
    from ppl.models import control, rbm, toy, vae

    pixels = ppl.spec((None, 784), np.float32)
    given: dict[str, Any] = {"target": "cuda", "data": pixels}
    sbn = ppl.elbo(sbn_step.generative, sbn_step.guide, kl="sampled")
    categorical = ppl.elbo(categorical_vae_step.generative, categorical_vae_step.guide)
    contrastive = rbm.contrastive.bind(rates=np.full(784, 0.5), units=128, steps=1)
    leave_one_out = ScoreFunction("leave_one_out")
    yield "toy", lambda: ppl.compile(toy.toy, target="cuda"), 0
    yield "belief net", lambda: ppl.compile(sbn, leave_one_out, particles=2, **given), 784
    yield "VAE", lambda: ppl.compile(ppl.elbo(vae.generative, vae.guide), **given), 784
    yield "categorical VAE", lambda: ppl.compile(categorical, Relaxed(0.5), allow_bias=True, **given), 784
    yield "RBM", lambda: ppl.compile(contrastive, **given), 784
    yield "gamma units", lambda: ppl.compile(gamma_units.units, Implicit(), target="cuda"), 0
    yield "control", lambda: ppl.compile(control.control, ScoreFunction(), target="cuda"), 0


def step_seconds(program: Any, data: tuple[np.ndarray, ...]) -> float:
    """Seconds of a step on all of `data`, as the median of some differences."""

    def seconds(steps: int) -> float:
        began = time.perf_counter()
        ppl.fit(program, *data, steps=steps, optimizer=ppl.optim.Adam(1e-4), progress=False)
        return time.perf_counter() - began

    seconds(SHORT)
    return float(np.median([(seconds(LONG) - seconds(SHORT)) / (LONG - SHORT) for _ in range(TRIES)]))


def repeated(run: Callable[[], None], times: int = 20) -> float:
    """Seconds of a launch."""
    run()
    compat.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        run()
    compat.cuda.synchronize()
    return (time.perf_counter() - began) / times


@compat.kernel
def copy(target: Any, source: Any) -> None:
    """Copy a vector, an entry a thread."""
    i = compat.block() * compat.THREADS + compat.thread()
    if i < source.shape[0]:
        target[i] = source[i]


@compat.kernel
def multiply(a: Any, b: Any, c: Any, n: int) -> None:
    """The product of two square matrices by the tiles that programs use."""
    products.product_f32(False, False, n, n, n, 1.0, a, n, b, n, 0.0, c, n)


def machine() -> list[list[str]]:
    """What a copy and a product of the machine reach."""
    source, target = (launch.empty(COPIED // 4, np.float32) for _ in range(2))
    seconds = repeated(lambda: launch.start(copy, launch.grid(source.size), target, source))
    rows = [["copy", f"{2 * COPIED / seconds / 1e9:.0f} GB/s"]]
    a, b, c = (launch.moved(np.ones(SIDE * SIDE, np.float32)) for _ in range(3))
    seconds = repeated(lambda: launch.start(multiply, products.tiles(SIDE, SIDE), a, b, c, SIDE))
    return [*rows, [f"product {SIDE} x {SIDE} x {SIDE}, float32", f"{2 * SIDE**3 / seconds / 1e12:.2f} Tflop/s"]]


def run(peers: list[str]) -> dict[str, Any]:
    """Measure all programs on batches of two sizes."""
    title = "Steps on a GPU"
    if compat.SIMULATED or not launch.available():
        nothing = {"columns": ["result"], "rows": [["there is no GPU here: nothing was measured"]]}
        return {"title": title, "tables": [nothing], "problems": []}
    rows, rng = [], np.random.default_rng(0)
    for name, build, width in programs():
        program = build()
        for count in BATCHES if width else (1,):
            data = ((rng.random((count, width)) < 0.3).astype(np.float32),) if width else ()
            seconds = step_seconds(program, data)
            rows.append([name, str(count), f"{1e6 * seconds:.1f}", f"{count / seconds:.3g}"])
            print(rows[-1], flush=True)
    tables = [{"columns": HEADERS, "rows": rows}, {"columns": [launch.names()[0], "reached"], "rows": machine()}]
    return {"title": title, "tables": tables, "problems": []}
