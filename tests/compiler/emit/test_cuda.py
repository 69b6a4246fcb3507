"""The CUDA emitter: programs in the simulator equal the interpreter; kernels become code of real devices."""

import importlib.util
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import ppl
from benchmarks.workloads.cubins import types_of
from ppl.compiler.emit import python
from ppl.errors import ModelError
from ppl.kernels.cuda import ptx
from ppl.runtime.executable import compile_request
from tests.compiler import graphs

DTYPES = ("float64", "float32")

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT")


RACES = ["races", "branches", "pieces", "lanes_of_draws"]

SHARE = [
    *("graphs every=11", "laws every=13", "laws rows=7 every=17", "distributions every=70", "loops every=17"),
    *("calls every=17", "users several", "unordered team softmax_matrix", "unordered block dense_layers"),
]
"""What is checked in every run of the tests; dtypes take turns."""

WHOLE = ("graphs", "laws", "loops", "distributions", "replays", "calls", "users")

ALL = [
    "races",
    *(f"{what} dtype={dtype}" for what in WHOLE for dtype in DTYPES),
    *(f"{what} dtype={dtype} rows=1" for what in ("graphs", "laws", "replays") for dtype in DTYPES),
    *(f"{what} dtype={dtype} rows=7" for what in ("laws", "replays") for dtype in DTYPES),
    *(f"{what} dtype={dtype} rows=37" for what in ("graphs", "laws", "replays every=4") for dtype in DTYPES),
]
"""The rest."""


@pytest.mark.cuda
@pytest.mark.parametrize("what", [*SHARE, " ".join(RACES), *(pytest.param(x, marks=pytest.mark.slow) for x in ALL)])
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_programs_run_in_the_simulator(what):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "tests.compiler.simulated", *what.split()]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.cuda
@pytest.mark.parametrize(
    "what",
    [
        ["graphs", "dense_layers", "tables", "scanned"],
        pytest.param(["graphs"], marks=pytest.mark.slow),
        pytest.param(["laws"], marks=pytest.mark.slow),
    ],
)
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_the_checked_build_runs_in_the_simulator(what):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PPL_CHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiler.simulated", *what], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= 3


SPILLED = {"linear_algebra": 8}
"""Bytes of registers that do not fit."""

COMPILED = [("scalar_rebar", (8, 0)), ("dense_layers", (9, 0)), ("scanned", (8, 0))]
"""What is compiled in every run of the tests."""


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
@pytest.mark.parametrize(
    ("name", "cc"),
    [
        pytest.param(name, cc, marks=() if (name, cc) in COMPILED else pytest.mark.slow)
        for name in ("scalar_rebar", "dense_layers", "scanned", "tables", "recurrent", "linear_algebra")
        for cc in ((8, 0), (9, 0))
    ],
)
def test_kernels_become_code_of_devices(name, cc):
    executable = compile_request(graphs.request_of(graphs.GRAPHS[name]()), "float32", "cuda")
    kernels = [f for f in executable.functions if f.form == "launch"]
    assert kernels
    for function in kernels:
        made = ptx.compile_cubin(getattr(executable.module, function.name), types_of(function), cc)
        assert made.code[:4] == b"\x7fELF"
        assert made.stack == made.spilled <= SPILLED.get(name, 0)


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
def test_kernels_that_call_users_functions_become_code_of_devices():
    """These make arrays, and may raise exceptions."""
    executable = compile_request(graphs.request_of(graphs.GRAPHS["externals"]()), "float32", "cuda")
    kernels = [f for f in executable.functions if f.form == "launch"]
    sources = [str(python.function(f)) for f in kernels]
    assert any("attempt(area_gradient" in text for text in sources)
    for function in kernels:
        made = ptx.compile_cubin(getattr(executable.module, function.name), types_of(function))
        assert made.code[:4] == b"\x7fELF" and made.spilled == 0


@numba.njit
def unsupported(x):
    return np.linalg.norm(x)


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
def test_users_functions_that_devices_cannot_run_are_refused_when_a_model_is_compiled():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("w", 0.5) * x))
            ppl.cost("c", ppl.external(unsupported, b, name="far"))

    with pytest.raises(ModelError, match=r"external function 'far': unsupported\(\) cannot be compiled for CUDA"):
        ppl.compile(model, target="cuda", data=np.ones((4, 3)))
    assert ppl.compile(model, data=np.ones((4, 3)))
