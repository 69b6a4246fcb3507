"""Test graphs and laws on the CUDA simulator: `NUMBA_ENABLE_CUDASIM=1 python -m tests.compiler.simulated WHAT [names]`.

WHAT is `graphs`, every op in small graphs; `laws`, estimators on law graphs; `replays`, all that law graphs admit;
`distributions`, draws and densities of all distributions, beside those of the CPU; `races`, graphs and laws watched;
`unordered`, what the watch must see.
"""

import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

import ppl
from ppl.compiler.lower import target as targets
from tests.compiler import graphs
from tests.compiler.test_graphs import SOME_IDS

REFUSED = ("externals", "relax of a black box")
"""What calls users' functions, which do not run on CUDA."""

BLACK_BOXES = ("black_box",)
"""Law graphs that do."""


def run_graphs(names: list[str]) -> None:
    """Rows of one and of several slabs, consecutive and not, in both precisions."""
    for number, name in enumerate(names or graphs.GRAPHS):
        if name in REFUSED:
            continue
        dtype = "float32" if number % 3 == 2 else "float64"
        sharing = replace(
            targets.CUDA.sharing, plain_rows=3, product_rows=3, loop_rows=3, quiet_loop_rows=3, operations=1
        )
        for rows, ids, target in ((1, None, targets.CUDA), (7, SOME_IDS[:7], replace(targets.CUDA, sharing=sharing))):
            graphs.check(graphs.GRAPHS[name](), dtype, rows=rows, ids=ids, target=target)
        print(name, flush=True)


def run_laws(names: list[str]) -> None:
    """Loss, gradient and auxiliary variables equal to the interpreter's."""
    from tests.estimators.test_compiled import CASES
    from tests.helpers.replay import replay

    targets.TARGETS = {**targets.TARGETS, "cpu": targets.CUDA}
    for name in names or CASES:
        if name not in REFUSED:
            replay(CASES[name], "float64", 1e-9)
            print(name, flush=True)


def run_replays(names: list[str]) -> None:
    """Every estimator on every node of every law graph, in the dtype that is named first, if any."""
    from tests.estimators.test_replay import cases
    from tests.helpers.replay import replay

    targets.TARGETS = {**targets.TARGETS, "cpu": targets.CUDA}
    dtype = names[0] if names else "float64"
    for name, case in cases():
        if case.law not in BLACK_BOXES:
            replay(case, dtype, 1e-9 if dtype == "float64" else 2e-4)
            print(name, flush=True)


def _rows_of(dist: Any) -> Any:
    """A plate of draws, and the sum of their log-densities."""

    @ppl.model
    def model(x: Any) -> None:
        with ppl.plate("data", x) as x:
            z = ppl.sample("z", dist)
            ppl.cost("density", dist.log_prob(ppl.stop_gradient(z)))

    return model


def run_distributions(names: list[str]) -> None:
    """Draws of a plate and their densities, at the first parameters that every distribution is checked at."""
    sys.path.append("tests/distributions")
    from distribution_laws import LAWS, build

    here = targets.TARGETS
    for name in names or LAWS:
        dist = build(name, LAWS[name].cases[0])
        found = []
        for target in (targets.CPU, targets.CUDA):
            targets.TARGETS = {**here, "cpu": target}
            program = ppl.compile(_rows_of(dist), dtype="float64", data=np.zeros(7))
            state = program.init(3, np.zeros(7))
            found.append((program.sample(state, np.zeros(7))["z"], program.value(state, np.zeros(7))))
        (expected, total), (drawn, here_total) = found
        np.testing.assert_allclose(drawn, expected, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(here_total, total, rtol=1e-9, atol=1e-9, err_msg=name)
        print(name, flush=True)


def run_races(names: list[str]) -> None:
    """Small graphs and laws while a watch looks for threads that are not ordered."""
    from tests.compiler.races import watch

    watch()
    run_graphs(names)
    if not names:
        run_laws([])


def run_unordered(names: list[str]) -> None:
    """The first name says what does not wait, a team or a block: the watch sees it in the graph that follows."""
    from ppl.kernels.cuda import compat, teams
    from tests.compiler import races

    races.watch()
    kind, graph = names
    setattr(*((teams, "team_together") if kind == "team" else (compat, "together")), races.unordered)
    try:
        run_graphs([graph])
    except races.Race as race:
        print(race)
    else:
        raise SystemExit(f"nothing orders the threads of a {kind}, and the watch has not seen it")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    runs = {"graphs": run_graphs, "laws": run_laws, "replays": run_replays, "distributions": run_distributions}
    runs |= {"races": run_races, "unordered": run_unordered}
    runs[sys.argv[1]](sys.argv[2:])
