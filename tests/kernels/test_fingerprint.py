"""The hash of what a user's function reaches changes with all of it, and with nothing else."""

import ctypes
import importlib
import os
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest
from numba.extending import overload, overload_method

from ppl.kernels.code_cache.user_functions import fingerprint, reachable_dispatchers

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="looks at compiled functions")

FIRST = """
import math
import numba
import {package}.second as second
from {package}.second import direct, table

def factory(c):
    @numba.njit
    def inner(x):
        return c * x
    return inner

closed = factory(2.0)
offset = 1.0

@numba.njit
def plain(x, scale=3.0):
    return math.exp(x) * scale + offset

@numba.njit
def by_name(x):
    return direct(x)

@numba.njit
def by_module(x):
    return second.deep(x)

@numba.njit
def by_table(x):
    return x + table[0]

@numba.njit
def by_closure(x):
    return closed(x)

@numba.njit
def by_constant(x):
    return x + second.third.CONSTANT

@numba.njit
def by_text(x):
    return x + getattr(second.third, "CONSTANT")

@numba.njit
def by_alias(x):
    module = second
    return module.deep(x)

@numba.njit
def by_vectorised(x):
    return second.vectorised(x)

@numba.njit
def by_overload(x):
    return second.overloaded(x)

@numba.njit
def by_intrinsic(x):
    return second.intrinsically(x)

@numba.njit
def by_class(x):
    return second.Box(x).get()

@numba.njit
def by_named(x):
    return x + second.setting.rate
"""

SECOND = """
import collections
import numba
import numpy as np
import {package}.third as third
from numba.experimental import jitclass
from numba.extending import intrinsic, overload

table = np.array([1.0, 2.0])
setting = collections.namedtuple("Setting", "rate")(0.5)

@numba.njit
def direct(x):
    return x + 1.0  # direct

@numba.njit
def deep(x):
    return third.deepest(x)

@numba.vectorize
def vectorised(x):
    return x + 1.0  # vectorised

def overloaded(x):
    return 0.0

@overload(overloaded)
def _overloaded(x):
    return lambda x: x + 1.0  # overloaded

@intrinsic
def intrinsically(context, x):
    return x(x), lambda context, builder, signature, values: values[0]  # intrinsic

@jitclass([("x", numba.float64)])
class Box:
    def __init__(self, x):
        self.x = x
    def get(self):
        return self.x + 1.0  # class
"""

THIRD = """
import numba
CONSTANT = 1.0

@numba.njit
def deepest(x):
    return x + 1.0  # deepest
"""

CASES = {
    "plain": [("first", "math.exp(x)", "math.sin(x)"), ("first", "scale=3.0", "scale=4.0"),
              ("first", "offset = 1.0", "offset = -0.0")],
    "by_name": [("second", "x + 1.0  # direct", "x - 1.0")],
    "by_module": [("third", "x + 1.0  # deepest", "x - 1.0"), ("third", "njit\n", "njit(fastmath=True)\n")],
    "by_table": [("second", "[1.0, 2.0]", "[1.0, 3.0]"), ("second", "[1.0, 2.0]", "[1, 2]")],
    "by_closure": [("first", "factory(2.0)", "factory(3.0)")],
    "by_constant": [("third", "CONSTANT = 1.0", "CONSTANT = 2.0")],
    "by_text": [("third", "CONSTANT = 1.0", "CONSTANT = 2.0")],
    "by_alias": [("third", "x + 1.0  # deepest", "x - 1.0")],
    "by_vectorised": [("second", "x + 1.0  # vectorised", "x - 1.0")],
    "by_overload": [("second", "x + 1.0  # overloaded", "x - 1.0")],
    "by_intrinsic": [("second", "values[0]  # intrinsic", "values[-1]")],
    "by_class": [("second", "self.x + 1.0  # class", "self.x - 1.0")],
    "by_named": [("second", "(0.5)", "(0.25)")],
}  # fmt: skip


def _hash(folder, monkeypatch, name, edit=None):
    """The hash of a function of a package written for it, in which one text is replaced."""
    texts = {"first": FIRST, "second": SECOND, "third": THIRD}
    if edit is not None:
        assert edit[1] in texts[edit[0]]
        texts[edit[0]] = texts[edit[0]].replace(edit[1], edit[2])
    package = "reached"
    (folder / package).mkdir(exist_ok=True)
    for module, text in texts.items():
        (folder / package / f"{module}.py").write_text(text.format(package=package))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    importlib.invalidate_caches()
    monkeypatch.setattr(
        "ppl.kernels.code_cache.user_functions.FingerprintWalk._file", lambda self, name: None
    )  # its text would tell alone
    found = fingerprint(getattr(importlib.import_module(f"{package}.first"), name))
    assert found is not None
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_edit_of_what_is_reached_tells(name, tmp_path, monkeypatch):
    before = _hash(tmp_path, monkeypatch, name)
    assert _hash(tmp_path, monkeypatch, name) == before
    for edit in CASES[name]:
        assert _hash(tmp_path, monkeypatch, name, edit) != before, edit


def test_what_is_not_reached_does_not_tell(tmp_path, monkeypatch):
    before = _hash(tmp_path, monkeypatch, "by_name")
    assert _hash(tmp_path, monkeypatch, "by_name", ("third", "CONSTANT = 1.0", "CONSTANT = 2.0")) == before


def _unhashable():
    pointer = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(abs)
    typed = numba.typed.List([1.0])
    compiled = numba.cfunc("float64(float64)")(lambda x: x)
    return [lambda x: pointer(x), lambda x: typed[0], lambda x: compiled(x), lambda x: object_dtype[0]]


object_dtype = np.array([1.0, "a"], dtype=object)


@pytest.mark.parametrize("which", range(4))
def test_what_cannot_be_hashed_has_none(which):
    assert fingerprint(numba.njit(_unhashable()[which])) is None


def test_overloads_of_library_functions_and_methods_tell():
    @numba.njit
    def by_library(x):
        return np.hamming(x)

    before = fingerprint(by_library)
    overload(np.hamming)(lambda n: lambda n: 1.0)
    after = fingerprint(by_library)
    overload_method(numba.types.Complex, "halved")(lambda x: lambda x: x / 2)
    assert len({before, after, fingerprint(by_library), None}) == 4


def test_functions_that_call_each_other():
    @numba.njit
    def even(n):
        return True if n == 0 else odd(n - 1)

    @numba.njit
    def odd(n):
        return False if n == 0 else even(n - 1)

    assert fingerprint(even) is not None and set(reachable_dispatchers(even)) == {even, odd}
    assert reachable_dispatchers(even)[-1] is even


def test_the_hash_is_that_of_other_processes():
    script = """
    import numba
    from ppl.kernels.code_cache.user_functions import fingerprint
    words = frozenset({"a", "b", "c"})
    @numba.njit(fastmath={"contract", "nsz", "arcp"}, locals={"y": numba.float64, "z": numba.float64})
    def f(x):
        y, z = x, x
        return y in {1.0, 2.0, 3.0} or len(words) > z
    print(fingerprint(f))
    """
    found = set()
    for seed in "12":
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True)
        found.add(done.stdout.strip())
    assert len(found) == 1 and found.pop() not in ("", "None")
