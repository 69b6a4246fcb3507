"""Emission of addresses: where an entry lies in the flat arrays, as an expression over loop variables."""

from __future__ import annotations

from ppl.checked import CHECKED
from ppl.compiler.emit.checks import cut, entry, tag
from ppl.compiler.lower.layout import Entry, Poly
from ppl.compiler.schedule.fusion import Buffer, Loop, Op, Value
from ppl.compiler.schedule.stages import Cluster
from ppl.ir.types import Axis

SMALL = 4
"""Innermost loops up to this length index directly, because cutting slices costs more than it saves."""


class Addresses:
    """The part of a kernel's writer that knows sizes and addresses, and what has to be passed for them."""

    cluster: Cluster
    row: Axis | None
    name: str
    arguments: dict[str, str]
    count: int
    hoisted: list[str]
    memo: dict[str, str]

    def _text(self, poly: Poly) -> str:
        for name in sorted(poly.names):
            self.arguments.setdefault(name, name)
        return str(poly)

    def _size(self, loop: Loop) -> str:
        if self.row is not None and loop.token == self.row:
            self.arguments.setdefault("n", "n")
            return "n"
        return self._text(loop.size)

    def _base(self, value: Value, buffer: Buffer) -> str:
        if buffer.array in ("w", "v") and value in self.cluster.scratch:
            self.arguments.setdefault(buffer.symbol, buffer.symbol)
            return buffer.symbol
        if buffer.literal:
            return buffer.offset
        passed, step = buffer.offset, value.steps.get(self.row) if self.row is not None else None
        if buffer.rows and step is not None:
            moved = buffer.before_tile(step)
            passed = f"{passed} + {moved}" if passed != "0" else moved
        self.arguments.setdefault(buffer.symbol, passed)
        return buffer.symbol

    def _array(self, buffer: Buffer) -> str:
        self.arguments.setdefault(buffer.array, buffer.array)
        return buffer.array

    def _terms(self, op: Op, value: Value, axes: object, coefs: object, offset: int) -> tuple[Poly, dict[Loop, Poly]]:
        start = value.stride(offset)
        terms: dict[Loop, Poly] = {}
        steps = value.steps
        for axis, key in axes.items():  # type: ignore[attr-defined]
            if isinstance(key, Entry):
                start = start + steps[axis] * key.position
            elif (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + steps[axis]
        for key, coef in coefs.items():  # type: ignore[attr-defined]
            if (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + value.stride(coef)
            if key == self.row and self.row is not None:  # an event dimension seen as rows: the tile begins at t0
                start = start + Poly.of("t0") * coef
        return start, terms

    def _address(self, base: str, start: Poly, terms: dict[Loop, Poly], skip: Loop | None, extra: str) -> str:
        parts = [] if base == "0" else [base]
        for loop, step in terms.items():
            if loop is not skip:
                parts.append(loop.var if step.constant == 1 else f"{loop.var} * {self._text(step)}")
        if start.terms:
            parts.append(self._text(start))
        if extra:
            parts.append(extra)
        return " + ".join(parts) or "0"

    def _hoist(self, key: str, text: str, stem: str) -> str:
        """A local, set before the current innermost loop."""
        if key not in self.memo:
            self.count += 1
            self.memo[key] = f"{stem}_{self.count}h"
            self.hoisted.append(f"{self.memo[key]} = {text}")
        return self.memo[key]

    def _element(self, value: Value, op: Op, where: tuple[Poly, dict[Loop, Poly]], inner: Loop | None,
                 gather: str, moving: bool) -> str:  # fmt: skip
        """The indexed expression of one entry, sliced before the loop where that pays."""
        buffer = value.buffer
        assert buffer is not None, f"{value.name} has no memory"
        array, base = self._array(buffer), self._base(value, buffer)
        start, terms = where
        step = terms.get(inner) if inner is not None else None
        short = inner is not None and (size := inner.size.constant) is not None and size <= SMALL
        if inner is None or moving or (short and step is not None) or (step is not None and step.constant is None):
            return self._at(value, array, self._address(base, start, terms, None, gather))
        if step is None:
            return self._at(value, array, self._address(base, start, terms, None, gather))
        address, stride = self._address(base, start, terms, inner, gather), step.constant
        length = self._size(inner)
        if stride == 1:
            key = self._cut(value, array, address, length)
            return f"{self._hoist(key, key, value.name)}[{inner.var}]"
        if stride is None or stride < 0:
            return self._at(value, array, self._address(base, start, terms, None, gather))
        key = self._cut(value, array, address, f"({length} - 1) * {stride} + 1")
        return f"{self._hoist(key, key, value.name)}[{inner.var} * {stride}]"

    def _at(self, value: Value, array: str, address: str) -> str:
        """The entry of `value` at `address`."""
        return f"{array}[{entry(address, *self._owned(value)) if CHECKED else address}]"

    def _cut(self, value: Value, array: str, address: str, count: str) -> str:
        """The view of `count` entries of `value` from `address` on."""
        return cut(array, address, count, *(self._owned(value) if CHECKED else ("", "", "")))

    def _owned(self, value: Value) -> tuple[str, str, str]:
        """What `value` owns of its array in this tile, for the checked build: start, number of entries, tag."""
        assert value.buffer is not None
        number = tag(self.name, value)
        if value.node.op == "input":
            return "0", f"{value.buffer.array}.shape[0]", number
        size = value.room()
        if value.stack is not None:
            size = value.stack * (value.shape[0] * value.block)
        elif self.row is not None and self.row in value.axes and not value.prefix:
            size = value.extent(skip=(self.row,)) * "n"
        return self._base(value, value.buffer), self._text(size), number
