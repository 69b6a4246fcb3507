"""Emitted code as records: what the printer makes of them, what modules import, and that nobody reads text again."""

import ast
import builtins
from pathlib import Path

import numpy as np
import pytest

from ppl.compiler.emit import code, python
from ppl.compiler.emit.code import (
    And,
    Argument,
    Assign,
    Binary,
    Choice,
    Function,
    If,
    Import,
    Index,
    Literal,
    Module,
    Name,
    Raise,
    Return,
    Slice,
    Tuple,
    Unary,
    While,
    add_to,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    names_in,
    rewrite_records,
    when,
)
from ppl.compiler.emit.kernels import block_double_sums
from ppl.compiler.lower.sizes import Poly
from ppl.runtime.executable import compile_request
from tests.compiler.graphs import GRAPHS, request_of

A, B, C, W = map(Name, "abcw")

ROOT = Path(__file__).resolve().parents[3]

SOURCES = sorted((ROOT / "ppl/compiler/emit").rglob("*.py"))


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ((A + B) * C, "(a + b) * c"),
        (A + B * C, "a + b * c"),
        (A - (B - C), "a - (b - c)"),
        (A - B - C, "a - b - c"),
        (A / (B * C), "a / (b * c)"),
        (-(A + B), "-(a + b)"),
        (-A * B, "-a * b"),
        (A * Literal(-2), "a * -2"),
        (compare(A, "<", B + 1), "a < b + 1"),
        (compare(A, "<=", B, "<", C), "a <= b < c"),
        (Binary("-", compare(A, ">", 0), compare(A, "<", 0)), "(a > 0) - (a < 0)"),
        (And((compare(A, "==", 1), Unary("not", B))), "a == 1 and not b"),
        (Unary("not", And((A, B))), "not (a and b)"),
        (Choice(A, Choice(B, A, C), C), "(a if b else c) if a else c"),
        (Choice(A, B, Choice(B, A, C)), "b if a else a if b else c"),
        (Choice(A, B, C) + 1, "(b if a else c) + 1"),
        (W.at(A + 1), "w[a + 1]"),
        (W.at("i", "j"), "w[i, j]"),
        (W.at("i", Slice(A, B)), "w[i, a : b]"),
        (W.cut(A, 4), "w[a : a + 4]"),
        (W.before(3), "w[: 3]"),
        (W.after(A * 2), "w[a * 2 :]"),
        (W.whole(), "w[:]"),
        (call(W.dot("reshape"), -1), "w.reshape(-1)"),
        (call("f", W.at(0), 1.5, True, (3, 2)), "f(w[0], 1.5, True, (3, 2))"),
        (Tuple((A,)), "(a,)"),
        (as_expression(Poly.of("n") * 6 + Poly.of("n") * "k" + 2), "2 + k * n + n * 6"),
        (A * (Poly.of("n") * 6), "a * n * 6"),
        (A * (Poly.of("n") + 6), "a * (6 + n)"),
        (A + (Poly.of("n") + 6), "a + (6 + n)"),
        (as_expression(Poly()), "0"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_expressions(record, text):
    assert python.expression(record) == text


def _random(rng, depth):
    """A random expression and its value at a = 2, b = -3, c = 0.5."""
    if depth == 0 or rng.random() < 0.2:
        values = {A: 2.0, B: -3.0, C: 0.5, Literal(-1.5): -1.5, Literal(3): 3.0}
        return list(values.items())[rng.integers(len(values))]
    (x, u), (y, v), (z, t) = (_random(rng, depth - 1) for _ in range(3))
    made = [
        (x + y, u + v),
        (x - y, u - v),
        (x * y, u * v),
        (-x, -u),
        (Choice(compare(x, "<", y), y, z), v if u < v else t),
        (Choice(And((compare(x, "<=", y), Unary("not", compare(y, ">", z)))), x, z), u if u <= v and not v > t else t),
        (call("max", x, y), max(u, v)),
        (Index(Tuple((x, y, z)), Literal(1)), v),
    ]
    return made[rng.integers(len(made))]


def test_printed_expressions_compute_what_the_records_say():
    rng = np.random.default_rng(0)
    for _ in range(500):
        record, value = _random(rng, 5)
        assert eval(python.expression(record), {"a": 2.0, "b": -3.0, "c": 0.5}) == value


def test_statements():
    body = [
        assign(name_tuple("lo", "hi"), Tuple((A, B))),
        loop("i", "n", [add_to(W.at("i"), A), add_to(W.at("i"), B, "-")]),
        loop("t", -1, [do("step", "t")], Poly.of("n") + 1, -1),
        While(compare(A, ">=", 0), (assign(A, A - 1),)),
        when(compare(A, "<", 1), [Return()], [when(compare(A, "<", 2), [], [Raise(call("E", Literal("it's")))])]),
        Assign(W.at(0), Literal(0), note="why"),
        Return(W.at(0)),
    ]
    assert python.statement_lines(body) == [
        "lo, hi = a, b",
        "for i in range(n):",
        "    w[i] += a",
        "    w[i] -= b",
        "for t in range(1 + n, -1, -1):",
        "    step(t)",
        "while a >= 0:",
        "    a = a - 1",
        "if a < 1:",
        "    return",
        "elif a < 2:",
        "    pass",
        "else:",
        '    raise E("it\'s")',
        "w[0] = 0  # why",
        "return w[0]",
    ]


def test_a_module_imports_what_its_functions_take_from_elsewhere():
    imports = tuple(Import("kernels", x, x) for x in ("jit", "part", "clear", "update", "unused"))
    imports += Import("symbols", "shared", "shared"), Import("m", "f32", "m")
    part = Name("part")
    typed = Argument("w", "float32[::1]"), Argument("n", "int64")
    kernel = Function("kernel", typed, (assign(part, W.at(0)), assign(W.at(1), part)), "Shadows `part`.", "shared")
    both = Function("both", (Argument("w"),), (do("clear", "w"), do("kernel", "w", 1)), "Calls.")
    update = Function("update", (), (loop("s", 2, [do(Name("m").dot("exp"), "s")]),), "")
    items = assign("ENTRY_POINTS", code.List((Name("both"),))), kernel, both, update
    made = python.module(Module("A module.", items, imports))
    assert made == (
        '"""A module."""\n\nimport numpy as np\n\n'
        "from kernels import jit, clear\n"
        "from symbols import shared\nfrom m import f32 as m\n\nENTRY_POINTS = [both]\n\n\n"
        "@shared('void(float32[::1],int64)')\ndef kernel(w, n):\n"
        '    """Shadows `part`."""\n    part = w[0]\n    w[1] = part\n\n\n'
        '@jit\ndef both(w):\n    """Calls."""\n    clear(w)\n    kernel(w, 1)\n\n\n'
        "@jit\ndef update():\n    for s in range(2):\n        m.exp(s)\n"
    )


def test_names_and_replacements():
    body = (loop("i", "n", [assign("x", W.at("i") + A), assign(W.at("i"), call("f", "x"))]),)
    found = names_in(*body)
    assert found.used == {"n", "x", "w", "i", "a", "f"} and found.bound == {"i", "x"}
    other = rewrite_records(body, lambda x: Name("v") if x == W else None)
    assert python.statement_lines(other)[1:] == ["    x = v[i] + a", "    v[i] = f(x)"]
    assert names_in(*body) == found


def test_sums_in_blocks():
    summed = [assign("s", Name("s") + Name("h").at("r") * A)]
    made = block_double_sums("r", Name("n"), ["h"], summed, ["s"])
    x, n = np.arange(700, dtype=np.float64), 700
    scope = {"h": x, "a": 2.0, "n": n, "s": 0.0, "F": float, "part": lambda array, start, size: array[start:][:size]}
    exec("\n".join(python.statement_lines(made)), scope)
    assert scope["s"] == 2.0 * x.sum()
    assert python.statement_lines(made)[0] == "for r0 in range(0, n, 256):"
    assert block_double_sums("r", Name("n"), ["h"], [assign("s", Name("s") + W.at(A + "r"))], ["s"]) is None


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("name", GRAPHS)
def test_every_name_of_a_module_is_known(name, target):
    if (name, target) == ("externals", "cuda"):
        pytest.skip("users' functions are for the CPU")
    made = compile_request(request_of(GRAPHS[name]()), "float32", target)
    tree = ast.parse(made.source)
    known = {*vars(builtins), *made.injected}
    for x in tree.body:
        if isinstance(x, ast.Import | ast.ImportFrom):
            known |= {a.asname or a.name for a in x.names}
        elif isinstance(x, ast.FunctionDef):
            known.add(x.name)
        elif isinstance(x, ast.Assign):
            known |= {y.id for y in ast.walk(x) if isinstance(y, ast.Name) and isinstance(y.ctx, ast.Store)}
    for f in tree.body:
        found = [x for x in ast.walk(f) if isinstance(x, ast.Name)]
        own = {x.id for x in found if isinstance(x.ctx, ast.Store)}
        own |= {a.arg for a in f.args.args} if isinstance(f, ast.FunctionDef) else set()
        assert not {x.id for x in found} - own - known


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT / "ppl").as_posix())
def test_no_text_is_read_again(path):
    """Emitters compose records: no regular expressions, no lists split at commas, no replacing in text."""
    for x in ast.walk(ast.parse(path.read_text())):
        if isinstance(x, ast.Import | ast.ImportFrom):
            assert "re" not in [a.name for a in x.names]
        if isinstance(x, ast.Call) and isinstance(x.func, ast.Attribute):
            assert x.func.attr not in ("split", "rsplit", "splitlines", "partition", "rpartition", "strip", "rstrip")
            plain = isinstance(x.func.value, ast.Name) and x.func.value.id == "dataclasses"
            assert x.func.attr != "replace" or plain


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT / "ppl").as_posix())
def test_no_class_claims_what_others_set(path):
    """What an emitter needs it is handed; a bare annotation in a class is a field, or for subclasses to say."""
    for x in ast.walk(ast.parse(path.read_text())):
        bases = [ast.unparse(b) for b in x.bases] if isinstance(x, ast.ClassDef) else []
        if not isinstance(x, ast.ClassDef) or x.decorator_list or {"NamedTuple", "ABC"} & set(bases):
            continue
        assert not [y for y in x.body if isinstance(y, ast.AnnAssign) and y.value is None], x.name
        assert len(bases) <= 1, f"{x.name} is one thing"


@pytest.mark.parametrize("doc", ["plain", 'axis """', "axis \\N", 'ends with "', "two\nlines"])
def test_any_text_may_stand_in_a_docstring(doc):
    (made,) = ast.parse(python.function(Function("f", (), (Return(A),), doc))).body
    assert ast.get_docstring(made, clean=False) == doc


def test_an_if_without_statements_is_printed():
    assert python.statement_lines([If(A, ())]) == ["if a:", "    pass"]
