"""What users edit between two processes reaches the second one, and their own cached functions load in any process."""

from tests.processes.programs import run

ENERGY = """
import numba
import helpers
from helpers import FACTOR, squared

@numba.vectorize("float64(float64)", cache=True)
def scaled(x):
    return x * FACTOR

@numba.njit(cache=True)
def energy(t):
    return scaled(squared(t))

@numba.njit(cache=True)
def slope(t, g):
    return (2.0 * t * helpers.FACTOR * g,)
"""
HELPERS = """
import numba
FACTOR = 3.0

@numba.njit(cache=True)
def squared(x):
    return x * x + 0.0
"""
EXTERNAL = """
import sys
from energy import energy, slope
import ppl

if "first" in sys.argv:
    energy(1.0)  # which Numba may read from its own cache, as it was

@ppl.model
def model():
    ppl.cost("c", ppl.external(energy, ppl.param("t", 0.5), gradient=slope))

program = ppl.compile(model, dtype="float64")
loss, grads = program.value_and_grad(program.init(0))
print(loss, float(grads["t"]), energy(0.5))
"""


def _script(folder, text):
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def test_edits_of_helpers_and_constants_reach_an_external_function(tmp_path):
    script, folder = _script(tmp_path, EXTERNAL), tmp_path / "programs"
    (tmp_path / "energy.py").write_text(ENERGY)
    (tmp_path / "helpers.py").write_text(HELPERS)
    assert run(script, folder).split() == ["0.75", "3.0", "0.75"]
    (tmp_path / "helpers.py").write_text(HELPERS.replace("3.0", "5.0  # edited"))
    assert run(script, folder, "first").split() == ["1.25", "5.0", "1.25"]
    (tmp_path / "helpers.py").write_text(HELPERS.replace("+ 0.0", "+ 1.0"))
    assert run(script, folder).split() == ["3.75", "3.0", "3.75"]


SURROUNDINGS = """
import os
from typing import NamedTuple

import numba
import numpy as np
import package.inner as renamed
from package import inner

FACTOR = float(os.environ["FACTOR"])
TABLE = np.arange(3.0) * FACTOR

class Settings(NamedTuple):
    power: float
    scale: float

SETTINGS = Settings(1.0, FACTOR)

@numba.njit
def of_a_global(key, t):
    return FACTOR * t, FACTOR

@numba.njit
def of_an_array(key, t):
    return TABLE[1] * t, FACTOR

@numba.njit
def of_a_tuple(key, t):
    return SETTINGS.scale * t, FACTOR

@numba.njit
def of_a_module(key, t):
    return inner.FACTOR * t, FACTOR

@numba.njit
def of_a_function_there(key, t):
    return renamed.times(t), FACTOR

@numba.njit
def of_a_default(key, t, factor=FACTOR):
    return factor * t, FACTOR

@numba.njit
def of_any_number(*given):
    return FACTOR * given[1], FACTOR

def made(factor):
    @numba.njit
    def of_a_closure(key, t):
        return factor * t, FACTOR
    return of_a_closure

of_a_closure = made(FACTOR)

def of_python(key, t):
    return inner.deeper.scaled(t), FACTOR

FUNCTIONS = [of_a_global, of_an_array, of_a_tuple, of_a_module, of_a_function_there, of_a_default, of_any_number]
FUNCTIONS += [of_a_closure, of_python]
"""
INNER = """
import os
import numba
from package import deeper
FACTOR = float(os.environ["FACTOR"])

@numba.njit
def times(t):
    return deeper.scaled(t)
"""
DEEPER = """
import os
import numba
FACTOR = float(os.environ["FACTOR"])

@numba.njit
def scaled(t):
    return FACTOR * t
"""
ALL = """
import ppl
from surroundings import FUNCTIONS

for fn in FUNCTIONS:
    python = fn.__name__ == "of_python"

    @ppl.model
    def model():
        t = ppl.external(fn, ppl.param("t", 0.5), score=True, python=python)
        ppl.cost("c", t)

    program = ppl.compile(model, ppl.estimators.ScoreFunction(), dtype="float64")
    loss, grads = program.value_and_grad(program.init(0))
    print(loss, float(grads["t"]))
"""


def test_what_a_simulator_reaches_may_differ_between_processes_that_run_one_text(tmp_path):
    """Globals, arrays, tuples, modules behind modules, closures: all from the environment."""
    script, folder = _script(tmp_path, ALL), tmp_path / "programs"
    (tmp_path / "package").mkdir()
    texts = {"surroundings": SURROUNDINGS, "package/inner": INNER, "package/deeper": DEEPER, "package/__init__": ""}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    for factor in (3.0, 5.0, 3.0):
        found = run(script, folder, FACTOR=str(factor)).split()
        assert found == [str(0.5 * factor), str(0.5 * factor * factor)] * 9


CHAIN = """
import sys
import numba
import numpy as np
from ppl.kernels.generated.f32.cpu.noise import fill_uniform_f32

@numba.njit(cache=True)
def uniforms(out):
    fill_uniform_f32(out, 0, np.uint64(3), 0, 0, 0)

@numba.njit(parallel=True, cache=True)
def doubled(out):
    for i in numba.prange(out.shape[0]):
        out[i] *= 2

@numba.njit(cache=True)
def both(out):
    uniforms(out)
    doubled(out)
    return out.sum()

out = np.zeros(7, np.float32)
if "parts" in sys.argv:
    uniforms(out)
    doubled(out)
    print(float(out.sum()))
else:
    print(both(out), sum(both.stats.cache_hits.values()))
"""


def test_users_cached_functions_keep_what_their_callees_need(tmp_path):
    """The parts are cached; a caller is compiled with them from the disk; then it is read from the disk alone."""
    script, folder = _script(tmp_path, CHAIN), tmp_path / "programs"
    (total,) = run(script, folder, "parts").split()
    assert run(script, folder).split() == [total, "0"]
    assert run(script, folder).split() == [total, "1"]
    assert run(script, folder, PPL_CHECK="other").split() == [total, "0"]


MODEL = """
import ppl

@ppl.model
def model():
    t = ppl.param("t", 0.5)
    ppl.cost("c", 3.0 * t * t)

program = ppl.compile(model, dtype="float64")
"""
EMBEDDED = """
import numba
import numpy as np
from model import program

step = program.njit

@numba.njit(cache=True)
def loss(params, grad, aux, hyper, work):
    return step(params, grad, aux, hyper, 0, 0, 0, 1.0, work)

params, grad, aux, hyper = program.arrays(program.init(0))
print(loss(params, grad, aux, hyper, program.workspace()), grad[0], sum(loss.stats.cache_hits.values()))
"""


def test_a_cached_caller_of_a_program_follows_the_program(tmp_path):
    script, folder = _script(tmp_path, EMBEDDED), tmp_path / "programs"
    (tmp_path / "model.py").write_text(MODEL)
    assert run(script, folder).split() == ["0.75", "3.0", "0"]
    assert run(script, folder).split() == ["0.75", "3.0", "1"]
    (tmp_path / "model.py").write_text(MODEL.replace("3.0 * t", "5.0 * t"))
    assert run(script, folder).split() == ["1.25", "5.0", "0"]
