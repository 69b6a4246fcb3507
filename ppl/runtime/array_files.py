"""Files of arrays: written whole or not at all, read with nothing taken on trust; memory-mapped arrays are recognised.

A file is an `.npz` whose members are stored as they are (neither compressed nor pickled), so that no array is larger
than the file. It is written beside its place under a temporary name and then moved. The writer holds a lock on the
temporary file while it lives; a file whose lock is free belongs to nobody, and the next start removes it."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
import stat
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from ppl.errors import DataError, MissingFileError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows removes no file that is open, which serves as the lock
    fcntl = None  # type: ignore[assignment]

NUMBER_KINDS = "biuf"
"""Kinds of numbers that a file may hold."""

ESCAPED_CHARACTERS = re.compile(r"[%\\\x00-\x1f\ud800-\udfff]")
"""Characters that archives or their encoding change."""

CHUNK_BYTES = 1 << 24

HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` beside `path` and move it into place: whenever the process ends, the file is the old or the new.

    Raises
    ------
    DataError
        An array holds something else than numbers.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in NUMBER_KINDS:
            raise DataError(f"'{name}' holds {array.dtype}, which a file cannot store")
    path = os.path.realpath(path)
    file, temporary = _open_temporary(path)
    try:
        with file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, array in arrays.items():
                    with archive.open(f"{_escape(name)}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            file.flush()
            if fcntl is not None:
                os.replace(temporary, path)
        if fcntl is None:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove_abandoned(path: str | os.PathLike[str]) -> None:
    """Remove temporary files of `path` whose writers are gone; those of living ones are left alone."""
    folder, name = os.path.split(os.path.realpath(path))
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(f".{name}.") and entry.name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_unlocked(entry.path)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise DataError unless a file can be written at `path`; found out by writing an empty one beside it."""
    path = os.path.realpath(path)
    if os.path.isdir(path):
        raise DataError(f"'{path}' is a folder, not a file")
    try:
        file, temporary = _open_temporary(path)
        file.close()
        os.unlink(temporary)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file that `write_npz` wrote.

    Sizes are compared with that of the file before anything is read, and every byte is compared with its checksum.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        The file is something else, cut short, altered, or cannot be read.
    """
    path = os.fspath(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError("it is not a file")
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = _checked_members(archive, os.fstat(file.fileno()).st_size)
            return {_unescape(name): _read_array(archive, member) for name, member in members.items()}
    except FileNotFoundError:
        raise MissingFileError(f"there is no file '{path}'") from None
    except (DataError, OSError) as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error
    except Exception as error:  # whatever zipfile and the header's parser make of altered bytes
        raise DataError(f"'{path}' cannot be read: {type(error).__name__}: {error}") from error


def _open_temporary(path: str) -> tuple[IO[bytes], str]:
    """A new file beside `path`, locked by this process, and its name."""
    folder, name = os.path.split(path)
    while True:
        temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:16]}.tmp")
        file = open(temporary, "xb")  # noqa: SIM115 - the caller closes it
        if fcntl is None:
            return file, temporary
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):  # removed between creation and lock
            if os.path.samestat(os.stat(temporary), os.fstat(file.fileno())):
                return file, temporary
        file.close()


def _remove_unlocked(temporary: str) -> None:
    """Remove a file if nobody holds a lock on it."""
    if fcntl is None:
        os.unlink(temporary)
        return
    with open(temporary, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(temporary)


def _escape(name: str) -> str:
    """A name whose characters an archive keeps as they are."""
    return ESCAPED_CHARACTERS.sub(lambda found: f"%{ord(found[0]):06x}", name)


def _unescape(name: str) -> str:
    return re.sub("%([0-9a-f]{6})", lambda found: chr(int(found[1], 16)), name)


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name, once their sizes are known to fit into a file of `size` bytes."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in found or name == member.filename:
            raise DataError(f"member '{member.filename}' is there twice, or is no array")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise DataError(f"array '{name}' is compressed; files of ppl are not")
        found[name] = member
    if sum(member.file_size for member in found.values()) > size:
        raise DataError(f"its arrays claim more than the {size} bytes of the file")
    return found


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array. Its checksum is compared when the last byte has been read."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in HEADER_READERS:
            raise DataError(f"array '{member.filename}' is in version {version} of the format")
        shape, fortran, dtype = HEADER_READERS[version](stream)
        count = _count_entries(shape)
        if dtype.kind not in NUMBER_KINDS or dtype.hasobject or dtype.subdtype is not None:
            raise DataError(f"array '{member.filename}' holds {dtype}, not numbers")
        if count < 0 or count * dtype.itemsize != member.file_size - stream.tell():
            raise DataError(f"array '{member.filename}' of {dtype}{shape} has another length")
        flat = np.empty(count, dtype)
        place = memoryview(flat.view(np.uint8).data)
        for chunk in _read_chunks(stream):
            place[: len(chunk)], place = chunk, place[len(chunk) :]
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)


def _read_chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _count_entries(shape: Any) -> int:
    """How many entries an array of this shape has; −1 if it is no shape."""
    good = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    return math.prod(shape) if good else -1


def is_memory_mapped(array: Any) -> bool:
    """Whether the memory of an array is that of a mapped file."""
    while array is not None:
        if isinstance(array, mmap.mmap):
            return True
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return False
