"""A new op touches its row of facts, its derivative, its NumPy rule and its scalar source, and nothing else.

The Gudermannian function gd(x) = atan(sinh(x)), with gd' = 1 / cosh, is added to a copy of the package by these edits
alone. It is interpreted, bounded, differentiated twice, simplified and compiled there, in a process of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EDITS = {
    "ir/op_facts.py": ('    "log_poisson": ', '    "gd": _function(1, "function", PLAIN, NOWHERE),\n'),
    "ir/vjp.py": ('    "exp": ', '    "gd": lambda g, n, x: (ops.mul(g, ops.cos(n)),),\n'),
    "ir/reference/interpret.py": ('    "exp": ', '    "gd": lambda x: np.arctan(np.sinh(x)),\n'),
    "kernels/scalar/names.py": ('    "gamma": ', '    "gudermann": "gd",\n'),
}
"""A line goes before the first that begins so."""

SOURCE = '''"""The Gudermannian function."""

from ppl.kernels.decorators import inline
from ppl.kernels.source.precision import SINGLE, real
from ppl.kernels.source.scalar.exponential import exp
from ppl.kernels.source.scalar.trigonometric import atan

HALF = real(0.5)


@inline
def gd(x):
    """atan(sinh(x))."""
    return atan(HALF * (exp(x) - exp(-x)))
'''

USE = """
import numpy as np
from ppl.distributions.bounds import bounds_of
from ppl.graph.smoothness import is_piecewise_constant
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis, Kind
from ppl.ir.verify import verify
from ppl.runtime.executable import Request, compile_request

DATA = Axis("data", Kind.PLATE)
w = make("param", name="w", shape=(3,))
x = make("input", name="x", axes=(DATA,), shape=(3,), dtype="float")
y = make("gd", ops.mul(ops.expand(w, (DATA,)), x))
loss = ops.sum_axes(ops.reduce_sum(y), (DATA,))
(slope,) = gradient(loss, [w])
(bend,) = gradient(ops.reduce_sum(slope), [w])
nodes = simplify([loss, slope, bend])
verify(nodes)
assert bounds_of(y).lo == -np.inf and not is_piecewise_constant(y, 0)

params, data = np.array([0.3, -1.2, 2.0]), np.random.default_rng(0).normal(size=(37, 3))
a = params * data
exact = [np.arctan(np.sinh(a)).sum(), (data / np.cosh(a)).sum(0), (-(data**2) * np.tanh(a) / np.cosh(a)).sum(0)]
env = Env({"w": params}, {}, {}, {"x": data}, {"data": 37}, dtype=np.float64)
for found, wanted in zip(evaluate(nodes, env), exact):
    np.testing.assert_allclose(found, wanted, rtol=1e-12)

for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
    for target in ("cpu", "cuda"):
        request = Request((("loss", nodes[0]),), (("w", nodes[1]),), params=(("w", (3,)),), inputs=(("x", x.type),))
        executable = compile_request(request, dtype, target)
        assert "m.gd(" in executable.source
        if target == "cpu":
            result = executable.run(params.astype(dtype), inputs=[data.astype(dtype)])
            np.testing.assert_allclose(result.scalars["loss"], exact[0], rtol=tolerance)
            np.testing.assert_allclose(result.grad, exact[1], rtol=tolerance)
            alone = Request((("loss", ops.reduce_sum(make("gd", w))),), params=(("w", (3,)),))
            small = compile_request(alone, dtype)
            assert small.unrolled
            found = small.run(params.astype(dtype)).scalars["loss"]
            np.testing.assert_allclose(found, np.arctan(np.sinh(params)).sum(), rtol=tolerance)
"""


def test_a_new_op_touches_these_places_alone(tmp_path):
    skip = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    package = tmp_path / "ppl"
    shutil.copytree(ROOT / "ppl", package, ignore=skip)
    shutil.copytree(ROOT / "kernels", package / "kernels", ignore=skip)
    for name, (before, line) in EDITS.items():
        text = (package / name).read_text(encoding="utf-8")
        at = text.index("\n" + before) + 1
        (package / name).write_text(text[:at] + line + text[at:], encoding="utf-8")
    (package / "kernels/source/scalar/gudermann.py").write_text(SOURCE, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    for command in (["-m", "ppl.kernels.source"], ["-c", USE]):
        done = subprocess.run([sys.executable, *command], env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
