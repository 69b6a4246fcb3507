"""Vector instructions in every loop kernel of the zoo's gradient programs."""

import ast
import re
import sys

import numpy as np
import pytest

import ppl
from ppl.models import data, hmm, sbn, vae


@pytest.mark.parametrize("model", [sbn, vae], ids=["sbn", "vae"])
def test_row_kernels_of_the_zoo_vectorise(model, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path / "cache"))
    for module in [m for m in sys.modules if m.startswith("ppl_program_")]:
        monkeypatch.delitem(sys.modules, module)
    rows, _ = data.digits()
    program = ppl.compile(ppl.elbo(model.generative, model.guide), particles=2, data=rows)
    program.value_and_grad(program.init(0), rows[:4])
    module = program.prepare().executable("gradient").module
    kernels = {k: f for k, f in vars(module).items() if re.match(r"rows_\d+_kernel_", k)}
    assert kernels
    for key, fn in kernels.items():
        code = fn.bare().inspect_llvm(fn.bare().signatures[0])
        assert re.search(r"= (fmul|fadd|fsub|fdiv|call)\b[^\n]*<\d+ x float>", code), key


def test_functions_of_enumerated_states_have_loops_of_their_own_in_a_step():
    """The `exp` of a message stands beside no product with the transitions, whose loop it would keep scalar."""
    y = np.zeros((2, 5))
    program = ppl.compile(ppl.likelihood(hmm.hidden.bind(states=9), marginalize=["z"]), data=y)
    program.value_and_grad(program.init(0, y), y)
    kernels = [f for f in ast.parse(str(program.source)).body if getattr(f, "name", "").startswith("rows_1_kernel_")]
    loops = [x for f in kernels for x in ast.walk(f) if isinstance(x, ast.For) and ast.unparse(x.iter) == "range(9)"]
    apart = [x for x in loops if any("m.exp(" in ast.unparse(line) for line in x.body)]
    assert apart and not any(isinstance(y, ast.For) for x in apart for y in x.body)
