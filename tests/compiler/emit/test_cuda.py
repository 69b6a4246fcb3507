"""The CUDA emitter: programs in the simulator equal the interpreter; kernels become code of real devices."""

import importlib.util
import os
import subprocess
import sys

import numba
import pytest

from benchmarks.workloads.cubins import types_of
from ppl.kernels.cuda import ptx
from ppl.runtime.executable import compile_request
from tests.compiler import graphs

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT")


@pytest.mark.cuda
@pytest.mark.parametrize(
    "what",
    [
        *(pytest.param([w], id=w) for w in ("graphs", "laws", "distributions")),
        pytest.param(["races", "softmax_matrix", "branches", "pieces", "recurrent", "lanes_of_draws"], id="some races"),
        pytest.param(["races"], id="races", marks=pytest.mark.slow),
        pytest.param(["unordered", "team", "softmax_matrix"], id="unordered teams"),
        pytest.param(["unordered", "block", "dense_layers"], id="unordered blocks"),
        pytest.param(["replays"], id="replays", marks=pytest.mark.slow),
    ],
)
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_programs_run_in_the_simulator(what):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "tests.compiler.simulated", *what]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= (5 if "races" in what else 1 if "unordered" in what else 20)


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
@pytest.mark.parametrize("cc", [(8, 0), (9, 0)])
@pytest.mark.parametrize("name", ["scalar_rebar", "dense_layers", "scanned", "tables"])
def test_kernels_become_code_of_devices(name, cc):
    executable = compile_request(graphs.request_of(graphs.GRAPHS[name]()), "float32", "cuda")
    kernels = [f for f in executable.functions if f.form == "launch"]
    assert kernels
    for function in kernels:
        made = ptx.compile_cubin(getattr(executable.module, function.name), types_of(function), cc)
        assert made.code[:4] == b"\x7fELF"
        assert made.stack == made.spilled == 0
