"""Programs on the CUDA simulator: `NUMBA_ENABLE_CUDASIM=1 python -m tests.compiler.simulated WHAT [options] [names]`.

WHAT is a name of `CASES`; or `races`, graphs and laws watched; or `unordered`, what the watch must see. Options are
`dtype=float32`, else both take turns; `rows=7`, for a minibatch of so many rows instead of a law's own data; `every=3`,
every third case.
"""

import itertools
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import ppl
from ppl.compiler.lower import target as targets
from ppl.runtime.executable import compile_request
from tests.compiler import calls, graphs, users
from tests.compiler.test_graphs import SOME_IDS

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
MINIBATCHES = (1, 7, 37)

Case = tuple[str, Callable[[str], Any]]
"""A name, and what checks it in a dtype; it returns False where there is nothing to check."""


def on_cuda() -> None:
    """Compile for CUDA what asks for the CPU."""
    targets.TARGETS = {**targets.TARGETS, "cpu": targets.CUDA}


def graph_cases(rows: int | None) -> Iterator[Case]:
    """Every op in small graphs: rows of one and of several slabs, consecutive and not."""
    sharing = replace(targets.CUDA.sharing, plain_rows=3, product_rows=3, loop_rows=3, quiet_loop_rows=3, operations=1)
    several = replace(targets.CUDA, sharing=sharing)

    def check(name: str, dtype: str) -> None:
        if rows in (None, 1):
            graphs.check(graphs.GRAPHS[name](), dtype, rows=1, target=targets.CUDA)
        if rows != 1:
            graphs.check(graphs.GRAPHS[name](), dtype, rows=rows or 7, ids=SOME_IDS[: rows or 7], target=several)

    yield from ((name, partial(check, name)) for name in graphs.GRAPHS)


def law_cases(rows: int | None) -> Iterator[Case]:
    """Loss, gradient and auxiliary variables of chosen estimators on law graphs equal to the interpreter's."""
    from tests.estimators.test_compiled import CASES
    from tests.helpers.replay import replay

    on_cuda()
    for name, case in CASES.items():
        yield name, lambda dtype, case=case: replay(case, dtype, TOLERANCE[dtype], rows)


def replay_cases(rows: int | None) -> Iterator[Case]:
    """The same of every estimator on every node of every law graph."""
    from tests.estimators.test_replay import cases
    from tests.helpers.replay import replay

    on_cuda()
    for name, case in cases():
        yield name, lambda dtype, case=case: replay(case, dtype, TOLERANCE[dtype], rows)


def loop_cases(rows: int | None) -> Iterator[Case]:
    """Loops over time, without rows and with some, which store all steps or every second one."""
    from tests.compiler.test_loops import compare
    from tests.helpers.loop_programs import PROGRAMS, request

    def check(program: str, remat: Any, count: int | None, dtype: str) -> None:
        executable = compile_request(request(program, count is not None, remat=remat), dtype, targets.CUDA)
        compare(program, executable, count, np.dtype(dtype).type, TOLERANCE[dtype])

    counts = (None, *MINIBATCHES) if rows is None else (rows,)
    for program, remat, count in itertools.product(PROGRAMS, (None, 2), counts):
        yield f"{program}, remat {remat}, rows {count}", partial(check, program, remat, count)


def _rows_of(dist: Any) -> Any:
    """A plate of draws, and the sum of their log-densities."""

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", dist)
            ppl.cost("density", dist.log_prob(ppl.stop_gradient(z)))

    return model


def distribution_cases(rows: int | None) -> Iterator[Case]:
    """Draws of a plate and their densities, beside those of the CPU; counts and classes are the same numbers."""
    sys.path.append("tests/distributions")
    from distribution_laws import LAWS, build

    def check(name: str, number: int, dtype: str) -> None:
        dist, data, found = build(name, LAWS[name].cases[number]), np.zeros(rows or 7), []
        for target in ("cpu", "cuda"):
            program = ppl.compile(_rows_of(dist), dtype=dtype, data=data, target=target)
            state = program.init(3, data)
            found.append((program.sample(state, data)["z"], program.value(state, data)))
        (expected, total), (drawn, total_here) = found
        close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype], "err_msg": name}
        whole = bool(np.all(expected == np.round(expected)))
        np.testing.assert_allclose(drawn, expected, **({"rtol": 0, "err_msg": name} if whole else close))
        np.testing.assert_allclose(total_here, total, **close)

    for name, law in LAWS.items():
        for number in range(len(law.cases)):
            yield f"{name} {number}", partial(check, name, number)


CASES: dict[str, Callable[[int | None], Iterator[Case]]] = {
    "calls": lambda rows: calls.cases(TOLERANCE),
    "users": lambda rows: users.cases(TOLERANCE),
    "graphs": graph_cases,
    "laws": law_cases,
    "replays": replay_cases,
    "loops": loop_cases,
    "distributions": distribution_cases,
}


def run(what: str, names: list[str], dtype: str = "", rows: str = "", every: str = "1") -> None:
    """Check the cases of those names, or all."""
    number = 0
    for name, check in itertools.islice(CASES[what](int(rows) if rows else None), 0, None, int(every)):
        if names and name not in names:
            continue
        chosen = dtype or list(TOLERANCE)[number % 2]
        try:
            done = check(chosen)
        except Exception as error:
            error.add_note(f"{name}, {chosen}")
            raise
        if done is not False:
            number += 1
            print(name, chosen, flush=True)


def run_races(names: list[str]) -> None:
    """Small graphs and laws while a watch looks for threads that are not ordered."""
    from tests.compiler.races import watch

    watch()
    run("graphs", names)
    if not names:
        run("laws", [])


def run_unordered(names: list[str]) -> None:
    """The first name says what does not wait, a team or a block: the watch sees it in the graph that follows."""
    from ppl.kernels.cuda import compat, teams
    from tests.compiler import races

    races.watch()
    kind, graph = names
    setattr(*((teams, "team_together") if kind == "team" else (compat, "together")), races.unordered)
    try:
        run("graphs", [graph])
    except races.Race as race:
        print(race)
    else:
        raise SystemExit(f"nothing orders the threads of a {kind}, and the watch has not seen it")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, *words = sys.argv[1:]
    names = [word for word in words if "=" not in word]
    if what in CASES:
        run(what, names, **dict(word.split("=") for word in words if "=" in word))
    else:
        {"races": run_races, "unordered": run_unordered}[what](names)
