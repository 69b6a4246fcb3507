"""Every example of `docs/embedding.md` runs, and none is longer than 30 lines."""

import re
from functools import partial

import pytest

from tests.pages import blocks as pages
from tests.program.test_c_library import STRICT, compiler, run

BLOCKS = pages.blocks("docs/embedding.md")
MODEL, *EXAMPLES = pages.scripts("docs/embedding.md")
C = next(block.text for block in BLOCKS if block.language == "c")
CPP = next(block.text for block in BLOCKS if block.language == "cpp")
python = partial(pages.python, model=MODEL)


def test_examples_are_short():
    assert len(EXAMPLES) == 7
    assert max(len(block.text.splitlines()) for block in BLOCKS) < 30


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_in_python_runs(number, tmp_path):
    script = EXAMPLES[number]
    for module in ("cffi", "joblib"):
        if f"import {module}" in script or f"from {module}" in script:
            pytest.importorskip(module)
    if "policy.so" in script:
        compiler("c")
        (tmp_path / "policy.c").write_text(C)
    printed = python(script, tmp_path)
    assert "nan" not in printed and ("print" not in script or printed)


def test_the_library_in_cpp_trains_as_that_in_c(tmp_path):
    command = [*compiler("c++"), "-shared", "-fPIC", "policy.cpp", "-o", "policy.so"]
    in_c = next(text for text in EXAMPLES if "policy.so" in text)
    script = in_c.replace('"cc -std=c11 -O2 -shared -fPIC policy.c -o policy.so".split()', repr(command))
    script = script.replace("status = library", "library.train.restype = ctypes.c_double\nstatus = library")
    script = script.replace(", ctypes.byref(loss))", ")").replace("assert status == 0", "assert status > 0")
    assert script.count("c_double") == 2
    (tmp_path / "policy.cpp").write_text(CPP)
    (tmp_path / "policy.c").write_text(C)
    weights = re.search(r"\{.*\}", python(script, tmp_path))
    expected = re.search(r"\{.*\}", python(in_c, tmp_path))
    assert weights and expected and weights[0] == expected[0]


def test_the_library_in_c_has_no_warnings(tmp_path):
    python("from model import program\nprogram.cfunc().header('policy.h')", tmp_path)
    (tmp_path / "policy.c").write_text(C)
    run([*compiler("c"), *STRICT, f"-I{tmp_path}", "-fsyntax-only", str(tmp_path / "policy.c")])
