"""Vector instructions in every loop kernel of the zoo's gradient programs, with the known exceptions."""

import re
import sys

import pytest

import ppl
from ppl.models import data, sbn, vae

EXCEPTIONS = {
    "vae rows_0_kernel_5": "16 units: LLVM unrolls the loop, then finds too many arrays to prove apart",
}
"""Row kernels that LLVM leaves scalar, and why."""


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
    name = model.__name__.split(".")[-1]
    for key, fn in kernels.items():
        code = fn.bare().inspect_llvm(fn.bare().signatures[0])
        vectors = re.search(r"= (fmul|fadd|fsub|fdiv|call)\b[^\n]*<\d+ x float>", code)
        assert bool(vectors) != (f"{name} {key}" in EXCEPTIONS), key
