"""The CUDA emitter in the simulator, against the interpreter."""

import importlib.util
import os
import subprocess
import sys

import pytest


@pytest.mark.cuda
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_programs_run_in_the_simulator():
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "tests.compiler.simulated"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
