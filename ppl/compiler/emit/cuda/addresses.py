"""Addresses of entries for devices."""

from __future__ import annotations

from collections.abc import Mapping

from ppl.compiler.emit.address import Addresses, Place
from ppl.compiler.emit.checks import Owned, begin
from ppl.compiler.emit.code import Expression, Literal, call, term
from ppl.compiler.emit.scalar import to_word
from ppl.compiler.lower.views import Entry, Key, Poly
from ppl.compiler.schedule.fusion import Loop, Op, Value
from ppl.ir.types import Axis


class Unsigned(Addresses):
    """Addresses for devices, which have few registers for many arrays, and multiply 32-bit numbers fastest.

    How far an entry lies from where its array begins for the slab is a 32-bit number. Addresses are known to be no
    negative number, which Numba would count from the end.
    """

    def address(self, base: Expression, place: Place, skip: Loop | None = None, extra: Expression | None = None
                ) -> Expression:  # fmt: skip
        """A place as an index of the array."""
        far = super().address(Literal(0), place, skip, extra)
        if isinstance(far, Literal):
            return super().address(base, place, skip, extra)
        return call("narrow", far) if base == Literal(0) else base + call("narrow", far)

    def base(self, value: Value) -> Expression:
        """Where the buffer of `value` begins: that of all rows, which a launch is told."""
        buffer = value.buffer
        assert buffer is not None
        if buffer.rows and not buffer.literal:
            return self.passed.name(buffer.symbol, begin(value))
        return super().base(value)

    def terms(self, op: Op, value: Value, axes: Mapping[Axis, Key | Entry], coefs: Mapping[Key, int], offset: int
              ) -> Place:  # fmt: skip
        """Where `op` reads or writes `value`, of all rows if its buffer holds them."""
        start, moved = super().terms(op, value, axes, coefs, offset)
        if (step := self._step(value)) is not None:
            self.passed.name("t0")
            start = start + Poly.of("t0") * step
        return start, moved

    def _owned(self, value: Value) -> Owned | None:
        """What `value` owns of its array for the rows of this slab, in the checked build."""
        owned, step = super()._owned(value), self._step(value)
        if owned is None or value.node.op == "input" or step is None:
            return owned
        self.passed.name("t0")
        return owned._replace(start=term(owned.start) + self.passed.size(Poly.of("t0") * step))

    def _step(self, value: Value) -> Poly | None:
        """The distance of neighbouring rows, where the buffer of `value` holds all rows."""
        buffer = value.buffer
        if buffer is None or not buffer.rows or buffer.literal or self.row is None:
            return None
        return value.steps.get(self.row)

    def at(self, value: Value, array: str, address: Expression) -> Expression:
        """The entry of `value` at `address`."""
        return super().at(value, array, to_word(address))
