"""A hash of what a model declares: names, shapes, costs and the expressions behind them, but not lines of source.

Pickled programs carry it, so that a program is not restored from a model that has changed. Numbers enter it with 40
bits of their mantissa: constants that the tracer folds may differ in their last bits between machines.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from ppl.ir.node import Array, Node, topological
from ppl.lang.blocks.init import Initializer
from ppl.lang.time.record import Scan
from ppl.lang.trace import Site, Trace

LINES = {"where", "next_where"}
"""Fields that hold lines of source."""

DECLARED = ("params", "inputs", "sites", "scored", "costs", "factors", "hypers", "least", "plates", "carried",
            "scans")  # fmt: skip
"""What of a trace counts; the rest follows from it, or names lines of source."""


def trace_digest(trace: Trace) -> str:
    """The hash of a trace."""
    walk = _Walk()
    for part in DECLARED:
        walk.add(part)
        walk.add(getattr(trace, part))
    return walk.digest.hexdigest()


class _Walk:
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
            self.parts(**{f.name: getattr(value, f.name) for f in fields(value) if f.name not in LINES})
        else:
            self.parts(**_attributes(value))

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


def _attributes(value: Any) -> dict[str, Any]:
    """What an object of another class holds, but for what it computes and keeps."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if name != "__weakref__"]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    found |= getattr(value, "__dict__", {})
    kept = {
        n for kind in type(value).__mro__ for n, f in vars(kind).items() if isinstance(f, functools.cached_property)
    }
    return {name: x for name, x in found.items() if name not in kept | LINES}
