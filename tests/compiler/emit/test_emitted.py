"""Emitted programs: no float64 in float32 code, vector instructions, disk cache, use from nopython code."""

import inspect
import os
import re
import subprocess
import sys

import numba
import numpy as np
import pytest

from ppl.runtime.executable import compile_request
from tests.compiler import graphs


@pytest.fixture
def kernels_of(tmp_path, monkeypatch):
    """LLVM of every kernel of a test program, compiled afresh (Numba shows no code that it read from its cache)."""
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path / "cache"))

    def make(name: str) -> dict[str, tuple[str, str]]:
        for module in [m for m in sys.modules if m.startswith("ppl_program_")]:
            monkeypatch.delitem(sys.modules, module)
        found = {}
        module = graphs.check(graphs.GRAPHS[name](), "float32").module
        for key, value in list(vars(module).items()):
            if not hasattr(value, "py_func") or value.py_func.__module__ != module.__name__:
                continue
            for form in [x for x in (value, value.bare()) if getattr(x, "signatures", None)]:
                (signature,) = form.signatures
                parts = form.inspect_llvm(signature).split("define ")
                code = "".join(p for p in parts if "cpython" not in p.split("(")[0])
                found[key] = inspect.getsource(value.py_func if "_kernel_" in key else module), code
        assert found
        return found

    return make


ACCUMULATING = re.compile(r"fadd|fpext|phi |load|store|ret |extractelement|insertelement|shufflevector|reduce\.fadd"
                          r"|alloca|select|getelementptr|bitcast|inttoptr|fptrunc")  # fmt: skip
"""What float64 may occur in, where a float32 kernel adds to a named accumulator (`sums`)."""


def doubles(source: str, code: str) -> list[str]:
    """Lines of LLVM with float64 that `source`, in float32, does not account for."""
    lines = [x for x in code.splitlines() if re.search(r"\bdouble\b", x) and "declare" not in x]
    return [x for x in lines if "sums[" not in source or not ACCUMULATING.search(x)]


@pytest.mark.parametrize("name", ["unary_chain", "softmax_matrix", "dense_layers", "scalar_rebar"])
def test_no_double_in_float32_programs(name, kernels_of):
    for kernel, (source, code) in kernels_of(name).items():
        assert not doubles(source, code), kernel


@pytest.mark.parametrize("name", ["dense_layers", "softmax_matrix"])
def test_row_kernels_vectorise(name, kernels_of):
    for kernel, (_, code) in kernels_of(name).items():
        if re.match(r"rows_\d+_kernel_", kernel):
            assert re.search(r"<\d+ x float>", code), kernel


SECOND = """
import time
from tests.compiler import graphs
executable = graphs.check(graphs.GRAPHS["dense_layers"](), "float32")
made = [f for f in vars(executable.module).values() if hasattr(f, "bare")]
stats = [x.stats for f in made for x in (f, f.bare()) if hasattr(x, "stats")]
hits, misses = (sum(sum(getattr(s, name).values()) for s in stats) for name in ("cache_hits", "cache_misses"))
print(hits, misses)
"""


def test_disk_cache_hits_in_a_second_process(tmp_path):
    env = {**os.environ, "PPL_CACHE_DIR": str(tmp_path / "cache")}
    counts = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", SECOND], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        counts.append(tuple(map(int, done.stdout.split())))
    assert counts[0][1] > 0 and counts[1][0] > 0 and counts[1][1] == 0


OWN_CODE = """
import numba
import numpy as np
from ppl.runtime.executable import compile_request
from tests.compiler import graphs

g = graphs.GRAPHS["dense_layers"]()
executable = compile_request(graphs.request_of(g))
params, inputs = graphs.data_of(g, "float32")
(x,) = inputs.values()
fn = executable.njit

@numba.njit(cache=True)
def own(params, grad, empty, x, work):
    return fn(params, grad, empty, empty, 4, 3, 0, 1.0, work, x)

empty = np.zeros(0, np.float32)
print(own(params, np.zeros_like(params), empty, x, executable.workspace(x.shape[0], 2)))
print(sum(own.stats.cache_hits.values()))
"""


def test_users_cached_function_finds_shared_kernels(tmp_path):
    (tmp_path / "own.py").write_text(OWN_CODE)
    env = {**os.environ, "PPL_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    env["PYTHONPATH"] = os.pathsep.join([os.getcwd(), env.get("PYTHONPATH", "")])
    outputs = []
    for _ in range(2):
        done = subprocess.run([sys.executable, tmp_path / "own.py"], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split())
    (first, misses), (second, hits) = outputs
    assert first == second and (misses, hits) == ("0", "1")


def test_njit_in_users_loop_and_prange():
    g = graphs.GRAPHS["dense_layers"]()
    executable = compile_request(graphs.request_of(g))
    params, inputs = graphs.data_of(g, "float32")
    (x,) = inputs.values()
    fn, empty = executable.njit, np.zeros(0, np.float32)
    expected = [executable.run(params, inputs=[x], particles=2, seed=4, step=s, threads=1) for s in range(4)]

    @numba.njit
    def serially(params, grad, empty, x, work, steps):
        loss = np.float32(0)
        for s in range(steps):
            loss += fn(params, grad, empty, empty, 4, s, 0, 1.0, work, x)
        return loss

    grad = np.empty_like(params)
    loss = serially(params, grad, empty, x, executable.workspace(x.shape[0], 2), 4)
    assert loss == pytest.approx(sum(e.scalars["loss"] for e in expected), rel=1e-5)
    np.testing.assert_array_equal(grad, expected[-1].grad)

    w, v = executable.workspace(x.shape[0], 2)
    ws, vs, grads = np.stack([w] * 4), np.stack([v] * 4), np.empty((4, params.size), np.float32)

    @numba.njit(parallel=True)
    def at_once(params, grads, empty, x, ws, vs):
        for s in numba.prange(4):
            fn(params, grads[s], empty, empty, 4, s, 0, 1.0, (ws[s], vs[s]), x)

    at_once(params, grads, empty, x, ws, vs)
    for s in range(4):
        np.testing.assert_array_equal(grads[s], expected[s].grad)


def test_memory_does_not_grow_with_rows():
    executable = compile_request(graphs.request_of(graphs.GRAPHS["dense_layers"]()))
    few, many = (executable.workspace(rows, 2)[0].size for rows in (100_000, 1_000_000))
    assert many < 2 * few < 10_000_000 / 4


def test_a_run_repeats_bit_for_bit_and_returns_fresh_arrays():
    g = graphs.GRAPHS["branches"]()
    executable = compile_request(graphs.request_of(g))
    params, inputs = graphs.data_of(g, "float32")
    runs = [executable.run(params, inputs=list(inputs.values()), particles=2, seed=1, threads=2) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].grad, runs[1].grad)
    assert runs[0].grad is not runs[1].grad and not np.shares_memory(runs[0].grad, runs[1].grad)
