"""Write the metrics of `ppl.fit` for TensorBoard.

A file of records, each a small protocol buffer (`Event` of `tensorflow/core/util/event.proto`) with its checksums.
To be replaced by tensorboardX."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from ppl.arguments import MANY, file_path, integer

CRC32C_POLYNOMIAL = 0x82F63B78
"""Of Castagnoli, bits reversed."""


def _make_crc_table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (CRC32C_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


CRC32C_TABLE = _make_crc_table()


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
            content = _frame_record(_encode_event(0, _encode_bytes(3, b"brain.Event:2"))) + _frame_record(
                _encode_event(step, _encode_bytes(7, b"\x08\x01"))
            )
        values = b"".join(
            _encode_bytes(1, _encode_bytes(1, name.encode("utf-8", "replace")) + b"\x15" + struct.pack("<f", value))
            for name, value in metrics.items()
        )
        with open(self._path, "ab") as file:
            file.write(content + _frame_record(_encode_event(step, _encode_bytes(5, values))))


def _encode_event(step: int, content: bytes) -> bytes:
    """An event of a step, at the present time."""
    return b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _encode_varint(step) + content


def _encode_bytes(field: int, content: bytes) -> bytes:
    """A field that has a length."""
    return bytes([field << 3 | 2]) + _encode_varint(len(content)) + content


def _encode_varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _frame_record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked_crc32c(length) + content + _masked_crc32c(content)


def _masked_crc32c(content: bytes) -> bytes:
    """The masked CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ CRC32C_TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
