"""Functions that are linked into callers have no machine code of their own, until somebody asks for its address."""

import ctypes
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, ModuleType

import numba
import pytest
from numba import types

from ppl.checked import CHECKED
from ppl.kernels import decorators, internals
from ppl.kernels.internals.machine_code import LinkedLibrary

pytestmark = [
    pytest.mark.tiny,
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="looks at compiled functions"),
]

SIGNATURE = types.float64(types.float64)

SOURCE = """
def triple(x):
    return 3 * x
"""


def bare_of(fn):
    """The dispatcher of `fn` that compiled code calls, which keeps its machine code on disk."""
    dispatcher = decorators.jit(fn)
    for d in (dispatcher, bare := dispatcher.bare()):
        d._cache.stamp = lambda: "that of all kernels"
    return dispatcher, bare


def called(place, x):
    """What machine code at `place` returns, called as Numba calls it: a place for the result, one for an exception."""
    result, raised = ctypes.c_double(), ctypes.c_void_p()
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double)
    assert kind(place)(ctypes.addressof(result), ctypes.addressof(raised), x) == 0
    return result.value


@pytest.fixture
def triple(tmp_path, monkeypatch):
    """Makes the same function anew, whose machine code is kept below `tmp_path`."""
    file = tmp_path / "functions.py"
    file.write_text(SOURCE)
    scope = {"__name__": "functions_to_link"}
    monkeypatch.setitem(sys.modules, "functions_to_link", ModuleType("functions_to_link"))
    exec(compile(SOURCE, str(file), "exec"), scope)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return lambda: FunctionType(scope["triple"].__code__, scope, "triple")


def test_machine_code_is_made_for_an_address(triple):
    dispatcher, bare = bare_of(triple())
    library = internals.compiled(bare, SIGNATURE).library
    assert isinstance(library, LinkedLibrary) and not library.made
    assert numba.njit(lambda x: dispatcher(x) + 1)(2.0) == 7.0 and not library.made
    assert called(internals.address(bare, SIGNATURE), 2.0) == 6.0 and library.made
    assert library.get_pointer_to_function("no such function") == 0


def test_machine_code_is_made_once_where_several_threads_ask(triple, monkeypatch):
    def slowly(library):
        time.sleep(0.05)
        make(library)

    make = LinkedLibrary._make
    monkeypatch.setattr(LinkedLibrary, "_make", slowly)
    bare = bare_of(triple())[1]
    assert not internals.compiled(bare, SIGNATURE).library.made
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda _: internals.address(bare, SIGNATURE), range(3))
    assert others == [first, first] and called(first, 2.0) == 6.0


def test_code_from_disk_is_linked_and_machine_code_is_kept_where_it_has_an_address(triple):
    def result(addressed):
        dispatcher, bare = bare_of(triple())
        if addressed:
            assert called(internals.address(bare, SIGNATURE), 2.0) == 6.0
        else:
            assert numba.njit(lambda x: dispatcher(x) + 1)(2.0) == 7.0
        return sum(bare.stats.cache_hits.values()), internals.compiled(bare, SIGNATURE).library

    assert result(False)[0] == 0
    hits, library = result(False)
    assert hits == 1 and isinstance(library, LinkedLibrary) and not library.made
    assert called(library.get_pointer_to_function(library._names()[0]), 5.0) == 15.0
    assert result(True)[0] == 0  # what is on disk has no machine code
    hits, library = result(True)
    assert hits == 1 and not isinstance(library, LinkedLibrary)
    assert result(False)[0] == 1


def described(x):
    """A text, through Python."""
    return float(len(f"{x:.3f}"))


@pytest.mark.skipif(CHECKED, reason="compiles with other settings")
def test_code_that_needs_python_has_machine_code():
    def fn(x):
        with numba.objmode(found="float64"):
            found = described(x)
        return found + 1

    dispatcher, bare = bare_of(fn)
    bare._cache.disable()
    assert numba.njit(lambda x: dispatcher(x) * 2)(1.0) == 12.0
    assert internals.compiled(bare, SIGNATURE).library.made
