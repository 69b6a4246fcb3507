"""Run test graphs on the CUDA simulator: `NUMBA_ENABLE_CUDASIM=1 python -m tests.compiler.simulated [names]`."""

import sys

from tests.compiler import graphs
from tests.compiler.test_graphs import SOME_IDS

NAMES = ("scalar_rebar", "softmax_matrix", "dense_layers", "row_outputs")


def main(names: list[str]) -> None:
    for name in names or NAMES:
        for ids in (None, SOME_IDS[:7]):
            graphs.check(graphs.GRAPHS[name](), "float64", rows=7, ids=ids, target="cuda")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
