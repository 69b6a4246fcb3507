"""Pickles of programs: the recipe and a hash of the traced model, not the machine code.

A pickle holds the objective, whose models go by reference, the settings with choices that were tuned, and for every
signature of data that was traced the specs of its arguments and the hash of its trace. Loading it traces the models
again, refuses those that have changed, and compiles, or reads machine code from the disk, when that is needed. The hash
covers names, shapes, costs and the expressions behind them, but not lines of source. Numbers enter it with 40 bits of
their mantissa: constants that the tracer folds may differ in their last bits between machines."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.pipeline import Settings
from ppl.errors import ModelError
from ppl.ir.node import Array, Node, topological
from ppl.lang.init import Initializer
from ppl.lang.loops import Scan
from ppl.lang.trace import ArgumentSpec, Site, Trace
from ppl.runtime.prepared import PreparedProgram

SOURCE_LINE_FIELDS = {"where", "next_where"}
"""Fields that hold lines of source."""

DIGESTED_PARTS = ("params", "inputs", "sites", "scored", "costs", "factors", "hypers", "least", "plates", "carried",
            "scans")  # fmt: skip
"""What of a trace counts; the rest follows from it, or names lines of source."""


def trace_digest(trace: Trace) -> str:
    """The hash of a trace."""
    walk = _Digest()
    for part in DIGESTED_PARTS:
        walk.add(part)
        walk.add(getattr(trace, part))
    return walk.digest.hexdigest()


class _Digest:
    """One walk over what a trace declares. Expressions that were met before enter as their numbers."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.met: dict[Node, int] = {}
        self.inside: list[int] = []
        self.scans: dict[Scan, int] = {}

    def word(self, *words: Any) -> None:
        """Add words, each with its length in front."""
        for word in words:
            content = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
            self.digest.update(struct.pack("<q", len(content)) + content)

    def add(self, value: Any) -> None:
        """Add a value."""
        self.word(type(value).__qualname__)
        if value is None or isinstance(value, bool | int | str | bytes | np.dtype | type):
            self.word(value if isinstance(value, bytes) else repr(value))
        elif isinstance(value, Enum):
            self.word(value.name)
        elif isinstance(value, float | complex | np.generic | np.ndarray):
            self.numbers(np.asarray(value))
        elif id(value) in self.inside:
            self.word("itself", len(self.inside) - self.inside.index(id(value)))
        else:
            self.inside.append(id(value))
            self.compound(value)
            self.inside.pop()

    def numbers(self, array: np.ndarray) -> None:
        """Add an array."""
        self.word(array.dtype.str, array.shape)
        if array.dtype.kind != "f":
            self.word(array.tobytes())
            return
        mantissa, exponent = np.frexp(array.astype(np.float64))
        finite = np.isfinite(mantissa)
        self.word(np.where(finite, np.rint(np.where(finite, mantissa, 0.0) * 2.0**40), 0.0).astype(np.int64).tobytes())
        self.word(np.where(finite, exponent, 0).astype(np.int32).tobytes())
        self.word(np.sign(np.where(finite, 0.0, np.nan_to_num(array, nan=2.0))).tobytes(), np.isnan(array).tobytes())

    def compound(self, value: Any) -> None:
        """Add a value with parts."""
        if isinstance(value, Node):
            self.node(value)
        elif isinstance(value, Array):
            self.add(value.value)
        elif isinstance(value, Initializer):
            self.parts(name=value.name, arguments=value.arguments)
        elif isinstance(value, Mapping):
            self.word(len(value))
            for key, entry in value.items():
                self.add(key)
                self.add(entry)
        elif isinstance(value, tuple | list):
            self.word(len(value))
            for entry in value:
                self.add(entry)
        elif isinstance(value, set | frozenset):
            self.add(sorted(map(str, value)))
        elif callable(value):
            self.function(value)
        elif isinstance(value, Scan):
            self.word("scan", self.attribute(value))
            self.parts(
                **{n: getattr(value, n) for n in ("length", "reverse", "remat", "inits", "outs", "slices", "aliases")}
            )
        elif is_dataclass(value):
            self.parts(**{f.name: getattr(value, f.name) for f in fields(value) if f.name not in SOURCE_LINE_FIELDS})
        else:
            self.parts(**_own_attributes(value))

    def parts(self, **values: Any) -> None:
        """Add named parts."""
        for name, value in values.items():
            self.word(name)
            self.add(value)

    def node(self, root: Node) -> None:
        """Add an expression, arguments first."""
        for node in topological([root], self.met):
            self.word(node.op, node.type, *(self.met[a] for a in node.args))
            self.parts(**{k: self.attribute(v) for k, v in sorted(node.attrs.items()) if k != "uid"})
            self.met[node] = len(self.met)
        self.word(self.met[root])

    def attribute(self, value: Any) -> Any:
        """An attribute of an expression; loops over time are told apart by their numbers."""
        if isinstance(value, Scan):
            return self.scans.setdefault(value, len(self.scans))
        return value.name if isinstance(value, Site) else value

    def function(self, value: Callable[..., Any]) -> None:
        """Add a function: its name, and the names and constants that its code mentions."""
        plain = getattr(value, "py_func", value)
        self.word(getattr(plain, "__module__", ""), getattr(plain, "__qualname__", type(plain).__qualname__))
        code = getattr(plain, "__code__", None)
        if code is not None:
            self.word(code.co_code, code.co_names, [c for c in code.co_consts if isinstance(c, int | float | str)])


def _own_attributes(value: Any) -> dict[str, Any]:
    """What an object of another class holds, but for what it computes and keeps."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if name != "__weakref__"]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    found |= getattr(value, "__dict__", {})
    kept = {
        n for kind in type(value).__mro__ for n, f in vars(kind).items() if isinstance(f, functools.cached_property)
    }
    return {name: x for name, x in found.items() if name not in kept | SOURCE_LINE_FIELDS}


RECIPE_FORMAT = 1
"""The version of what a pickle holds."""


class Traced(NamedTuple):
    """A signature of data that a program was traced for, and the hash of its trace."""

    arguments: tuple[ArgumentSpec, ...]
    digest: str


class PickledAsRecipe(PreparedProgram):
    """A program that can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            compiled = sorted(self._compiled.values(), key=lambda c: c is self._latest)
        traced = [
            Traced(tuple(c.trace.arguments[name] for name in self.argument_names), trace_digest(c.trace))
            for c in compiled
        ]
        return restored, (RECIPE_FORMAT, type(self), self.objective, self.settings, traced)


def restored(
    version: int, kind: type[PickledAsRecipe], objective: Any, settings: Settings, traced: Sequence[Traced]
) -> Any:
    """The program of a pickle, traced for the same data.

    Raises
    ------
    ModelError
        A model is not there, or declares something else than when the program was pickled.
    """
    if version != RECIPE_FORMAT:
        raise ModelError(f"a pickled program of format {version!r}; this version of ppl reads format {RECIPE_FORMAT}")
    program = kind(objective, settings)
    for arguments, digest in traced:
        if trace_digest(program.prepare(*arguments).trace) != digest:
            raise ModelError(
                f"model '{objective.model.name}' has changed since this program was pickled: compile it again"
            )
    return program
