"""LLVM code written from records computes what the Python text of the same records says."""

from types import FunctionType

import numpy as np
import pytest

from ppl.checked import CHECKED
from ppl.compiler.emit import llvm, python
from ppl.compiler.emit.code import (
    And,
    Argument,
    Assign,
    Binary,
    Choice,
    Function,
    Import,
    Literal,
    Module,
    Name,
    Raise,
    Return,
    Slice,
    Statement,
    Tuple,
    Unary,
    While,
    add_to,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    when,
)
from ppl.kernels.cpu import memory
from ppl.kernels.internals import lowering
from ppl.runtime import cache

pytestmark = pytest.mark.skipif(CHECKED, reason="Numba compiles the functions of the checked build")

NP = Name("np")

X, Y, N, S, K = map(Name, "xynsk")

IMPORTS = (
    Import("ppl.kernels.decorators", "jit", "jit"),
    Import("ppl.kernels.cpu.memory", "part", "part"),
    Import("ppl.kernels.cpu.memory", "tail", "tail"),
    Import("ppl.kernels.cpu.memory", "clear", "clear"),
    Import("ppl.kernels.scalar", "f32", "m"),
)

CONSTANTS = (Assign(name_tuple("F", "I", "U"), Tuple((NP.dot("float32"), NP.dot("int64"), NP.dot("uint64")))),)


def made(*body: Statement, arguments: str = "x y n", more: tuple[Function, ...] = ()) -> Module:
    """A module with the function `f` of these statements."""
    f = Function("f", tuple(map(Argument, arguments.split())), body, "Tested.")
    return Module("Tested.", (*CONSTANTS, *more, f), IMPORTS)


def both(module: Module, dtype: str = "float32"):
    """The function `f` as plain Python, and as its writer has it."""
    source = python.module(module)
    functions = [item for item in module.items if isinstance(item, Function)]
    found = cache.load(source, {"kept_off_the_disk": True}, functions, dtype).f
    plain = {"part": memory._plain_part, "tail": memory._plain_tail, "clear": memory._plain_clear}
    return FunctionType(found.py_func.__code__, {**found.py_func.__globals__, **plain}), found


def check(module: Module, n: int = 5, dtype: str = "float32", size: int = 40) -> None:
    """The results and all that is written agree, and nobody has refused."""
    ends, functions = [], both(module, dtype)
    for f in functions:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=size).astype(dtype), np.zeros(size, dtype)
        ends.append((f(x, y, n), x, y))
    assert functions[1].signatures and functions[1].py_func not in lowering.refusals
    (a, *arrays), (b, *others) = ends
    assert b is None if a is None else float(b) == pytest.approx(float(a), rel=1e-6)
    for one, other in zip(arrays, others, strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-6)


AT = loop("i", N, [assign(Y.at("i"), X.at("i") * X.at(Name("i") + 1) - 2.0)])

CASES = {
    "a loop over entries": made(AT),
    "nested loops, one variable twice": made(
        loop("i", 3, [loop("k", N, [add_to(Y.at(Name("i") * 5 + "k"), X.at("k"))])]),
        loop("i", 3, [add_to(Y.at("i"), 1.0)]),
    ),
    "steps up and down": made(
        loop("i", 20, [assign(Y.at("i"), X.at("i"))], 2, 3),
        loop("i", -1, [add_to(Y.at("i"), Y.at(Name("i") + 1))], N, -1),
    ),
    "a loop whose end is counted on": made(
        assign("k", call("I", 0)), loop("i", N, [assign("k", K + Name("i"))]), assign(Y.at(0), call("F", "k"))
    ),
    "a sum in a local, in double": made(
        assign("s", call(NP.dot("float64"), 0)),
        loop("i", N, [assign("s", S + X.at("i"))]),
        Return(S),
    ),
    "whole results": made(assign("k", N * N - 3), Return(call("I", "k"))),
    "a whole result that does not look so": made(assign("k", N * N - 3), Return(K)),
    "a truth value": made(Return(compare(X.at(0), "<", X.at(1)))),
    "no result": made(Return(None)),
    "chains of comparisons": made(Return(Choice(compare(0, "<=", N, "<", 7), call("I", 3), call("I", 4)))),
    "nothing behind a test that fails": made(
        Return(Choice(And((compare(N, ">", 100), compare(X.at(Literal(10**12)), ">", 0))), call("I", 1), call("I", 2)))
    ),
    "a side that is not computed": made(
        assign("s", Choice(compare(N, ">", 100), X.at(Literal(10**12)), X.at(2))), Return(S)
    ),
    "branches that return": made(
        when(compare(N, ">", 3), [Return(call("F", 2.0))], [Return(call("F", 3.0))]),
    ),
    "a branch that sets a local": made(
        assign("s", call("F", 0.0)),
        when(compare(N, ">", 3), [assign("s", X.at(0))], [assign("s", X.at(1))]),
        Return(S),
    ),
    "a loop with a test": made(
        assign("k", call("I", 0)), While(compare(K, "<", N), (add_to(Y.at("k"), 1.0), add_to("k", 2))), Return(K)
    ),
    "floors, also below 0": made(Return((N - 8) // 3 * 100 + (N + 8) // 3)),
    "division": made(Return(X.at(0) / X.at(1) + call("F", N) / call("F", 7))),
    "division of whole numbers": made(assign("s", N / 3), Return(S)),
    "signs and negations": made(Return(Choice(Unary("not", compare(X.at(0), ">", 0.0)), -X.at(0), X.at(0) + -N * 2.0))),
    "truth values in arithmetic": made(Return(call("I", Binary("-", compare(N, ">", 0), compare(N, "<", 9))))),
    "truth values together": made(
        assign("k", Binary("&", compare(X.at(0), ">", 0.0), compare(X.at(1), "<", 0.0))),
        Return(Choice(Binary("|", K, compare(N, "==", 5)), call("I", 1), call("I", 0))),
    ),
    "the least and the largest": made(
        assign("k", call("min", N, 3)),
        assign("s", call("max", X.at(0), X.at(1))),
        Return(call("F", call("max", K, 1)) * S + call("abs", X.at(2))),
    ),
    "views": made(
        assign("h", call("part", X, 3, 8)),
        assign("t", call("tail", Y, N)),
        loop("i", 8, [assign(Name("t").at("i"), Name("h").at("i"))]),
        do("clear", Y, N, 2),
        assign("z", X.between(N, N + 4)),
        assign("b", X.before(N)),
        Return(call("F", Name("z").dot("shape").at(0) * 100 + Name("b").dot("shape").at(0)) + Name("z").at(1)),
    ),
    "a view that changes": made(
        assign("h", call("part", X, 0, 4)),
        loop("i", 3, [assign("h", call("part", X, Name("i") * 4, 4)), add_to(Y.at("i"), Name("h").at(1))]),
    ),
    "one view or another": made(
        assign("h", Choice(compare(N, ">", 3), X.before(4), X.after(9))), Return(Name("h").at(0))
    ),
    "filled entries": made(Assign(Y.between(N, N + 9), call("F", 2.5)), Assign(Y.before(2), call("F", 0.0))),
    "bits as numbers": made(
        assign("v", call(X.dot("view"), NP.dot("int32"))),
        Return(call("I", Name("v").at(0)) + Name("v").dot("shape").at(0)),
    ),
    "bits of wider numbers": made(
        assign("v", call(call("tail", X, 0).dot("view"), NP.dot("float64"))), Return(Name("v").dot("shape").at(0))
    ),
    "rows and columns": made(
        assign("z", call(call("part", X, 0, 12).dot("reshape"), 3, 4)),
        assign("h", Name("z").at(1)),
        Return(Name("h").at(2) + Name("z").at(2, 3) + Name("z").at(2, Slice(None, None)).at(1)),
    ),
    "new words": made(
        assign("k", call(NP.dot("empty"), 3, "I")),
        assign(K.at(0), N),
        assign(K.at(2), K.at(0) * 2),
        Return(K.at(2) + K.dot("shape").at(0)),
    ),
    "scalar functions": made(
        loop("i", N, [assign(Y.at("i"), call(Name("m").dot("tanh"), X.at("i")))]),
        Return(call(Name("m").dot("select"), compare(X.at(0), "<", 0.0), call("F", 1.0), call("F", 2.0))),
    ),
    "several values at once": made(
        assign(name_tuple("a", "b"), Tuple((X.at(0), X.at(1)))), Return(Name("a") - Name("b"))
    ),
    "words of bits": made(Return(call("F", Binary("&", call("U", N), call("U", 6))))),
    "other functions of the module": made(
        Return(call("g", X, N, 2)),
        more=(Function("g", (Argument("x"), Argument("n"), Argument("k")), (Return(X.at("k") * N),), ""),),
    ),
}


@pytest.mark.tiny
@pytest.mark.parametrize("name", CASES)
def test_code_computes_what_the_text_says(name):
    check(CASES[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loop_without_turns_and_one_beyond_a_vector(dtype):
    for n in (0, 1, 39):
        check(CASES["a loop over entries"], n, dtype)


@pytest.mark.parametrize(
    "body",
    [
        (when(compare(N, ">", 100), [Raise(call("ValueError", Literal("large")))]), Return(N)),
        (assign("s", N), when(compare(N, ">", 3), [assign("s", X.at(0))]), Return(S)),
        (Return(X.at(-1)),),
    ],
    ids=["an exception", "a local of two types", "an index from the end"],
)
def test_numba_compiles_what_the_writer_refuses(body):
    plain, compiled = both(made(*body))
    x = np.arange(40, dtype=np.float32)
    assert compiled(x, x.copy(), 5) == plain(x, x.copy(), 5)
    assert compiled.py_func in lowering.refusals


def test_the_printer_is_part_of_a_modules_name(monkeypatch):
    source = python.module(made(Return(N)))
    name = cache.load(source).__name__
    assert cache.load(source).__name__ == name
    monkeypatch.setattr(llvm, "version", lambda: "another")
    assert cache.load(source).__name__ != name
