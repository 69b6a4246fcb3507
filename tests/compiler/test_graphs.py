"""Every test graph, compiled, against the interpreter: in one tile or many, on one thread or two, with row ids."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from ppl.kernels.internals.lowering import refused
from ppl.runtime.executable import compile_request
from tests.compiler import graphs

SOME_IDS = np.array([3, 4, 5, 9, 11, 12, 13, 20, *range(40, 69)])


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_float32(name):
    executable = graphs.check(graphs.GRAPHS[name](), "float32", ids=SOME_IDS)
    functions = [getattr(vars(executable.module)[f.name], "py_func", None) for f in executable.functions]
    reasons = [refused[f] for f in functions if f in refused]
    assert not [x for x in reasons if "may be an array of its own" not in x and not x.startswith("given")]


@pytest.mark.parametrize("name", ["dense_layers", "branches", "recurrent"])
def test_threads_and_tiles(name, monkeypatch):
    graphs.assume(monkeypatch, buffers={"product_tile": 20_000})
    graphs.check(graphs.GRAPHS[name](), "float64", threads=(1, 2))


def test_products_that_are_added_up_share_an_accumulator():
    executable = compile_request(graphs.request_of(graphs.GRAPHS["joined_products"]()))
    products = re.findall(r"gemm_f32\(True, False, I\(40\), I\(30\), n, .*tail\(w, (\w+_a)\)", executable.source)
    assert len(products) == 2 and len(set(products)) == 1


def test_large_gradients_are_added_up_by_all_threads(monkeypatch):
    monkeypatch.setattr("ppl.compiler.emit.sums.MERGED_BY_ALL", 0)
    executable = graphs.check(graphs.GRAPHS["dense_layers"](), "float64", threads=(1, 2))
    assert executable.module.ENTRY_POINTS[-1].__name__ == "merge"


def test_everything_as_plain_python():
    """The emitted source runs without Numba, too: all graphs, tile sizes, slabs and ids, in float64."""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-m", "tests.compiler.plain"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_region_counts():
    counts = {"dense_layers": 1, "centred": 3, "two_plates": 3, "unplated": 0, "scalar_rebar": 0}
    for name, regions in counts.items():
        assert compile_request(graphs.request_of(graphs.GRAPHS[name]())).regions == regions, name
