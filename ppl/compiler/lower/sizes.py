"""Run-time sizes: polynomials in them, and the identifiers by which emitted code knows them.

A size that is known only at run time is the symbol ``n_NAME`` of its axis. `identifier` makes names of users' into
parts of Python identifiers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ppl.ir.types import Axis, Type
from ppl.records import dataclass

RESERVED_PREFIXES = (
    "n_",
    "total_",
    "scale_",
    "ids_",
    "row0_",
    "x_",
    "batch_",
    "out_",
    "best_",
    "t_",
    "c_",
    "slab_",
    "lane_",
    "stride_",
    "tile_",
    "first_",
    "chunk_",
    "rows",
    "stage",
    "v_",
)
"""What other locals of emitted code begin with, that end as names of plates, arguments, outputs or stages do."""

_FOREIGN, _ESCAPED = re.compile(r"[^A-Za-z0-9_]"), re.compile(r"[^A-Za-z0-9_]|_(?=X[0-9A-F])")


def identifier(name: str) -> str:
    """`name` as part of a Python identifier; different names give different ones.

    A character that identifiers lack becomes ``_X20_``, by its code, and so does a ``_`` that would begin such text.
    """
    return _ESCAPED.sub(lambda found: f"_X{ord(found[0]):X}_", name)


def value_stem(name: str) -> str:
    """What the name of a value in emitted code begins with, before its number; no other local begins so.

    Different names may have one stem: the number tells their values apart.
    """
    text = _FOREIGN.sub("_", name)
    return text if text[:1].isalpha() and not text.startswith(RESERVED_PREFIXES) else f"v_{text}"


@dataclass(frozen=True)
class Poly:
    """A polynomial in run-time sizes with integer coefficients; prints as a Python expression."""

    terms: tuple[tuple[tuple[str, ...], int], ...] = ()

    @staticmethod
    def of(value: int | str | Poly) -> Poly:
        """A constant or one symbol."""
        if isinstance(value, Poly):
            return value
        if isinstance(value, str):
            return Poly((((value,), 1),))
        return Poly((((), int(value)),)) if value else Poly()

    def __add__(self, other: int | str | Poly) -> Poly:
        out = dict(self.terms)
        for names, coef in Poly.of(other).terms:
            out[names] = out.get(names, 0) + coef
        return Poly(tuple(sorted((k, c) for k, c in out.items() if c)))

    def __mul__(self, other: int | str | Poly) -> Poly:
        out: dict[tuple[str, ...], int] = {}
        for a, x in self.terms:
            for b, y in Poly.of(other).terms:
                key = tuple(sorted(a + b))
                out[key] = out.get(key, 0) + x * y
        return Poly(tuple(sorted((k, c) for k, c in out.items() if c)))

    @property
    def constant(self) -> int | None:
        """The value, if it does not depend on run-time sizes."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def names(self) -> set[str]:
        """The run-time sizes it depends on."""
        return {n for names, _ in self.terms for n in names}

    def renamed(self, names: Mapping[str, str]) -> Poly:
        """The same in other symbols."""
        found = Poly()
        for factors, coef in self.terms:
            found = found + Poly(((tuple(sorted(names.get(n, n) for n in factors)), coef),))
        return found

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Its value at given run-time sizes."""
        total = 0
        for names, coef in self.terms:
            for name in names:
                coef *= sizes[name]
            total += coef
        return total

    def __str__(self) -> str:
        parts = []
        for names, coef in self.terms:
            factors = [*names] if coef == 1 and names else [*names, str(coef)]
            parts.append(" * ".join(factors))
        text = " + ".join(parts) or "0"
        return f"({text})" if len(parts) > 1 else text


def axis_size(axis: Axis) -> Poly:
    """Length of a named axis, symbolic where known only at run time."""
    return Poly.of(axis.size if axis.size is not None else f"n_{identifier(axis.name)}")


def entry_count(kind: Type) -> Poly:
    """Number of entries of a value of this type."""
    size = Poly.of(kind.event_size)
    for axis in kind.axes:
        size = size * axis_size(axis)
    return size
