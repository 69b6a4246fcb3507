"""Long kernels in pieces: for a function of twice as many loops LLVM takes more than twice as long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from ppl.compiler.emit.code.statements import For, Function, Statement, do
from ppl.compiler.emit.code.walk import inside, names_in
from ppl.tuning import LONG_KERNEL


def pieces(function: Function) -> list[Function]:
    """The function, or several that do the same one after the other, each of about `LONG_KERNEL` loops.

    It is cut where no local lives on.
    """
    body = function.body
    if sum(isinstance(x, For) for x in body) <= LONG_KERNEL:
        return [function]
    parts = [body[start:end] for start, end in _ends(body)]
    return [_piece(function, part, i, len(parts)) for i, part in enumerate(parts)]


def _piece(function: Function, body: Sequence[Statement], i: int, count: int) -> Function:
    used = names_in(*body).used
    arguments = tuple(a for a in function.arguments if a.name in used)
    begin = () if i == 0 else (do("prefer_full_width"),)
    return replace(
        function,
        name=f"{function.name}_part_{i}" if i else function.name,
        arguments=arguments,
        body=(*begin, *body),
        doc=f"Part {i + 1} of {count}. {function.doc}",
        apart=tuple(name for name in function.apart if name in used),
    )


def _ends(body: Sequence[Statement]) -> list[tuple[int, int]]:
    """Where pieces begin and end."""
    names = [names_in(x) for x in body]
    last = {name: i for i, found in enumerate(names) for name in found.used}
    ends, loops, alive = [0], 0, -1
    for i, x in enumerate(body):
        counted = {y.var for y in inside(x) if isinstance(y, For)}
        alive = max([alive, *(last.get(name, i) for name in names[i].bound - counted)])
        loops += isinstance(x, For)
        if loops >= LONG_KERNEL and alive <= i:
            ends.append(i + 1)
            loops = 0
    if ends[-1] < len(body):
        ends.append(len(body))
    return list(pairwise(ends))
