"""Every test graph, compiled, against the interpreter: in one tile or many, on one thread or two, with row ids."""

import os
import re
import subprocess
import sys

import numba
import numpy as np
import pytest

import ppl
from ppl.kernels.internals.lowering import refusals
from ppl.runtime.executable import compile_request
from tests.compiler import graphs

SOME_IDS = np.array([3, 4, 5, 9, 11, 12, 13, 20, *range(40, 69)])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if i % 3 else ()) for i, n in enumerate(graphs.GRAPHS)]
)
def test_float32(name):
    executable = graphs.check(graphs.GRAPHS[name](), "float32", ids=SOME_IDS)
    functions = [getattr(vars(executable.module)[f.name], "py_func", None) for f in executable.functions]
    reasons = [refusals[f] for f in functions if f in refusals]
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
    monkeypatch.setattr("ppl.compiler.emit.slab_reductions.MERGED_BY_ALL", 0)
    executable = graphs.check(graphs.GRAPHS["dense_layers"](), "float64", threads=(1, 2))
    assert executable.module.ENTRY_POINTS[-1].__name__ == "merge"


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_everything_as_plain_python(every):
    """The emitted source runs without Numba, too: graphs, tile sizes, slabs and ids, in float64."""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.compiler.plain", *list(graphs.GRAPHS)[::every]]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def weighted(x, weight):
    return x * weight[0]


@pytest.mark.parametrize("kind", ["external", "solve"])
def test_steps_read_constants_of_one_entry(kind):
    """Such a constant is written where it is used, and steps read memory."""
    constant = np.array([0.8])

    @ppl.model
    def model(x):
        w = ppl.param("w", 2.0)
        with ppl.plate("data", x) as x:
            found = ppl.external(numba.njit(weighted), x, constant) if kind == "external" else x * solved(w)
            ppl.cost("loss", w + found)

    def solved(w):
        return np.linalg.solve(w.reshape(1, 1), constant)[0]

    x = np.arange(1.0, 6.0)
    program = ppl.compile(model, data=x, dtype="float64")
    wanted = np.sum(2.0 + x * (0.8 if kind == "external" else 0.4))
    np.testing.assert_allclose(program.value(program.init(0), x), wanted, rtol=1e-12)


def test_region_counts():
    counts = {"dense_layers": 1, "centred": 3, "two_plates": 3, "unplated": 0, "scalar_rebar": 0}
    for name, regions in counts.items():
        assert compile_request(graphs.request_of(graphs.GRAPHS[name]())).regions == regions, name
