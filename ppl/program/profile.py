"""`program.profile`: where the time of a call goes, step by step of the schedule.

The program is emitted once more in an instrumented serial form, with every step between two reads of the cycle counter;
the program itself does not change. Cycles become seconds by the total, which is timed by both clocks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.arguments import MANY, choice, integer
from ppl.errors import DataError
from ppl.program.clocks import clocked, timed
from ppl.program.traffic import Rates, rates
from ppl.records import dataclass
from ppl.runtime.call import Call, bind, run
from ppl.runtime.compiled import require_state
from ppl.runtime.executable import Executable
from ppl.runtime.state import State

OPTIONS = ("seed", "particles", "total_rows", "rows", "hyper")


@dataclass(frozen=True)
class Row:
    """One step: its kind, what it computes, seconds per call of the serial program, share of its time.

    `flops` counts products only; `bytes` are read or written. `roof` is the least time that they take at the measured
    rates over the time taken: above 1 where they stay in caches nearer than the others.
    """

    stage: str
    kind: str
    name: str
    seconds: float
    share: float
    flops: int = 0
    bytes: int = 0
    roof: float = 0.0

    @property
    def rate(self) -> float:
        """Floating point operations per second (products only)."""
        return self.flops / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """Seconds per call and where they go; prints as a table, `rows` are the steps as data.

    `seconds` is the median time of a call with its own threads, `python` the part of it outside emitted code, `serial`
    that of the emitted code on one thread, which the shares of the rows refer to. `flops` counts products only. `rates`
    are what one core does at best. `compiled` are functions of the program with the seconds that this process has spent
    on compiling them, or on reading their machine code from disk, without what they call; the costliest first.
    """

    seconds: float
    python: float
    serial: float
    rows: tuple[Row, ...]
    kernels: int
    regions: int
    workspace: int
    rates: Rates
    compiled: tuple[tuple[str, float], ...]

    @property
    def flops(self) -> int:
        """Operations of all products of a call."""
        return sum(r.flops for r in self.rows)

    @property
    def rate(self) -> float:
        """Operations per second that the products reach together."""
        seconds = sum(r.seconds for r in self.rows if r.flops)
        return self.flops / seconds if seconds > 0 else 0.0

    def table(self) -> str:
        """The profile as text."""
        from ppl.program.profile_table import show_profile  # imports rich

        return show_profile(self)

    def __str__(self) -> str:
        return self.table()


def profile(
    program: Any, state: State, data: Sequence[Any], repeats: int, kind: str, options: Mapping[str, Any]
) -> Profile:
    """Profile calls of `program`; see `Program.profile`."""
    require_state(state)
    choice("profile: kind", kind, ("gradient", "value", "rows"))
    repeats = integer("profile: repeats", repeats, 1, MANY)
    unknown = sorted(set(options) - {*OPTIONS})
    if unknown:
        raise DataError(f"profile: no option {unknown}; there are {[*OPTIONS]}")
    call = Call(state, data, **options)
    bound = bind(program, call)
    target = bound.compiled.target
    if not target.clocked:
        raise DataError(f"profile: steps of programs for {target.name!r} cannot be timed one by one")
    run(bound, kind)
    executable = bound.compiled.executable(kind, (), bound.particles, bound.int32)
    return measure(lambda: run(bind(program, call), kind), bound.run, executable, repeats)


def measure(call: Callable[[], Any], run: Callable[..., Any], executable: Executable, repeats: int) -> Profile:
    """Profile `executable`: `call` makes a whole call, ``run(executable, **options)`` what it runs."""
    plain, (inside, emitter) = timed(executable), clocked(executable.request, executable.dtype, executable.target)
    for _ in range(2):
        call(), run(plain), run(inside, threads=1)
    whole, native = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        whole.append(time.perf_counter() - start)
        plain.reset()
        run(plain)
        native.append(plain.seconds)
    inside.reset()
    for _ in range(repeats):
        run(inside, threads=1)
    scale = inside.seconds / max(inside.cycles, 1) / repeats
    total = int(inside.ticks[-1])
    full = {**inside.sizes, "n_particles": inside.sizes.get("n_particles_total", inside.sizes.get("n_particles", 1))}
    best = rates(executable.dtype, max(plain.bytes, 1 << 16))
    rows = []
    for i, (stage, kind, name, operations, size) in enumerate(emitter.clock.steps):
        spent, flops, number = int(inside.ticks[i]) * scale, operations.evaluate(full), size.evaluate(full)
        roof = best.seconds(flops, number) / spent if spent > 0 else 0.0
        rows.append(Row(stage, kind, name, spent, int(inside.ticks[i]) / max(total, 1), flops, number, roof))
    rest = max(0, total - sum(int(inside.ticks[i]) for i in range(len(rows))))
    rows.append(Row("serial", "driver", "calls and offsets", rest * scale, rest / max(total, 1)))
    seconds = np.median(whole)
    python = max(0.0, seconds - np.median(native))
    return Profile(seconds, python, total * scale, tuple(rows), executable.kernels, executable.regions, plain.bytes,
                   best, compiled(executable))  # fmt: skip


def compiled(executable: Executable) -> tuple[tuple[str, float], ...]:
    """Functions of an executable, shared kernels included, with the seconds spent on them in this process."""
    from ppl.kernels.dispatch import seconds  # imports Numba
    from ppl.kernels.reach import reached

    own = [f.py_func for f in vars(executable.module).values() if hasattr(f, "py_func")]
    found = {f: f.__name__ for f in own} | {v.py_func: v.__name__ for f in own for v in reached(f)}
    often = Counter(name for f, name in found.items() if f in seconds)
    full = {f: name if often[name] == 1 else f"{f.__module__}.{name}" for f, name in found.items()}
    spent = [(full[f], seconds[f]) for f in found if f in seconds]
    return tuple(sorted(spent, key=lambda item: -item[1]))
