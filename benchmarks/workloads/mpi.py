"""Rows on several ranks: what `program.on(comm)` costs on this machine, and a model of a step on 2 to 1024 ranks."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import suite
from benchmarks.rank_model import LOADS, MEMORY, NETWORKS, RANKS, enough, overlapped, strong, weak
from benchmarks.timing import RESULTS, check, duration, summary

CODES = ("W3", "W4")
ROUNDS, STEPS, SAMPLES = 3, 60, 10
OVERLAPPED = (2, 16, 64)
"""Ranks for which overlapping is modelled."""
ONE_RANK, TWO_RANKS = 1.02, 1.15
ALONE, ONE, TWO = "one process, two threads", "comm of one rank, two threads", "two ranks, one thread each"
WAYS = (ALONE, ONE, TWO)


def child(code: str, ranks: int, threads: int) -> dict[str, list[float]]:
    """Seconds of a step on ranks, several samples; of one rank also without, in turns."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [os.environ.get("MPIEXEC", str(mpiexec)), "-n", str(ranks), sys.executable, "-m", "benchmarks.ranks"]
    command += [code, "--steps", str(STEPS), "--samples", str(SAMPLES), "--comm"]
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured() -> dict[str, list[float]]:
    """Samples by workload and way, taken in turns."""
    found: dict[str, list[float]] = {f"{code}, {way}": [] for code in CODES for way in WAYS}
    for _ in range(ROUNDS):
        for code in CODES:
            one, two = child(code, 1, 2), child(code, 2, 1)
            for way, samples in ((ALONE, one["plain"]), (ONE, one["comm"]), (TWO, two["comm"])):
                found[f"{code}, {way}"] += samples
    return found


def seconds_of(code: str) -> float:
    """The suite's median of one process on two threads."""
    record = json.loads((RESULTS / f"{suite.CODES[code]}.json").read_text(encoding="utf-8"))
    return min(t["median"] for name, t in record["timings"].items() if name.startswith("ppl, fit"))


def tables(measured_two: dict[str, float]) -> list[dict[str, Any]]:
    """Weak and strong scaling, and the `accumulate` that is enough."""
    found = []
    for network in NETWORKS:
        rows: list[Sequence[str]] = []
        for load in LOADS:
            t = seconds_of(load.code)
            rows.append([load.code, f"{4 * (load.parameters + load.touched) / 1e6:.2f} MB", duration(t),
                         *(f"{weak(load, t, network, r):.0%} · {strong(load, t, network, r):.1f}×" for r in RANKS),
                         str(enough(load, t, network, 64) or "none is"), measured_two.get(load.code, "")])  # fmt: skip
        columns = [f"model: {network.name}", "given", "step alone", *(f"{r} ranks" for r in RANKS),
                   "`accumulate` for 80 % on 64", "measured here: two ranks / two threads"]  # fmt: skip
        found.append({"columns": columns, "rows": rows})
    return found


def overlap() -> dict[str, Any]:
    """What sending gradients during the backward pass could gain at most, beside `accumulate`."""
    rows: list[Sequence[str]] = []
    for load in (x for x in LOADS if not x.touched):
        t = seconds_of(load.code)
        cells = ((weak(load, t, n, r), overlapped(load, t, n, r), weak(load, t, n, r, 4))
                 for n in NETWORKS for r in OVERLAPPED)  # fmt: skip
        rows.append([load.code, *(f"{now:.0%} · {bound:.0%} · {fewer:.0%}" for now, bound, fewer in cells)])
    columns = [f"{n.name}, {r} ranks" for n in NETWORKS for r in OVERLAPPED]
    return {"columns": ["model: as built · overlapped, at most · `accumulate=4`", *columns], "rows": rows}


def picture() -> Any:
    """Weak scaling of four models on two networks, with and without accumulation."""
    from matplotlib import pyplot  # optional

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    ranks = [2**k for k in range(11)]
    for ax, network in zip(axes, NETWORKS[:2], strict=True):
        for load in (x for x in LOADS if x.code in ("W3", "W4", "W6", "W8")):
            t = seconds_of(load.code)
            (line,) = ax.plot(ranks, [weak(load, t, network, r) for r in ranks], label=load.code)
            ax.plot(ranks, [weak(load, t, network, r, 16) for r in ranks], "--", color=line.get_color())
        ax.set(xscale="log", xlabel="ranks", title=f"model: {network.name}", ylim=(0, 1.02))
    axes[0].set_ylabel("efficiency, rows per rank fixed")
    axes[0].legend(title="dashed: accumulate=16")
    figure.tight_layout()
    return figure


def run(peers: list[str]) -> dict[str, Any]:
    """Measure, and model."""
    before, samples = os.getloadavg()[0], measured()
    timings = {name: summary(values, STEPS) for name, values in samples.items()}
    best = {name: t.median for name, t in timings.items()}
    ratios = {code: [best[f"{code}, {way}"] / best[f"{code}, {ALONE}"] for way in WAYS] for code in CODES}
    for code in CODES:
        turns = zip(samples[f"{code}, {ONE}"], samples[f"{code}, {ALONE}"], strict=True)
        ratios[code][1] = statistics.median(one / alone for one, alone in turns)
    checks = [check(f"{c}: {WAYS[k]} / {ALONE}", ratios[c][k], limit, "×")
              for c in CODES for k, limit in ((1, ONE_RANK), (2, TWO_RANKS))]  # fmt: skip
    busy = statistics.mean((before, os.getloadavg()[0]))
    return {
        "title": "Rows on several ranks: what ranks cost here, and a model of 2 to 1024 ranks",
        "timings": timings,
        "checks": checks,
        "tables": [*tables({c: f"{r[2]:.2f}" for c, r in ratios.items()}), overlap()],
        "figure": picture(),
        "notes": [
            "Promises compare medians; that of one rank is the median ratio of two fits one behind the other. "
            f"Load average: {busy:.1f} on {os.cpu_count()} cores; "
            "beside other jobs ranks wait for each other's turn on a core, and figures say little beyond their order.",
            "The two ranks have all rows and one thread each, and train in shared memory as two threads do "
            "(`docs/internals/ranks.md`). Slabs are shared out beforehand, where threads take slabs of others that are "
            "late: beside other jobs ranks lose more.",
            "With one rank `fit` duplicates the communicator, frees it at the end, and between runs the code that it "
            "runs of the program itself: how far that ratio is from 1 is the noise.",
            "A cell is the efficiency with the suite's minibatch on every rank · the speed-up of one minibatch cut in "
            "parts. The tables with networks are a model, no measurement: computation as in the suite (one rank = two "
            f"threads), messages and bytes of the exchange that is built, vectors added up at {MEMORY / 1e9:.0f} GB/s.",
            "Gradients are not sent during the backward pass. Were all that travels hidden behind it (two thirds of a "
            "step), efficiency would be at most 1.6 times what it is; accumulate=4 reaches more nearly everywhere, by "
            "minibatches four times as large. The bound is out of reach besides: gradients of matrices are products "
            "over all rows, in one region at the end, so that only a part of that region, a third of the "
            "multiplications, lies behind a first gradient; and the core that computes would have to drive MPI.",
            "Assumed latency and bandwidth: "
            + "; ".join(f"{n.name} {n.latency * 1e6:.0f} µs, {n.bandwidth / 1e9:.1f} GB/s" for n in NETWORKS) + ".",
            "Shares of a vector go from each rank to each: beyond some hundred ranks messages count more than bytes. "
            "There, and on slow networks, accumulate=k is the answer: one exchange for k minibatches. It does not help "
            "tables (W6), of which more minibatches touch more rows.",
        ],
    }  # fmt: skip
