"""What a first step loads of Numba and SciPy: in a process that compiles an edited program, in one that only reads."""

import numba
import pytest

from ppl.checked import CHECKED
from ppl.lazy import BRIEFLY
from tests.processes.programs import run

STEP = """
import sys
import numpy as np, ppl

rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)

@ppl.model
def model(x):
    w, b = ppl.param("w", ppl.init.normal(0.1), shape=(3, 4)), ppl.param("b", 0.0, shape=4)
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", ppl.StudentT(4.0, np.tanh(x @ w + b), float(sys.argv[1])))
        ppl.cost("c", np.sum(z * z))

program = ppl.compile(model, data=(rows,))
loss, grad = program.value_and_grad(program.init(0, rows), rows)
print(float(loss).hex(), [[float(x).hex() for x in np.ravel(grad[name])] for name in sorted(grad)])
seldom = "numba.typed.dictimpl", "scipy.linalg", "scipy.special", "cffi", "numpy.ma", "yaml", "importlib.metadata"
print(*(name for name in seldom if name in sys.modules))
print(*(name for name in ("numba.np.linalg", "numba.np.arrayobj", "numba.cpython.unicode") if name in sys.modules))

import numba
from numba.core.runtime import rtsys

print(rtsys._init)
made = numba.njit(lambda n: (np.ones(n) + 1.0, {1: n}))(3)
assert made[0].tolist() == [2.0, 2.0, 2.0] and dict(made[1]) == {1: 3} and rtsys._init
masked = np.ma.masked_array([1.0, 2.0], [True, False])
try:
    numba.njit(lambda x: x[0])(masked)
except numba.core.errors.TypingError as error:
    assert "MaskedArray" in str(error)
else:
    raise AssertionError("a masked array was taken")
"""
ALL = "from numba.core.registry import cpu_target\ncpu_target.target_context.refresh()\n" + STEP
"""The same when Numba has loaded all that it knows of."""

BLAS = """
import importlib.util, os, sys
import numba, numpy as np

make = importlib.util.module_from_spec

def module_from_spec(spec):
    print(spec.name, os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
    return make(spec)

{first}
importlib.util.module_from_spec = module_from_spec
import ppl.kernels.dispatchers
importlib.util.module_from_spec = make
assert ("scipy.linalg" in sys.modules) is {known}
x = np.arange(4.0).reshape(2, 2)
assert (numba.njit(lambda a: a @ a)(x) == x @ x).all()
assert ("scipy.linalg" in sys.modules) is {known}
early = sys.modules["scipy.linalg.cython_blas"]
import scipy.linalg
assert scipy.linalg.cython_blas is early is sys.modules["scipy.linalg.cython_blas"]
assert abs(scipy.linalg.det(x) + 2) < 1e-12
"""


@pytest.mark.tiny
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT) or CHECKED, reason="looks at compiled functions")
def test_programs_are_compiled_and_read_without_what_numba_knows_of_python(tmp_path):
    run(STEP, tmp_path / "cache", "0.5")  # compiles kernels that are not there yet
    edited = run(STEP, tmp_path / "cache", "0.75").splitlines()
    again = run(STEP, tmp_path / "cache", "0.75").splitlines()
    assert edited[1] == again[1] == again[2] == ""
    assert (edited[3], again[3]) == ("True", "False")
    everything = run(ALL, tmp_path / "other", "0.75").splitlines()
    assert "numba.typed.dictimpl" in everything[1]
    assert edited[0] == again[0] == everything[0]


@pytest.mark.parametrize("first", ["", "import scipy.linalg"])
def test_the_blas_is_that_of_scipy_and_its_threads_wait_briefly(first, tmp_path):
    said = run(BLAS.format(first=first, known=bool(first)), tmp_path / "cache")
    assert said.splitlines() == ([] if first else [f"scipy.linalg.cython_blas {BRIEFLY}"])
