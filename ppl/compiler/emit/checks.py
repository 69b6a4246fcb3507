"""Addresses in the checked build: every entry and every view is tested against the buffer of its value.

In other builds the same functions write the plain index and the plain view.
"""

from __future__ import annotations

import zlib

from ppl.checked import CHECKED
from ppl.compiler.emit.scalar import arguments
from ppl.compiler.schedule.fusion import Value

IMPORTS = "from ppl.kernels.cpu.guards import inside, part_of, rest_of\n" if CHECKED else ""
"""What emitted modules import for it."""

PART = r"part(_of)?"
"""The functions that cut a slice, as a regular expression."""

_names: dict[int, str] = {}


def tag(user: str, value: Value) -> str:
    """The number under which a violation names the function `user` and what it reads or writes there."""
    text = f"'{value.name}' in {user}"
    number = zlib.crc32(text.encode()) & 0x7FFFFFFF
    _names[number] = text
    return f"I({number})"


def place_of(number: int) -> str:
    """What a tag stands for."""
    return _names.get(number, "a kernel")


def entry(address: str, start: str, size: str, number: str) -> str:
    """The index `address`, tested against the `size` entries from `start` on."""
    return f"inside({arguments(address, start, size, number)})" if CHECKED else address


def cut(array: str, address: str, count: str, start: str, size: str, number: str) -> str:
    """The view of `count` entries of `array` from `address` on."""
    if CHECKED:
        return f"part_of({array}, {arguments(address, count, start, size, number)})"
    return f"part({array}, {address}, {count})"


def whole(value: Value) -> tuple[str, str]:
    """Where the buffer of `value` begins in its array, and its number of entries there."""
    buffer = value.buffer
    assert buffer is not None
    if value.node.op == "input":
        return "0", f"{buffer.array}.shape[0]"
    return buffer.offset, str(buffer.size if buffer.size.terms else value.extent())


def rest(value: Value, at: str, user: str, plain: str = "") -> str:
    """The view of the buffer of `value` from `at` on; `plain` is how other builds write it."""
    assert value.buffer is not None
    array = value.buffer.array
    if not CHECKED:
        return plain or f"{array}[{at} :]"
    return f"rest_of({array}, {arguments(at, *whole(value), tag(user, value))})"


def piece(value: Value, at: str, count: object, user: str) -> str:
    """The view of `count` entries of the buffer of `value` from `at` on."""
    assert value.buffer is not None
    array = value.buffer.array
    if not CHECKED:
        return f"{array}[{at} : {at} + {count}]"
    return cut(array, at, str(count), *whole(value), tag(user, value))


def one(value: Value, at: str, user: str) -> str:
    """One entry of the buffer of `value`."""
    assert value.buffer is not None
    return f"{value.buffer.array}[{entry(at, *whole(value), tag(user, value)) if CHECKED else at}]"
