"""Addresses in the checked build: every entry and every view is tested against the buffer of its value.

In other builds the same functions write the plain index and the plain view.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from ppl.checked import CHECKED
from ppl.compiler.emit.code import Expression, Given, Name, call, term
from ppl.compiler.emit.scalar import kernel, to_int
from ppl.compiler.schedule.fusion import Value

_names: dict[int, str] = {}


class Owned(NamedTuple):
    """What a value owns of its array: the first entry, the number of entries, and the tag of who reads or writes."""

    start: Given
    size: Given
    number: Expression


def tag(user: str, value: Value) -> Expression:
    """The number under which a violation names the function `user` and what it reads or writes there."""
    text = f"'{value.name}' in {user}"
    number = zlib.crc32(text.encode()) & 0x7FFFFFFF
    _names[number] = text
    return to_int(number)


def place_of(number: int) -> str:
    """What a tag stands for."""
    return _names.get(number, "a kernel")


def entry(address: Given, owned: Owned | None) -> Expression:
    """The index `address`, in the checked build tested against what is owned."""
    return kernel("inside", address, *owned) if owned is not None else term(address)


def cut(array: str, address: Given, count: Given, owned: Owned | None) -> Expression:
    """The view of `count` entries of `array` from `address` on."""
    if owned is not None:
        return kernel("part_of", array, address, count, *owned)
    return call("part", array, address, count)


def begin(value: Value) -> Expression:
    """Where the buffer of `value` begins in its array, as it stands outside of kernels."""
    buffer = value.buffer
    assert buffer is not None
    return term(buffer.offset) + buffer.shift if buffer.shift else term(buffer.offset)


def whole(value: Value, user: str) -> Owned | None:
    """What `value` owns of its array outside of kernels, in the checked build."""
    buffer = value.buffer
    assert buffer is not None
    if not CHECKED:
        return None
    if value.node.op == "input":
        return Owned(0, length(buffer.array), tag(user, value))
    return Owned(begin(value), buffer.size if buffer.size.terms else value.extent(), tag(user, value))


def length(array: str) -> Expression:
    """The number of entries of an array."""
    return Name(array).dot("shape").at(0)


def rest(value: Value, at: Expression, user: str) -> Expression:
    """The view of the buffer of `value` from `at` on."""
    assert value.buffer is not None
    owned = whole(value, user)
    return Name(value.buffer.array).after(at) if owned is None else kernel("rest_of", value.buffer.array, at, *owned)


def tail(value: Value, at: Expression, user: str) -> Expression:
    """The same for products, which need no count of references."""
    assert value.buffer is not None
    return rest(value, at, user) if CHECKED else call("tail", value.buffer.array, at)


def piece(value: Value, at: Expression, count: Given, user: str) -> Expression:
    """The view of `count` entries of the buffer of `value` from `at` on."""
    assert value.buffer is not None
    owned = whole(value, user)
    if owned is None:
        return Name(value.buffer.array).cut(at, term(count))
    return cut(value.buffer.array, at, count, owned)


def one(value: Value, at: Expression, user: str) -> Expression:
    """One entry of the buffer of `value`."""
    assert value.buffer is not None
    return Name(value.buffer.array).at(entry(at, whole(value, user)))
