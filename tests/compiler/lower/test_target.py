"""Other machines: made-up targets, which differ from the CPU in what they assume, run every test graph and some laws.

Nothing but the records below knows of them. Emitted code runs as plain Python (`NUMBA_DISABLE_JIT=1`), in processes of
their own: `python -m tests.compiler.lower.test_target NAME`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

from ppl.compiler.lower.target import CPU, NEVER, Buffers, Fusion, Rewrites, Sharing, Target
from ppl.runtime.executable import compile_request
from tests.compiler import graphs
from tests.compiler.schedule.test_owned import simplified

PRODUCTS = frozenset({"gemm", "noise", "draw_rows", "lanes"})

MACHINES = {
    t.name: t
    for t in (
        # Tiny loops of two arrays: nearly every value lies in memory. Nothing is rewritten, tiles are three rows.
        Target("narrow", "cpu",
               rewrites=Rewrites(joined=False, choices=0, table_width=NEVER, lanes=1 << 40, long_event=NEVER,
                                 flat=NEVER, double_sums=False, windows=False, straight=0, product=NEVER, single=NEVER),
               fusion=Fusion(arrays=2, innermost="event"),
               buffers=Buffers(product_tile=200, stream_tile=200, tile_rows=3, noise_block=1, line=1, long=1 << 40),
               sharing=Sharing(owned=NEVER)),
        # One kernel for every operation, buffers of the whole batch, regions that end at products and noise.
        Target("split", "cpu",
               rewrites=Rewrites(straight=0, product=1, single=1, windows=False),
               fusion=Fusion(operations=1, innermost="event", cuts=PRODUCTS),
               buffers=Buffers(whole=True), sharing=Sharing(owned=NEVER)),
        # Rows innermost, everything that may be a step of its own is one, every gradient owned, long events are short.
        Target("rows", "cpu",
               rewrites=Rewrites(product=1, single=1, choices=2, table_width=1, lanes=1, long_event=8, short=1 << 20,
                                 flat=2, vector=1 << 20, straight=0),
               fusion=Fusion(innermost="rows"),
               buffers=Buffers(product_tile=2000, line=4, long=2, window=1 << 10),
               sharing=Sharing(owned=1, owned_rows=1, part_rows=1, most=8, operations=1, sums=1, plain_rows=1,
                               product_rows=1, loop_rows=1)),
    )
}  # fmt: skip

CUT = ("dense_layers", "centred", "branches")
"""Graphs that run in several slabs, on several threads, too."""

LAWS = ("layer", "coupled_rows", "gamma_rows", "likelihood_mixture")


def main(name: str, every: int) -> None:
    """Run graphs, all or some of them, and a sample of the laws on one machine."""
    warnings.simplefilter("ignore")
    from tests.compiler.plain import stand_ins

    stand_ins()
    from tests.compiler.test_graphs import SOME_IDS

    target = MACHINES[name]
    for i, label in enumerate(graphs.GRAPHS):
        if i % every and label not in CUT:
            continue
        threads = (1, 2) if label in CUT else (1,)
        graphs.check(graphs.GRAPHS[label](), ids=SOME_IDS if i % 2 else None, threads=threads, target=target)
        print(label, flush=True)
    from ppl.compiler.lower import target as targets
    from tests.helpers.law_graphs import LAWS as ALL
    from tests.helpers.replay import Case, replay

    targets.TARGETS = {**targets.TARGETS, "cpu": target}
    for law in LAWS:
        assert law in ALL
        replay(Case(law), "float64", 1e-9)
        print(law, flush=True)


def test_machines_make_other_programs():
    """The records are read: fewer arrays make more loops, cuts more regions, whole buffers no tiles, rows come last."""
    found = {t.name: compile_request(simplified(graphs.GRAPHS["dense_layers"]()), target=t)
             for t in (CPU, *MACHINES.values())}  # fmt: skip
    loops = {name: executable.schedule.count(" for ") for name, executable in found.items()}
    assert loops["narrow"] > loops["cpu"] and "gemm" not in found["narrow"].schedule
    assert found["split"].regions > found["cpu"].regions
    assert not any(stage.tiles for stage in found["split"].stages)
    assert any(stage.tiles for stage in found["cpu"].stages)
    assert not any(stage.partitioned for stage in found["cpu"].stages) and any(
        stage.partitioned for stage in found["rows"].stages
    )
    small = {name: compile_request(graphs.request_of(graphs.GRAPHS["scalar_rebar"]()), target=t).unrolled
             for name, t in (("cpu", CPU), *MACHINES.items())}  # fmt: skip
    assert small == {"cpu": True, **dict.fromkeys(MACHINES, False)}


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_of_other_values_runs_every_graph(name, every):
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.compiler.lower.test_target", name, str(every)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
