"""Training on a CUDA device, in the simulator: equal to training on the CPU, and nothing between its launches."""

import importlib.util
import os
import subprocess
import sys

import numba
import pytest
from numba import types

from ppl.kernels.cuda import ptx, training

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT")


@pytest.mark.cuda
@pytest.mark.parametrize("what", ["rules", "runs", "stops", "captured"])
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_training_in_the_simulator(what):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "tests.training.simulated", what]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
@pytest.mark.parametrize("rule", training.STEPS)
def test_updates_become_code_of_devices(rule):
    """In float32 nothing is computed in float64, nothing spills."""
    floats, counts, clock, number = types.float32[::1], types.int64[::1], types.uint64[::1], types.int64
    update, finish = training.STEPS[rule]
    rest = (floats, floats, floats, number, floats, number, floats, floats, floats, clock, counts)
    for kernel, signature in ((update, (*[floats] * 5, counts)), (finish, (*[floats] * 4, *rest))):
        made = ptx.compile_cubin(kernel, signature, (9, 0))
        assert not made.float64 and made.stack == made.spilled == 0 and made.registers <= 128
