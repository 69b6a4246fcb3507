"""All kinds of graphs in tiny slabs and tiles: `NUMBA_DISABLE_JIT=1 python -m tests.compiler.slabs KIND WHAT`.

Emitted code runs as plain Python, which takes no compiler, or compiled where `NUMBA_DISABLE_JIT` is not set; each run
is compared with the interpreter in float64, to 1e-9 of the largest gradient.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import numba

Run = Callable[[], object]


def op_graphs() -> Iterator[tuple[str, Run]]:
    """Every graph of `tests.compiler.graphs`."""
    from tests.compiler import graphs
    from tests.helpers.tiny import ROWS

    for name, build in graphs.GRAPHS.items():
        for rows in ROWS:
            yield f"{name} {rows}", lambda b=build, r=rows: graphs.check(b(), rows=r)


def laws() -> Iterator[tuple[str, Run]]:
    """Every law graph under the automatic plan."""
    from tests.helpers.law_graphs import LAWS
    from tests.helpers.replay import Case

    for law in LAWS:
        yield from _replays(law, Case(law))


def estimators() -> Iterator[tuple[str, Run]]:
    """The cases of `tests/estimators/test_compiled.py`."""
    from tests.estimators.test_compiled import CASES

    for name, case in CASES.items():
        yield from _replays(name, case)


def plans() -> Iterator[tuple[str, Run]]:
    """Every estimator on every node of every law graph that admits it."""
    from tests.estimators.test_replay import cases

    for name, case in cases():
        yield from _replays(name, case)


def _replays(name, case) -> Iterator[tuple[str, Run]]:
    from tests.helpers.replay import replay
    from tests.helpers.tiny import ROWS

    yield name, lambda: replay(case, "float64", 1e-9)
    for rows in ROWS:
        yield f"{name} {rows}", lambda r=rows: replay(case, "float64", 1e-9, r)


def random_graphs(seeds: range) -> Iterator[tuple[str, Run]]:
    """Random graphs of the oracle under the automatic plan and one at random."""
    from tests.oracle.graphs.generate import random_graph
    from tests.oracle.graphs.loops import random_loop

    for seed in seeds:
        yield f"seed {seed}", lambda s=seed: _random(f"seed {s}", _few(random_graph(s), s), s)
        yield f"loop {seed}", lambda s=seed: _random(f"loop {s}", _few(random_loop(s), s), s)


def _few(text: str, seed: int) -> str:
    """The same graph with few rows of data."""
    from tests.helpers.tiny import ROWS

    return re.sub(r"^(data = .*)$", rf"\1\ndata = tuple(x[:{ROWS[seed % len(ROWS)]}] for x in data)", text, flags=re.M)


def _random(name: str, text: str, seed: int) -> None:
    from ppl.errors import EstimatorError, ParameterError
    from tests.oracle.check import admissible, graph_of
    from tests.oracle.estimators import CHOICES
    from tests.oracle.graphs.source import program
    from tests.oracle.run import random_plan

    made = program(name, text)
    try:
        drawn = random_plan(admissible(made), seed)
    except EstimatorError:
        return
    for plan in ({}, drawn):
        particles = max((CHOICES[name].particles for name in plan.values()), default=1)
        given = {node: CHOICES[name].estimator for node, name in plan.items()} or "auto"
        with suppress(EstimatorError, ParameterError):  # a plan may be refused
            compare(graph_of(made, particles), given, made.params, made.data, made.total_rows, particles)


def compare(graph, given, params, data, total_rows, particles) -> None:
    """Gradients at two places of the noise against the interpreter, on one thread and on three."""
    import numpy as np

    from ppl.compiler.surrogate.variants import build_gradient
    from tests.helpers.replay import Case, interpreted

    made = graph.compile(given)
    state = made.init(0, *data).replace(params=params)
    for seed, step in ((1, 0), (2, 5)):
        state = state.replace(seed=seed, step=step)
        loss, grads = made.value_and_grad(state, *data, total_rows=total_rows)
        wanted = interpreted(made, graph, Case("", given, {}, particles), build_gradient, "float64", seed, step)
        wanted = {k.removeprefix("grad "): v for k, v in wanted.items() if k == "loss" or k.startswith("grad ")}
        scale = max(1.0, *(float(np.nanmax(np.abs(v), initial=0)) for v in wanted.values()))
        for name, exact in wanted.items():
            found = loss if name == "loss" else grads[name]
            np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9 * scale, err_msg=name)


def models() -> Iterator[tuple[str, Run]]:
    """The models of `tests.compiler.tiny_models`."""
    from tests.compiler.tiny_models import MODELS
    from tests.helpers.tiny import ROWS

    for name in MODELS:
        for rows in ROWS:
            yield f"{name} {rows}", lambda n=name, r=rows: run_model(n, r)


def run_model(name: str, rows: int) -> None:
    """One model on so many rows, every parameter away from where it begins."""
    import numpy as np

    from tests.compiler.tiny_models import MODELS
    from tests.helpers.laws import Graph

    asked = MODELS[name]
    data = asked.data(rows)
    made = Graph(asked.objective, {}, data, None, asked.particles).compile(asked.estimators)
    rng = np.random.default_rng(1)
    params = {k: 0.4 * rng.normal(size=np.shape(v)) for k, v in made.init(0, *data).params.items()}
    compare(
        Graph(asked.objective, params, data, None, asked.particles),
        asked.estimators,
        params,
        data,
        None,
        asked.particles,
    )


SOME = {
    "plain": ("dense_layers 13", "iwae_mixed 5", "groups_read_by_rows 7", "chain_of_plates 5",
              "softmax_over_collected 2", "rows_and_groups_and_back 13", "two_data_plates 7", "crossed_effects 13",
              "loop 414", "coupled_rows"),
    "owned": ("dense_layers 7", "layers 13", "table_rows 7", "iwae_mixed 13", "elbo_sbn 7", "loop 414"),
}  # fmt: skip
"""What the fast test runs: sums, tables, products and loops that regions read from one another."""


def some(kind: str) -> Iterator[tuple[str, Run]]:
    """The selection of the fast test."""
    for made in (op_graphs(), laws(), models(), random_graphs(range(414, 415))):
        yield from ((name, run) for name, run in made if name in SOME[kind])


def asked(what: str, kind: str, seeds: range) -> Iterator[tuple[str, Run]]:
    """The runs of that name."""
    if what == "random":
        return random_graphs(seeds)
    return some(kind) if what == "some" else LISTS[what]()


LISTS = {"graphs": op_graphs, "laws": laws, "estimators": estimators, "plans": plans, "models": models}


def main(arguments: list[str]) -> int:
    """Run what is asked for; returns the number of runs that failed."""
    options = argparse.ArgumentParser()
    options.add_argument("kind", choices=("plain", "owned"))
    options.add_argument("what", choices=(*LISTS, "random", "some"))
    options.add_argument("--part", default="0/1")
    options.add_argument("--only", default="")
    options.add_argument("--tile", type=int, default=2)
    options.add_argument("--seeds", default="0:100")
    options.add_argument("--seconds", type=float, default=1e9)
    given = options.parse_args(arguments)
    part, parts = map(int, given.part.split("/"))
    warnings.simplefilter("ignore")
    if numba.config.DISABLE_JIT:
        from tests.compiler.plain import stand_ins

        stand_ins()
    from tests.helpers.tiny import tiny

    seeds = range(*map(int, given.seeds.split(":")))
    runs = [(name, run) for name, run in asked(given.what, given.kind, seeds) if given.only in name][part::parts]
    began, done, failed, told = time.monotonic(), 0, [], Counter[str]()
    with tiny(given.kind, given.tile) as layouts:
        for name, run in runs:
            if time.monotonic() - began > given.seconds:
                break
            try:
                run()
                done += 1
            except Exception as error:
                failed.append(name)
                line = str(error).strip().splitlines()[:3]
                told[f"{type(error).__name__}"] += 1
                print(f"FAILED {name}: {type(error).__name__} {line}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{done} of {len(runs)} runs, {len(failed)} failed {dict(told)}; layouts {dict(sorted(layouts.items()))}")
    several = sum(n for (slabs, tiles), n in layouts.items() if slabs > 1 and tiles > 1)
    return len(failed) + (several == 0)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
