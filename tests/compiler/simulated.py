"""Test graphs and laws on the CUDA simulator: `NUMBA_ENABLE_CUDASIM=1 python -m tests.compiler.simulated WHAT [names]`.

WHAT is `graphs`, every op in small graphs, or `laws`, estimators on law graphs.
"""

import sys
import warnings
from dataclasses import replace

from ppl.compiler.lower import target as targets
from tests.compiler import graphs
from tests.compiler.test_graphs import SOME_IDS

REFUSED = ("externals", "relax of a black box")
"""What calls users' functions, which do not run on CUDA."""


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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"graphs": run_graphs, "laws": run_laws}[sys.argv[1]](sys.argv[2:])
