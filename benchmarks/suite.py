"""The suite: one workload against its peers, its goals, its roof; and the page of all of them.

A workload of the suite is a file of ``benchmarks/workloads`` with `TITLE`, `GOALS`, `forms()` (ours by label), `work()`
(what a step cannot do without) and, if it has products of matrices, `PRODUCTS`. Its peers are the files ``NAME_jax.py``
and ``NAME_torch.py`` of ``benchmarks/peers``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
from threadpoolctl import threadpool_limits

from benchmarks import machine
from benchmarks.forms import Form
from benchmarks.peer import THREADS, Peer, PeerError, Peers, two_cores
from benchmarks.race import FIRST, SLOWEST, Contestant, Race, ours, race, theirs
from benchmarks.roofline import Pace, Roof, roof
from benchmarks.timing import RESULTS, Check, Timing, check, duration, passes

OURS = "ppl"
PRODUCTS = "bare products, NumPy"
CODES = {
    "W1": "toy_step",
    "W1b": "toy_particles",
    "W2": "pathwise_units",
    "W3": "sbn_step",
    "W3d": "disarm_step",
    "W4": "vae_step",
    "W4g": "categorical_vae_step",
    "W5": "rbm_step",
    "W6": "skip_gram_step",
    "W7": "policy_step",
    "W8": "gamma_units",
}
"""The workloads by their code."""


@dataclass(frozen=True)
class Goal:
    """A limit of our time: `limit` times the peer's, or `limit` seconds.

    `ours` and `peer` are parts of the labels compared, empty for the fastest of all.
    """

    limit: float
    ours: str = ""
    peer: str = ""
    seconds: bool = False

    def check(self, timings: Mapping[str, Timing]) -> Check | None:
        """What was measured beside the limit; None where no peer was."""
        mine, other = fastest(timings, OURS, self.ours), fastest(timings, "", self.peer)
        if mine is None or (other is None and not self.seconds):
            return None
        if self.seconds:
            return check(mine, timings[mine].median, self.limit)
        assert other is not None
        return check(f"{mine} / {other}", timings[mine].median / timings[other].median, self.limit, "×")


def fastest(timings: Mapping[str, Timing], side: str, part: str) -> str | None:
    """The label of the fastest form of ours (`side` is `OURS`) or of the peers whose label contains `part`."""
    group = [n for n in timings if n.startswith(OURS) == (side == OURS) and (n != PRODUCTS or part == PRODUCTS)]
    found = [n for n in group if part in n]
    return min(found, key=lambda n: timings[n].median, default=None)


def run(name: str, peers: Sequence[str]) -> dict[str, Any]:
    """Race the workload of a module's name against its peers; return its record."""
    workload = sys.modules[name]
    stem = name.rpartition(".")[2]
    result, problems = contest(stem, workload.forms, peers, getattr(workload, "PRODUCTS", ()))
    return record(code_of(stem), workload, result, roof(workload.work()), problems)


def contest(stem: str, forms: Callable[[], Mapping[str, Form]], peers: Sequence[str],
            products: Sequence[machine.Product] = ()) -> tuple[Race, list[str]]:  # fmt: skip
    """Race our forms against the peers ``STEM_jax`` and ``STEM_torch``; the race, and what could not start."""
    given = peers if isinstance(peers, Peers) else Peers(peers)
    problems: list[str] = []
    with two_threads(), contextlib.ExitStack() as stack:
        pace = Pace()
        contestants = {f"{OURS}, {n}": ours(form) for n, form in forms().items()}
        for peer in started(stem, given, problems):
            stack.enter_context(peer)
            contestants |= {label: theirs(peer, label) for label in peer.labels}
        contestants |= bare(products)
        return race(alternating(contestants), pace), problems


def code_of(stem: str) -> str:
    """The code of a workload, by its file's name."""
    return next(code for code, name in CODES.items() if name == stem)


def started(stem: str, peers: Peers, problems: list[str]) -> Iterator[Peer]:
    """The processes of a workload's peers; what cannot start is told in `problems`."""
    for name in peers:
        module = f"{stem}_{name}"
        if importlib.util.find_spec(f"benchmarks.peers.{module}") is None:
            problems.append(f"There is no `benchmarks/peers/{module}.py`.")
            continue
        try:
            yield Peer(module, peers.python)
        except PeerError as error:
            problems.append(f"{name} failed: {str(error).strip().splitlines()[-1]}")


def alternating(contestants: Mapping[str, Contestant]) -> dict[str, Contestant]:
    """Ours and the others in turns."""
    mine = [n for n in contestants if n.startswith(OURS)]
    rest = [n for n in contestants if not n.startswith(OURS)]
    order = [n for pair in zip(mine, rest, strict=False) for n in pair]
    order += [n for n in contestants if n not in order]
    return {n: contestants[n] for n in order}


def bare(products: Sequence[machine.Product]) -> dict[str, Contestant]:
    """The step's products alone on NumPy with threads of its own, which go on spinning for a tenth of a second."""
    if not products:
        return {}
    calls = [(machine.call_of(p, "float32", seed), p.calls) for seed, p in enumerate(products)]

    def once() -> None:
        with threadpool_limits(THREADS, "blas"):
            for _ in range(10):
                for call, times in calls:
                    for _ in range(times):
                        call()

    return {PRODUCTS: ours(Form(once, 10), rest=0.25)}


@contextlib.contextmanager
def two_threads() -> Iterator[None]:
    """Two cores, two threads of Numba, one of the BLAS."""
    cores, before = two_cores(), numba.get_num_threads()
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        numba.set_num_threads(before)
        if cores:
            os.sched_setaffinity(0, cores)


def record(code: str, workload: Any, result: Race, top: Roof, problems: Sequence[str]) -> dict[str, Any]:
    """The record of a race: timings, goals, the roof and what to know about the machine's state."""
    timings = result.timings
    mine, other = fastest(timings, OURS, ""), fastest(timings, "", "")
    checks = [found for goal in workload.GOALS if (found := goal.check(timings)) is not None]
    worst = max(result.left_out.values())
    notes = [
        "All times are of one training step: fresh noise, all gradients, update. float32, two threads.",
        f"Turns beside a calibration product slower than {SLOWEST} times the fastest do not count: up to {worst:.0%} "
        f"of a contestant's. Calibration: fastest {duration(result.fastest_pace)}, "
        f"median {duration(result.median_pace)}.",
        *(f"After {FIRST} rounds far behind, and not timed further: {label}." for label in sorted(result.left)),
        *problems,
    ]
    out: dict[str, Any] = {
        "title": f"{code}: {workload.TITLE}",
        "timings": timings,
        "baseline": other or mine,
        "checks": checks,
        "notes": notes,
        "details": {"code": code, "ours": mine, "peer": other, "left_out": result.left_out},
    }
    if mine is not None:
        out["tables"] = [roof_table(top, timings[mine].median)]
        out["details"]["roof"] = {**top._asdict(), "share": top.seconds / timings[mine].median}
    return out


def roof_table(top: Roof, seconds: float) -> dict[str, Any]:
    """The roof of a step beside our time."""
    return {
        "columns": ["roof", "rate measured", "least time", "share of our time"],
        "rows": [
            _roof_row(
                "products at the rate of sgemm", f"{top.flops_rate / 1e9:.0f} Gflop/s", top.flops_seconds, seconds
            ),
            _roof_row("bytes at the rate of a triad", f"{top.bytes_rate / 1e9:.0f} GB/s", top.bytes_seconds, seconds),
        ],
    }


def _roof_row(label: str, rate: str, least: float, seconds: float) -> list[str]:
    return [label, rate, duration(least), f"{least / seconds:.0%}"]


def overview(folder: Path = RESULTS) -> Path | None:
    """Write ``suite.md`` from the records in `folder`; return its path, or None where there are none."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    found = sorted(
        (r for r in records if "code" in r.get("details", {})), key=lambda r: [*CODES].index(r["details"]["code"])
    )
    if not found:
        return None
    lines = [
        "# The suite: ours against the fastest peer",
        "",
        "Medians of one training step (fresh noise, all gradients, update), float32, two threads, runs in turns; "
        "`python -m benchmarks suite --peers jax,torch` measures them again. The share of the roof is the larger of "
        "products at the rate of sgemm and bytes at the rate of a triad, over our time.",
        "",
        "| | workload | ours | fastest peer | ratio | goal | | share of the roof |",
        "|---|---|---|---|---|---|---|---|",
        *(line for r in found for line in _rows(r)),
        "",
        *sorted({f"Measured on {r['machine']['cpu']}, {r['machine']['usable_cores']} cores." for r in found}),
    ]
    page = folder / "suite.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return page


def _rows(found: Mapping[str, Any]) -> list[str]:
    """The lines of one workload: one for each goal."""
    details, timings = found["details"], {n: Timing(**t) for n, t in found["timings"].items()}
    title = f"[{found['title'].partition(': ')[2]}]({found['name']}.md)"
    share = f"{details['roof']['share']:.0%}" if details.get("roof", {}).get("share", 0.0) >= 0.005 else "-"
    lines = []
    for promise in [p for p in found["checks"] if not p["what"].endswith(PRODUCTS)] or [None]:
        mine, _, other = promise["what"].partition(" / ") if promise else (details["ours"], "", "")
        other = other or details["peer"] or ""
        cells = [details["code"], title, _cell(timings, mine), _cell(timings, other)]
        if mine in timings and other in timings:
            cells.append(f"{timings[mine].median / timings[other].median:.2f}")
        else:
            cells.append("-")
        cells += _goal(promise)
        lines.append("| " + " | ".join([*cells, share]) + " |")
    return lines


def _cell(timings: Mapping[str, Timing], label: str) -> str:
    return f"{duration(timings[label].median)} ({label})" if label in timings else "not measured"


def _goal(promise: Check | None) -> list[str]:
    """The limit, and whether it is kept."""
    if promise is None:
        return ["-", "-"]
    limit = duration(promise["limit"]) if promise["unit"] == "s" else f"{promise['limit']:.3g}"
    return [f"≤ {limit}", "met" if passes(promise) else "**missed**"]
