"""Bugs found by using the package: each a minimal reproduction that failed before it was mended."""

import os
import subprocess
import sys
import threading
import time

import numpy as np

import ppl
import ppl.estimators
from ppl.runtime import cache

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


def test_a_small_program_without_plates_samples_two_sites():
    @ppl.model
    def pair():
        a = ppl.sample("a", ppl.Bernoulli(logits=ppl.param("p", 0.0)))
        ppl.cost("c", a + ppl.sample("b", ppl.Normal(a, 1.0)))

    program = ppl.compile(pair, estimators=ppl.estimators.ScoreFunction(), dtype="float64")
    state = program.init(0)
    one, two = program.sample(state), program.sample(state, particles=2)
    assert one["a"].shape == () and two["b"].shape == (2,)
    assert np.array_equal(one["a"], program.sample(state, particles=1)["a"][0])
    assert np.isclose(one["a"] + one["b"], program.value(state))


def test_functions_without_an_importable_name_run_in_a_second_process(tmp_path):
    """Numba's disk cache held the first process's function, and failed with "No module named '<dynamic>'"."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numba, ppl\n"
        "def main():\n"
        "    @numba.njit\n"
        "    def square(x):\n"
        "        return x * x\n"
        "    @ppl.model\n"
        "    def model():\n"
        "        z = ppl.sample('z', ppl.Normal(ppl.param('theta', 0.37), 1.0))\n"
        "        ppl.cost('c', ppl.external(square, z))\n"
        "    p = ppl.compile(model)\n"
        "    print(p.value(p.init(0), particles=200))\n"
        "main()\n"
    )
    environment = {**os.environ, "PPL_CACHE_DIR": str(tmp_path / "cache")}
    runs = [subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment) for _ in "ab"]
    assert [r.returncode for r in runs] == [0, 0], runs[1].stderr
    assert runs[0].stdout == runs[1].stdout != ""
