"""Every kernel of real programs compiled for two devices, on a machine that has none: registers, spills, seconds.

No time of a step is claimed: nothing runs. Launches are counted in the emitted host function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numba
import numpy as np

import ppl
from ppl.compiler.emit.code import Function
from ppl.estimators import DisARM, Implicit, Rebar, Relaxed, ScoreFunction

CAPABILITIES = ((8, 0), (9, 0))
REGISTERS, SECONDS = 128, 20.0
"""Goals: registers of a kernel at most, and seconds to compile it."""


HEADERS = ["program", "launches", "registers, most", "spilled, bytes", "local memory, bytes", "slowest kernel, s"]


def programs() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of programs, and what compiles them for CUDA."""
    from benchmarks.workloads import categorical_vae_step, disarm_step, gamma_units, policy_step, sbn_step
    from ppl.models import control, hmm, rbm, regression, toy, vae, walk

    pixels = ppl.spec((None, 784), np.float32)
    leave_one_out = ScoreFunction("leave_one_out")
    cuda: Mapping[str, Any] = {"target": "cuda"}
    sbn = ppl.elbo(sbn_step.generative, sbn_step.guide, kl="sampled")
    disarm = ppl.elbo(disarm_step.generative, disarm_step.guide, kl="sampled")
    categorical = ppl.elbo(categorical_vae_step.generative, categorical_vae_step.guide)
    rows = ppl.spec((None, 10), np.float32), ppl.spec((None,), np.float32)
    contrastive = rbm.contrastive.bind(rates=np.full(784, 0.5), units=128, steps=1)
    yield "toy (W1)", lambda: ppl.compile(toy.toy, Rebar(), **cuda)
    yield "VAE (W2)", lambda: ppl.compile(ppl.elbo(vae.generative, vae.guide), data=pixels, **cuda)
    yield "belief net (W3)", lambda: ppl.compile(sbn, leave_one_out, particles=2, data=pixels, **cuda)
    yield "belief net, DisARM", lambda: ppl.compile(disarm, DisARM(), data=pixels, **cuda)
    yield "categorical VAE", lambda: ppl.compile(categorical, Relaxed(0.5), allow_bias=True, data=pixels, **cuda)
    yield "RBM", lambda: ppl.compile(contrastive, data=pixels, **cuda)
    yield "gamma units", lambda: ppl.compile(gamma_units.units, Implicit(), **cuda)
    yield "policy (W7)", lambda: ppl.compile(policy_step.system, ScoreFunction(), **cuda)
    yield "regression", lambda: ppl.compile(ppl.likelihood(regression.heteroscedastic), data=rows, **cuda)
    yield "regression, network", lambda: ppl.compile(ppl.likelihood(regression.network), data=rows, **cuda)
    yield "random walk", lambda: ppl.compile(walk.walk, **cuda)
    yield "control", lambda: ppl.compile(control.control, ScoreFunction(), **cuda)
    yield (
        "hidden Markov model",
        lambda: ppl.compile(
            ppl.likelihood(hmm.hidden, marginalize=["z"]), data=ppl.spec((None, 100), np.float32), **cuda
        ),
    )


def types_of(function: Function) -> tuple[Any, ...]:
    """Numba's types of the arguments of an emitted function."""
    return tuple(eval(a.type or "int64", vars(numba.types)) for a in function.arguments)


def measured(executable: Any) -> list[tuple[str, float, Any]]:
    """Name, seconds and code of every kernel on every device."""
    from ppl.kernels.cuda import ptx

    found = []
    for function in executable.functions:
        if function.form == "launch":
            kernel, types = getattr(executable.module, function.name), types_of(function)
            for capability in CAPABILITIES:
                begin = time.perf_counter()
                made = ptx.compile_cubin(kernel, types, capability)
                found.append((function.name, time.perf_counter() - begin, made))
    return found


def run(peers: list[str]) -> dict[str, Any]:
    """Compile all; a row for each program and variant."""
    rows, problems = [], []
    for name, build in programs():
        for key in ("gradient", "value", "sample"):
            try:
                executable = build().prepare().executable(key)
                found = measured(executable)
            except Exception as error:
                problems.append(f"{name}, {key}: {type(error).__name__}: {error}")
                continue
            codes = [code for _, _, code in found]
            registers, spilled = max(c.registers for c in codes), sum(c.spilled for c in codes)
            slowest = max(seconds for _, seconds, _ in found)
            rows.append([f"{name}, {key}", str(len(codes) // len(CAPABILITIES)), str(registers), str(spilled),
                         str(sum(c.stack for c in codes)), f"{slowest:.1f}"])  # fmt: skip
            print(rows[-1], flush=True)
            problems += [
                f"{name}, {key}, {kernel}: {seconds:.0f} s" for kernel, seconds, _ in found if seconds > SECONDS
            ]
            problems += [f"{name}, {key}, {kernel}: {c.registers} registers, {c.spilled} bytes spilled"
                         for kernel, _, c in found if c.registers > REGISTERS or c.spilled]  # fmt: skip
    return {
        "title": "Kernels compiled for compute capabilities 8.0 and 9.0, nothing run",
        "tables": [{"columns": HEADERS, "rows": rows}],
        "problems": problems,
    }
