"""Modules made from sources are those that the sources make now; and what the generator does to a source."""

import ast
import importlib
import re
import textwrap
from pathlib import Path

import pytest

from ppl.kernels.source.generate import ROOT, generate, modules

SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "source").glob("*/*.py"))

EXAMPLE = '''\
"""Squares of `real`s, error {1e-7 | 1e-16}."""

import math

from ppl.kernels.decorators import inline
from ppl.kernels.scalar.noise import mix, uniform_f32
from ppl.kernels.scalar.polynomials import horner10, horner2
from ppl.kernels.source.precision import SINGLE, i64, integer, real
from ppl.kernels.source.scalar import basic as own
from ppl.kernels.source.scalar.basic import ONE, ZERO

if SINGLE:
    from ppl.kernels.source.scalar.coefficients import LOG

MOST = real(-1e30 if SINGLE else 1e300)  # {one | other}
if SINGLE:
    # of logarithms
    COUNT_REAL = len(LOG)

    @inline
    def lifted_real(x):
        """`lifted_real`, of
        two lines."""
        return horner10(horner2(x, ONE))


@inline
def square(x):
    """x * x."""
    if not SINGLE:
        for _ in range(2):
            # doubly
            x = x if x > ZERO else own.abs(x)
    return x * (x if SINGLE else integer(i64(x))) - MOST
'''

SINGLE_FORM = '''\
# Made from kernels/source/scalar/example.py by `python -m ppl.kernels.source`: change that file instead.
"""Squares of float32s, error 1e-7."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import ONE
from ppl.kernels.generated.f32.scalar.coefficients import LOG
from ppl.kernels.scalar.polynomials import horner2, horner10

f32 = np.float32

MOST = f32(-1e30)  # one
# of logarithms
COUNT_F32 = len(LOG)


@inline
def lifted_f32(x):
    """`lifted_f32`, of
    two lines."""
    return horner10(horner2(x, ONE))


@inline
def square(x):
    """x * x."""
    return x * (x) - MOST
'''

DOUBLE_FORM = '''\
# Made from kernels/source/scalar/example.py by `python -m ppl.kernels.source`: change that file instead.
"""Squares of float64s, error 1e-16."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar import basic as own
from ppl.kernels.generated.f64.scalar.basic import ZERO

f64, i64 = np.float64, np.int64

MOST = f64(1e300)  # other


@inline
def square(x):
    """x * x."""
    for _ in range(2):
        # doubly
        x = x if x > ZERO else own.abs(x)
    return x * (i64(i64(x))) - MOST
'''


@pytest.mark.tiny
def test_what_is_made_is_not_stale():
    wanted, present = modules()
    assert wanted
    stale = [str(path) for path in sorted(wanted.keys() | present.keys()) if wanted.get(path) != present.get(path)]
    assert not stale, "run `python -m ppl.kernels.source`"


@pytest.mark.tiny
@pytest.mark.parametrize(("bits", "form"), [(32, SINGLE_FORM), (64, DOUBLE_FORM)])
def test_both_forms_of_a_source(bits, form):
    assert generate(EXAMPLE, "scalar/example.py", bits) == form


@pytest.mark.tiny
def test_long_imports_are_wrapped():
    names = [f"a_rather_long_name_{i}" for i in range(8)]
    text = f'"""Text."""\n\nfrom module import {", ".join(names)}\n\nprint({", ".join(names)})\n'
    made = generate(text, "scalar/example.py", 32)
    assert textwrap.dedent(made.split("(\n")[1].split(")")[0]).split() == [f"{name}," for name in names]


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_sources_are_modules_of_their_own(source):
    """A source can be imported as it is, with float64: every name that it uses is there."""
    importlib.import_module("ppl.kernels." + ".".join(source.with_suffix("").parts).removesuffix(".__init__"))


def test_nothing_runs_a_source():
    folders = [ROOT, *(Path(__file__).parents[2] / name for name in ("ppl", "models", "benchmarks"))]
    files = [path for folder in folders for path in folder.rglob("*.py") if ROOT / "source" not in path.parents]
    assert len(files) > 100
    imports = re.compile(r"^ *(from|import) ppl\.kernels\.source", re.MULTILINE)
    assert not [path for path in files if imports.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_sources_have_no_f_strings(source):
    """Names inside them are tokens from Python 3.12 on and text before: what is made would depend on the version."""
    tree = ast.parse((ROOT / source).read_text(encoding="utf-8"))
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
