"""Scalars for TensorBoard, as it reads them: a file of records, each a small protocol buffer with its checksums.

A record is its length, the masked CRC-32C of the length, the content, and the masked CRC-32C of that. The content is an
`Event` of `tensorflow/core/util/event.proto`.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from ppl.arguments import MANY, file_path, integer

POLYNOMIAL = 0x82F63B78
"""Of Castagnoli, bits reversed."""


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


TABLE = _table()


class TensorBoard:
    """A `callback=` of `ppl.fit` that writes the loss, the costs and the validation of every `every`-th step.

    A run that is taken up writes a new file, which tells TensorBoard to forget what came behind its first step. No
    package is needed to write; ``tensorboard --logdir folder`` shows it.

    Parameters
    ----------
    folder : made if it is not there.
    every : steps between two entries. Steps between them are taken in one call of compiled code.

    Raises
    ------
    OptionError
        `folder` is no path, or `every` no positive number.
    """

    def __init__(self, folder: Any, every: int = 100):
        self.folder = file_path("TensorBoard: folder", folder)
        self.every = integer("TensorBoard: every", every, 1, MANY)
        self._path = ""

    def __call__(self, step: int, state: Any, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a step."""
        content = b""
        if not self._path:
            os.makedirs(self.folder, exist_ok=True)
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
            self._path = os.path.join(self.folder, name)
            content = _record(_event(0, _bytes(3, b"brain.Event:2"))) + _record(_event(step, _bytes(7, b"\x08\x01")))
        values = b"".join(
            _bytes(1, _bytes(1, name.encode("utf-8", "replace")) + b"\x15" + struct.pack("<f", value))
            for name, value in metrics.items()
        )
        with open(self._path, "ab") as file:
            file.write(content + _record(_event(step, _bytes(5, values))))


def _event(step: int, content: bytes) -> bytes:
    """An event of a step, at the present time."""
    return b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + content


def _bytes(field: int, content: bytes) -> bytes:
    """A field that has a length."""
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    """The masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
