"""The printer of emitted records as Python for Numba.

Every statement is one line, parentheses are where Python needs them, and a module imports what its functions use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ppl.compiler.emit.code import (
    And,
    Assign,
    Attribute,
    Binary,
    Call,
    Choice,
    Compare,
    Do,
    Expression,
    For,
    Function,
    If,
    Import,
    Index,
    List,
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
    call,
    names_in,
)

CHOICE, BOTH, NOT, COMPARE, NEGATIVE, ATOM = 1, 3, 4, 5, 12, 14

BINDING = {"|": 6, "&": 8, "+": 10, "-": 10, "*": 11, "/": 11, "//": 11}
"""How strongly operators bind, in Python's order."""

DECORATORS: dict[str, Expression] = {
    "jit": Name("jit"),
    "entry": Name("entry"),
    "launch": Name("kernel"),
}
"""What stands before a function, by its form; before others stands nothing."""


def expression(x: Expression) -> str:
    """The text of an expression."""
    return _printed(x)[0]


def _printed(x: Expression) -> tuple[str, int]:
    """The text of an expression, and how strongly it binds."""
    if isinstance(x, Name):
        return x.name, ATOM
    if isinstance(x, Binary):
        own = BINDING[x.op]
        return f"{_parenthesised(x.left, own)} {x.op} {_parenthesised(x.right, own + 1)}", own
    if isinstance(x, Literal):
        text = repr(x.value)
        return text, NEGATIVE if text.startswith("-") else ATOM
    if isinstance(x, Call):
        return f"{_parenthesised(x.function, ATOM)}({_comma_separated(x.arguments)})", ATOM
    if isinstance(x, Index):
        return f"{_parenthesised(x.array, ATOM)}[{_subscript(x.index)}]", ATOM
    if isinstance(x, Attribute):
        return f"{_parenthesised(x.value, ATOM)}.{x.name}", ATOM
    if isinstance(x, Choice):
        return f"{_parenthesised(x.yes, 2)} if {_parenthesised(x.test, 2)} else {_parenthesised(x.no, CHOICE)}", CHOICE
    if isinstance(x, Compare):
        first, *others = (_parenthesised(t, COMPARE + 1) for t in x.terms)
        return " ".join([first, *(f"{op} {t}" for op, t in zip(x.ops, others, strict=True))]), COMPARE
    if isinstance(x, And):
        return " and ".join(_parenthesised(t, BOTH + 1) for t in x.terms), BOTH
    if isinstance(x, Unary):
        return (
            (f"not {_parenthesised(x.value, NOT)}", NOT)
            if x.op == "not"
            else (f"-{_parenthesised(x.value, NEGATIVE)}", NEGATIVE)
        )
    if isinstance(x, Tuple):
        return f"({_comma_separated(x.items)}{',' if len(x.items) == 1 else ''})", ATOM
    if isinstance(x, List):
        return f"[{_comma_separated(x.items)}]", ATOM
    raise TypeError(f"{x!r} is no expression")


def _parenthesised(x: Expression, least: int) -> str:
    """The text of a part of an expression, in parentheses where it binds less than `least`."""
    text, own = _printed(x)
    return text if own >= least else f"({text})"


def _comma_separated(items: Iterable[Expression]) -> str:
    return ", ".join(map(expression, items))


def _subscript(x: Expression) -> str:
    """What stands in brackets."""
    if isinstance(x, Tuple):
        return ", ".join(map(_subscript, x.items))
    if not isinstance(x, Slice):
        return expression(x)
    start, stop = ("" if end is None else expression(end) for end in (x.start, x.stop))
    return " ".join(filter(None, (start, ":", stop)))


def statement_lines(statements: Iterable[Statement]) -> list[str]:
    """The lines of a body."""
    return [line for x in statements for line in _statement(x)]


def _statement(x: Statement) -> Iterator[str]:
    if isinstance(x, Assign):
        target, value = (_unparenthesised(side) for side in (x.target, x.value))
        yield f"{target} {x.op}= {value}" + (f"  # {x.note}" if x.note else "")
    elif isinstance(x, Do):
        yield expression(x.call)
    elif isinstance(x, For):
        ends = [end for end in (x.start, x.stop, x.step) if end is not None]
        yield f"for {x.var} in range({_comma_separated(ends)}):"
        yield from _indented(x.body)
    elif isinstance(x, While):
        yield f"while {expression(x.test)}:"
        yield from _indented(x.body)
    elif isinstance(x, If):
        yield from _branch("if", x)
    elif isinstance(x, Return):
        yield "return" if x.value is None else f"return {expression(x.value)}"
    elif isinstance(x, Raise):
        yield f"raise {expression(x.value)}"
    else:
        raise TypeError(f"{x!r} is no statement")


def _unparenthesised(x: Expression) -> str:
    """A side of an assignment: several values need no parentheses."""
    return _comma_separated(x.items) if isinstance(x, Tuple) and len(x.items) > 1 else expression(x)


def _branch(word: str, x: If) -> Iterator[str]:
    yield f"{word} {expression(x.test)}:"
    yield from _indented(x.body)
    if len(x.orelse) == 1 and isinstance(x.orelse[0], If):
        yield from _branch("elif", x.orelse[0])
    elif x.orelse:
        yield "else:"
        yield from _indented(x.orelse)


def _indented(body: Iterable[Statement]) -> Iterator[str]:
    yield from ("    " + line for line in statement_lines(body) or ["pass"])


def decorator(x: Function) -> Expression | None:
    """What stands before a function; types are those of its arguments, where it is reached by symbol."""
    if x.form == "shared":
        return call("shared", Literal(f"void({','.join(a.type for a in x.arguments)})"))
    return DECORATORS.get(x.form)


def function(x: Function) -> str:
    """The definition of a function."""
    before = decorator(x)
    top = [] if before is None else [f"@{expression(before)}"]
    top.append(f"def {x.name}({', '.join(a.name for a in x.arguments)}):")
    return "\n".join([*top, *([f"    {_documentation(x.doc)}"] if x.doc else []), *_indented(x.body)])


def _documentation(text: str) -> str:
    """The literal of a docstring; names of users' in it may contain anything."""
    return repr(text) if {'"', "\\"} & set(text) else f'"""{text}"""'


def needed_names(x: Function | Assign) -> set[str]:
    """Names that a function, or a constant, takes from its module."""
    if isinstance(x, Assign):
        return names_in(x.value).used
    found, before = names_in(x), decorator(x)
    own = set() if before is None else names_in(before).used
    return (found.used - found.bound) | own


def defined_names(x: Function | Assign) -> set[str]:
    """Names that a function or constant has in its module."""
    return names_in(x).bound if isinstance(x, Assign) else {x.name}


def module(x: Module) -> str:
    """The source of a module."""
    wanted = {name for item in x.items for name in needed_names(item)} - {
        name for item in x.items for name in defined_names(item)
    }
    found = [i for i in x.imports if i.known in wanted]
    parts = [f'"""{x.doc}"""\n\n' + "\n".join(["import numpy as np", "", *imports(found), ""])]
    for item in x.items:
        text = function(item) if isinstance(item, Function) else "\n".join(statement_lines([item]))
        if isinstance(item, Assign) and len(parts) == 1:  # constants stand together behind the imports
            parts[0] += f"\n{text}"
        else:
            parts.append(text)
    return "\n\n\n".join(parts) + "\n"


def imports(found: Iterable[Import]) -> list[str]:
    """Lines of imports: one for each module."""
    by_module: dict[str, list[str]] = {}
    for x in found:
        text = x.name if x.name == x.known else f"{x.name} as {x.known}"
        by_module.setdefault(x.module, []).append(text)
    return [f"from {name} import {', '.join(texts)}" for name, texts in by_module.items()]
