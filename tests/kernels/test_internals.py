"""Numba's private parts, one by one: a version of Numba that changes one fails here and says which."""

import contextlib
import ctypes
import os
import pickle
import re
import resource
import tomllib
from pathlib import Path

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba import types
from numba.core import entrypoints, environment
from numba.core.event import install_recorder
from numba.experimental import jitclass
from numba.extending import intrinsic, overload, overload_method, type_callable

from ppl.kernels import internals
from ppl.kernels.internals import lowering

ROOT = Path(__file__).resolve().parents[2]

NEXT = re.compile(r"numba>=([\d.]+),<(\d+)\.(\d+)")

compiles = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="looks at compiled functions")

pytestmark = pytest.mark.tiny

F = types.float64


def one_up(x):
    """Plain: x + 1."""
    return x + 1


def result_of(fn, *kinds):
    """The dispatcher of a function, and what it has compiled for arguments of these types, which it returns."""
    dispatcher = numba.njit(fn)
    return dispatcher, internals.compiled(dispatcher, kinds[0](*kinds))


def numbers(text):
    """The numbers of a version."""
    return [int(x) for x in re.findall(r"\d+", text)[:3]]


def test_this_version_of_numba_is_among_those_allowed():
    with open(ROOT / "pyproject.toml", "rb") as file:
        (wanted,) = [x for x in tomllib.load(file)["project"]["dependencies"] if re.match(r"numba\W", x)]
    found = NEXT.fullmatch(wanted)
    assert found, f"{wanted}: a lower and an upper bound"
    assert numbers(found[1]) == numbers(internals.TRIED[0])[: len(numbers(found[1]))]
    highest = numbers(internals.TRIED[-1])
    assert [int(found[2]), int(found[3])] == [highest[0], highest[1] + 1]
    assert sorted(internals.TRIED, key=numbers) == list(internals.TRIED)
    assert numbers(internals.TRIED[0]) <= numbers(numba.__version__) < [int(found[2]), int(found[3])]


# What functions are, and what they reach.


@compiles
def test_compiled_functions_are_told_from_others():
    dispatcher, loops = numba.njit(one_up), numba.vectorize(["float64(float64)"])(one_up)
    assert internals.is_compiled(dispatcher) and internals.is_for_cpu(dispatcher)
    assert internals.is_for_cpu(internals.ufunc_parts(loops)[2])
    assert not internals.is_compiled(one_up) and not internals.is_for_cpu(np.add)


@compiles
def test_options_of_a_dispatcher():
    given, local, fixed = internals.options(numba.njit(one_up, fastmath=True, locals={"y": F}))
    assert given["fastmath"] is True and local == {"y": F} and fixed == []
    assert internals.options(numba.njit("float64(float64)")(one_up))[2] == [(F,)]


@compiles
def test_parts_of_ufuncs():
    assert internals.ufunc_parts(numba.vectorize(one_up))[1] == ""
    assert internals.ufunc_parts(numba.vectorize(["float64(float64)"])(one_up))[1] == ["d->d"]
    shaped = numba.guvectorize(["(float64[:], float64[:])"], "(n)->(n)")(lambda x, out: None)
    signature, loops, dispatcher = internals.ufunc_parts(shaped)
    assert (signature, loops) == ("(n)->(n)", ["d->d"]) and internals.is_for_cpu(dispatcher)
    assert internals.ufunc_parts(np.add) is None


def test_the_function_of_an_intrinsic():
    def emit(typing_context, x):
        return None

    assert internals.intrinsic_function(intrinsic(emit)) is emit
    assert internals.intrinsic_function(emit) is None


@compiles
def test_parts_of_a_jitclass():
    @jitclass([("x", F)])
    class Point:
        def __init__(self, x):
            self.x = x

        @property
        def twice(self):
            return 2 * self.x

        @staticmethod
        def origin():
            return 0.0

    name, fields, (methods, properties, static) = internals.jitclass_parts(Point)
    assert (name, fields) == ("Point", {"x": F})
    assert set(methods) == {"__init__"} and set(properties) == {"twice"} and set(static) == {"origin"}
    assert internals.jitclass_parts(int) is None


def test_what_is_compiled_in_place_of_a_function():
    def plain(x):
        return x

    def typed(x):
        return x

    def in_place(x):
        return lambda x: x

    def emit(typing_context, x):
        return None

    emitted = intrinsic(emit)
    overload(plain)(in_place)
    type_callable(typed)(lambda context: lambda x: x)
    internals.refresh()
    assert ("_overload_func", in_place) in list(internals.overloads_of(plain))
    assert [name for name, _ in internals.overloads_of(typed)] == ["generic"]
    assert ("_definition_func", emit) in list(internals.overloads_of(emitted))
    assert not list(internals.overloads_of(object()))


def test_overloads_of_methods():
    @overload_method(types.Array, "ppl_first_entry")
    def first_entry(x):
        return lambda x: x[0]

    internals.refresh()
    assert first_entry in list(internals.overloaded_attributes())


# Dispatchers: what is compiled, when, and where it is kept.


@compiles
def test_compiled_callers_call_another():
    front, other = numba.njit(lambda x: x), numba.njit(one_up)
    internals.redirect_compiled_callers(front, lambda: other)
    assert numba.njit(lambda x: front(x))(1.0) == 2.0 and front(1.0) == 1.0


@compiles
def test_compiling_is_watched():
    seen, dispatcher = [], numba.njit(one_up)
    internals.watch(dispatcher, lambda compile_: lambda signature: seen.append(signature) or compile_(signature))
    assert dispatcher(1.0) == 2.0 and numba.njit(lambda x: dispatcher(x))(True) == 2
    assert {internals.normalize_signature(x)[0] for x in seen} == {(F,), (types.boolean,)}
    assert len(dispatcher.signatures) == 2


class InMemory(internals.Cache):
    """A cache that keeps machine code as text."""

    def __init__(self):
        self.kept, self.loads = {}, 0

    cache_path = property(lambda self: "")
    enable = disable = flush = lambda self: None

    def load_overload(self, sig, target_context):
        """What was kept, as another process would load it."""
        if repr(sig) not in self.kept:
            return None
        self.loads += 1
        return internals.rebuilt(target_context, pickle.loads(self.kept[repr(sig)]))

    def save_overload(self, sig, data):
        """Keep it."""
        assert internals.can_be_kept(data)
        assert all(isinstance(x, str) for x in internals.processor(data.codegen))
        self.kept[repr(sig)] = internals.dumps(internals.reduced(data))


@compiles
def test_a_function_is_watched_once_by_each():
    dispatcher, seen = numba.njit(one_up), []
    kinds = ("first", "second")
    first, second = (lambda compile_, k=k: lambda signature: seen.append(k) or compile_(signature) for k in kinds)
    for wrap in (first, second, first, second):
        internals.watch(dispatcher, wrap)
    assert dispatcher(2.5) == 3.5 and seen == ["second", "first"]


@compiles
def test_a_function_compiles_under_its_own_settings():
    def error_of(a):
        total = a + 1.0
        return 1.0 - (total - a)

    given, alone = numba.njit(error_of), numba.njit(error_of)
    internals.compile_under_own_settings(alone)
    internals.compile_under_own_settings(alone)
    loose, strict = (numba.njit(fastmath=True)(lambda a, inner=inner: inner(a)) for inner in (given, alone))
    assert strict(1e17) == error_of(1e17) == 1.0
    assert loose(1e17) == 0.0, "callees no longer inherit the settings of their caller"


@compiles
def test_machine_code_is_kept_and_loaded():
    cache, made = InMemory(), [numba.njit(one_up) for _ in range(2)]
    for dispatcher in made:
        assert not internals.has_disk_cache(dispatcher)
        internals.set_cache(dispatcher, cache)
        assert internals.has_disk_cache(dispatcher) and dispatcher(2.5) == 3.5
    assert len(cache.kept) == cache.loads == 1
    assert sum(made[1].stats.cache_hits.values()) == 1


@compiles
def test_machine_code_of_ufuncs_is_kept_and_loaded():
    cache, made = InMemory(), [numba.vectorize(one_up) for _ in range(2)]
    for ufunc in made:
        dispatcher = internals.ufunc_parts(ufunc)[2]
        assert not internals.has_disk_cache(dispatcher)
        internals.set_cache(dispatcher, cache)
        assert internals.has_disk_cache(dispatcher) and ufunc(np.array([2.5])) == [3.5]
    assert len(cache.kept) == cache.loads == 1


@compiles
@pytest.mark.parametrize("decorate", [numba.njit, numba.vectorize], ids=["njit", "vectorize"])
def test_compiling_again_reads_globals_again(decorate):
    scope = {"SHIFT": 1.0}
    exec("def shifted(x):\n    return x + SHIFT", scope)
    made = decorate(scope["shifted"])
    assert made(1.0) == 2.0
    scope["SHIFT"] = 5.0
    parts = internals.ufunc_parts(made)
    dispatcher = parts[2] if parts else made
    assert made(1.0) == 2.0 and dispatcher.overloads
    internals.recompile_all(dispatcher)
    internals.recompile_all(numba.njit(one_up))  # which has nothing compiled
    assert numba.njit(lambda x: made(x))(1.0) == 6.0


def test_the_compilers_lock_may_be_taken_again():
    with internals.global_compiler_lock, internals.global_compiler_lock:
        pass


def test_signatures_in_words():
    assert internals.normalize_signature("float64(float32[::1],int64)") == ((types.float32[::1], types.int64), F)


# Machine code on disk.


@compiles
def test_machine_code_with_an_address_is_not_kept():
    back = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(one_up)
    assert internals.can_be_kept(result_of(one_up, F)[1])
    assert not internals.can_be_kept(result_of(lambda x: back(x), F)[1])


def nothing():
    """What is needed."""


def nothing_else():
    """What else is needed."""


@intrinsic
def _with_need(typing_context, x):
    def codegen(context, builder, signature, values):
        internals.attach_to_caller(context, nothing_else)
        return values[0]

    return x(x), codegen


@compiles
def test_callers_get_needs_of_what_they_call():
    inner, result = result_of(lambda x: _with_need(x), F)
    internals.attach(result, nothing)
    internals.attach(result, nothing)
    assert sorted(x.__name__ for x in result.reload_init) == ["nothing", "nothing_else"]
    _, outer = result_of(lambda x: inner(x), F)
    assert {nothing, nothing_else} <= set(outer.reload_init)


@compiles
def test_needs_of_what_is_loaded_are_remembered():
    internals.patch_kept_requirements()
    patched = internals.CompileResult._rebuild.__func__
    internals.patch_kept_requirements()
    assert internals.CompileResult._rebuild.__func__ is patched and not hasattr(patched.forgets, "forgets")
    dispatcher, result = result_of(one_up, F)
    internals.attach(result, nothing)
    loaded = internals.rebuilt(dispatcher.targetctx, pickle.loads(internals.dumps(internals.reduced(result))))
    assert nothing in loaded.reload_init and nothing in loaded.library._reload_init


@compiles
def test_environments_of_numba_are_read_without_their_modules():
    """Those with constants, of modules that are there, or of anybody else are read as Numba reads them."""
    internals.patch_environment_loading()
    patched = environment._rebuild_env
    internals.patch_environment_loading()
    assert environment._rebuild_env is patched and not hasattr(patched.imports, "imports")
    assert pickle.loads(pickle.dumps(patched)) is patched
    lean = patched("numba.nowhere", [], "an environment without constants")
    assert lean.globals == {"__name__": "numba.nowhere"} and lean.can_cache()
    assert patched("numba.nowhere", [], "an environment without constants") is lean
    assert pickle.loads(pickle.dumps(lean)) is lean
    for module, consts in (("numba.nowhere", [1]), ("nowhere", [])):
        with pytest.raises(ModuleNotFoundError):
            patched(module, consts, "another environment")
    assert patched("numba", [], "a third environment").globals is vars(numba)


@compiles
def test_events_are_made_where_somebody_hears_them():
    def timers():
        """What a function's own listener has heard, of one compiled inside and one compiled after it."""
        found = []
        for inside in (internals.without_events(), contextlib.nullcontext()):
            compiled = numba.njit(lambda x: x + 1)
            with inside:
                assert compiled(2) == 3
            found.append(compiled.get_metadata(compiled.signatures[0]).get("timers", {}))
        return found

    internals.patch_events()
    without_events, heard = timers()
    assert without_events == {}
    assert heard["llvm_lock"] > 0
    with install_recorder("numba:run_pass") as recorded:
        assert all(found["llvm_lock"] > 0 for found in timers())
    assert len(recorded.buffer) >= 40


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_pass_managers_are_freed():
    def megabytes():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20

    internals.patch_pass_managers()
    target = llvm.Target.from_default_triple().create_target_machine()
    before = 0.0
    for i in range(620):
        builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options())
        assert builder.getFunctionPassManager() and builder.getModulePassManager()
        before = before or (i >= 20 and megabytes())
    assert megabytes() - before < 10, "600 of each hold some 30 MB where they are not freed"


class Doubling:
    """Writes 2 * x, whose type it does not know at first; refuses whole numbers."""

    def result(self):
        return types.none

    def write(self, frame):
        ((_, kind, x),) = frame.arguments
        if isinstance(kind, types.Integer):
            raise lowering.NotWritten("whole numbers")
        frame.give(kind, frame.builder.fadd(x, x))


@compiles
def test_a_writer_stands_for_the_front_end_and_numba_for_the_writer():
    fn = lambda x: x + 1  # noqa: E731
    lowering.set_writer(fn, Doubling())
    written = numba.njit(pipeline_class=lowering.WriterCompiler)(fn)
    caller = numba.njit(lambda x: written(x) + 1)
    assert (written(4.0), caller(4.0), written(np.float32(0.5))) == (8.0, 9.0, 1.0)
    assert fn not in lowering.refusals
    assert (written(4), caller(4)) == (5, 6)
    assert lowering.refusals[fn].endswith("whole numbers")


@compiles
def test_extensions_of_numba_are_looked_for_where_numba_compiles(monkeypatch):
    asked = []
    monkeypatch.setattr(entrypoints, "init_all", lambda: asked.append(1))
    fn = lambda x: x + 1  # noqa: E731
    lowering.set_writer(fn, Doubling())
    written, other = (numba.njit(pipeline_class=lowering.WriterCompiler)(f) for f in (fn, lambda x: x + 1))
    for dispatcher in (written, other):
        internals.skip_search_for_extensions(dispatcher)
    assert written(4.0) == 8.0 and not asked
    assert other(4.0) == 5.0 and asked


@compiles
def test_functions_without_a_writer_are_numbas():
    assert numba.njit(pipeline_class=lowering.WriterCompiler)(one_up)(2.0) == 3.0
