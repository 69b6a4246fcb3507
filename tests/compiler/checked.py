"""Runs of the checked build: `PPL_CHECK=1 python -m tests.compiler.checked [--part i/n] [--law NAME]`.

Every estimator on every node of every law graph that it supports, on 1, 7, 37 and 257 rows, in one slab, and in five on
one thread and on two: any access outside its buffer, and any guard word that has changed, ends in an error. With
`NUMBA_DISABLE_JIT=1` as well, emitted code runs as plain Python: minutes for all addresses, nothing of the kernels.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numba
import numpy as np

from ppl.errors import ModelError
from tests.compiler.graphs import cut_into_slabs

ROWS = (1, 7, 37, 257)
PLACES = ((1, 1), (5, 1), (5, 2))
"""Slabs and threads of the calls."""


def resized(program: Any, data: tuple[Any, ...], rows: int) -> tuple[Any, ...]:
    """The data of a law graph, repeated or cut to `rows` rows where their number is open."""
    out = []
    for x, spec in zip(data, program.prepare().binder.inputs, strict=True):
        axes = spec.node.type.axes
        open_ = bool(axes) and axes[0].size is None
        x = np.asarray(x)
        out.append(np.resize(x, (rows, *x.shape[1:])) if open_ and len(x) else x)
    return tuple(out)


def has_rows(program: Any) -> bool:
    """Whether a program runs on any number of rows."""
    return any(s.node.type.axes and s.node.type.axes[0].size is None for s in program.prepare().binder.inputs)


def rows_are_whole(program: Any) -> bool:
    """Whether all costs lie in the plate, so that the loss can be had row by row."""
    try:
        program.prepare().variant("rows")
    except ModelError:
        return False
    return has_rows(program)


def run(
    program: Any, state: Any, data: tuple[Any, ...], key: str, place: tuple[int, int], particles: int
) -> dict[str, Any]:
    """One call of a variant in so many slabs, on so many threads: everything that it returns."""
    compiled = program.prepare()
    sites = tuple(n for n, s in compiled.trace.sites.items() if s.node is not None) if key == "sample" else ()
    executable = compiled.executable(key, sites, particles)
    slabs, threads = place
    cut_into_slabs(executable, slabs)
    bound = compiled.binder.bind(data, None, None)
    result = executable.run(
        state._flat, state._aux, compiled.hyper_vector(None, 0), bound.arrays, rows=bound.rows,
        row_ids=bound.row_ids, scales=bound.scales, total_rows=bound.totals, particles=particles, seed=3, step=1,
        threads=threads,
    )  # fmt: skip
    return {**result.scalars, **result.arrays, "grad": result.grad, "aux": result.aux}


def check(program: Any, graph: Any, case: Any, keys: tuple[str, ...]) -> int:
    """Run a program on all numbers of rows and slabs; returns how many calls that were."""
    from tests.helpers.replay import state_of

    calls = 0
    for rows in ROWS if has_rows(program) else (0,):
        data = resized(program, graph.data, rows) if rows else graph.data
        state = state_of(program, replace(graph, data=data), case, seed=0, step=0)
        for key in keys:
            found = [run(program, state, data, key, place, case.particles) for place in PLACES]
            calls += len(PLACES)
            for name, value in found[0].items():
                scale, where = max(1.0, float(np.nanmax(np.abs(value), initial=0.0))), f"{name} on {rows} rows"
                np.testing.assert_allclose(found[1][name], value, rtol=1e-9, atol=1e-9 * scale, err_msg=where)
                np.testing.assert_array_equal(found[2][name], found[1][name], err_msg=where)
    return calls


def cases() -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Name, case and variants of all programs."""
    from tests.estimators import test_replay
    from tests.helpers.law_graphs import LAWS
    from tests.helpers.replay import Case

    for law in LAWS:
        yield f"{law}-auto", Case(law), ("gradient", "value", "sample", "rows")
    for name, case in test_replay.cases():
        yield name, case, ("gradient",)


def main(arguments: list[str]) -> int:
    """Run the cases asked for; returns the number that failed."""
    options = argparse.ArgumentParser()
    options.add_argument("--part", default="0/1")
    options.add_argument("--law", default="")
    options.add_argument("--seconds", type=float, default=1e9)
    given = options.parse_args(arguments)
    part, parts = map(int, given.part.split("/"))
    if numba.config.DISABLE_JIT:
        from tests.compiler.plain import stand_ins

        stand_ins()
    from tests.helpers.replay import program_of

    warnings.simplefilter("ignore")
    began, failed, done, calls = time.monotonic(), 0, 0, 0
    chosen = [c for c in cases() if given.law in c[0]]
    for name, case, keys in chosen[part::parts]:
        if time.monotonic() - began > given.seconds:
            break
        try:
            graph, program = program_of(case, "float64")
            usable = tuple(k for k in keys if k != "rows" or rows_are_whole(program))
            calls += check(program, graph, case, usable)
            done += 1
        except Exception:
            failed += 1
            print(f"{name}\n{traceback.format_exc(limit=-4)}", flush=True)
    print(f"{done} programs, {calls} calls, {failed} failed, of {len(chosen[part::parts])}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
