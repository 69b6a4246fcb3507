"""Bugs found by using the package: each a minimal reproduction that failed before it was mended."""

import threading
import time

import numpy as np

import ppl
import ppl.kernels.config  # what cache.load imports; it takes longer than the race
from ppl.compiler import cache

SLOW = """import time
time.sleep(0.5)
serial = {value}
"""


def test_a_module_loaded_by_two_threads_is_complete_in_both(tmp_path, monkeypatch):
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path))
    source = SLOW.format(value=time.time_ns())
    first = threading.Thread(target=cache.load, args=(source,))
    first.start()
    time.sleep(0.2)
    second = hasattr(cache.load(source), "serial")
    first.join()
    assert second


def test_a_branch_not_taken_keeps_its_nan_out_of_the_gradient():
    @ppl.model
    def guarded():
        a = ppl.param("a", -1.0)
        ppl.cost("c", np.where(a < 0.0, a, np.sqrt(a)))

    program = ppl.compile(guarded, dtype="float64")
    loss, grads = program.value_and_grad(program.init(0))
    assert loss == -1.0 and grads["a"] == 1.0
