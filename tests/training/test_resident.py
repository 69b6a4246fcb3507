"""Training on a CUDA device, in the simulator: equal to training on the CPU, and nothing between its launches."""

import importlib.util
import os
import subprocess
import sys

import numba
import pytest
from numba import types

from ppl.kernels.cuda import ptx, table_gradients
from ppl.kernels.cuda import training_steps as training

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT")


@pytest.mark.cuda
@pytest.mark.parametrize("what", ["rules", "tables", "runs", "stops", "captured", "threads"])
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


@pytest.mark.skipif("not ptx.is_available()", reason=f'needs pip install "{ptx.REQUIREMENT}"')
def test_sorts_and_sums_of_rows_become_code_of_devices():
    words, counts, floats, number = types.int32[::1], types.int64[::1], types.float32[::1], types.int64
    summed = (floats, counts, number, number, words, words, number)
    signatures = {
        table_gradients.name_rows: (words, words, counts, number, number, number, number),
        table_gradients.count_digits: (words, words, number, number),
        table_gradients.begin_digits: (words, number),
        table_gradients.move_digits: (words, words, words, words, words, number, number),
        table_gradients.add_rows: (floats, number, *summed),
        table_gradients.clear_rows: (floats, number, number),
        table_gradients.examine_peak: (floats, number, floats, counts),
    }
    signatures |= {
        kernel: (*[floats] * 3, number, *summed, floats, counts) for kernel in table_gradients.UPDATES.values()
    }
    for kernel, signature in signatures.items():
        made = ptx.compile_cubin(kernel, signature, (8, 0))
        assert not made.float64 and made.stack == made.spilled == 0 and made.registers <= 128
