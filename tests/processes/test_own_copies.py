"""Machine code of programs leaves users' own compiled functions alone, also those that share code with simulators."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import numba, numpy as np, ppl

    def program(simulator, start):
        @ppl.model
        def model():
            z = ppl.sample("z", ppl.Normal(ppl.param("w", start), 1.0))
            ppl.cost("c", ppl.external(simulator, z))
        made = ppl.compile(model, dtype="float64")
        made.value_and_grad(made.init(0))
"""

HELPER = """
    @numba.njit
    def power(x, k):
        total = 0.0
        for i in range(10):
            total += np.sin(x * k + i) * np.exp(-k * i) + np.cos(k * x * i)
            if total > 1e6:
                total -= k
            for j in range(i):
                total += np.sqrt(abs(total) + k + j)
        return total

    program(numba.njit(lambda a: power(a, 2.0) + power(a + 1.0, 2.0) + power(a * a, 2.0)), 0.3)
    found = numba.njit(lambda a: power(a, 3.0) + power(a + 1.0, 3.0) + power(a * a, 3.0))(1.0)
    expected = 2 * power.py_func(1.0, 3.0) + power.py_func(2.0, 3.0)
    assert abs(found - expected) < 1e-9 * abs(expected), (found, expected)
"""

NUMPY = """
    x = np.array([1.0, 2.0, 3.5])
    start = np.array([0.3, 1.0, 2.0])
    program(numba.njit(lambda a: np.cumsum(a)[1] + np.cumsum(a)[2] + np.sort(a)[1] + np.sort(a)[0]), start)
    found = numba.njit(lambda a: np.cumsum(a)[2] + np.sort(a)[2])(x)
    assert found == 10.0, found
    program(numba.njit(lambda a: np.cumsum(a)[0] * a[1]), start)
"""


@pytest.mark.parametrize("code", [HELPER, NUMPY], ids=["helper", "numpy"])
def test_users_functions_are_their_own(code, tmp_path):
    script = tmp_path / "simulation.py"
    script.write_text(textwrap.dedent(PROGRAM) + textwrap.dedent(code))
    env = {**os.environ, "PPL_CACHE_DIR": str(tmp_path / "cache")}
    for _ in ("cold", "warm"):
        done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
