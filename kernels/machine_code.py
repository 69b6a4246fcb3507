"""Machine code of a function on disk: one file for every signature, which says what it is.

Numba's own cache has an index for each function, which two processes may leave in disagreement with its data files,
and believes what it reads. Here the name of a file is a hash of the signature, the processor and the build; its content
begins with a hash of the rest, and repeats key and version of the source. What does not agree is compiled again and
written anew, as are files that are garbled, cut off or foreign.

Files lie under `NUMBA_CACHE_DIR`, if that is absolute, or beside the source, as Numba's do; else in the user's folder
(`ppl.kernels.folders`).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

from ppl.kernels import folders, internals
from ppl.kernels.build import build, build_tag, kernels_version
from ppl.kernels.needs import EMITTED, PRIVATE, Need

MAGIC = b"ppl machine code 1\n"


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


def pack(identity: Any, payload: Any) -> bytes:
    """A file's content: what it is, what it holds, and the hash of both in front."""
    body = internals.dumps(identity) + internals.dumps(payload)
    return MAGIC + _digest(body) + body


def unpack(content: bytes | None, identity: Any) -> Any:
    """What a file holds, or None if it is garbled, or not what `identity` says."""
    if content is None or not content.startswith(MAGIC):
        return None
    body = content[len(MAGIC) + 32 :]
    if content[len(MAGIC) : len(MAGIC) + 32] != _digest(body):
        return None
    file = io.BytesIO(body)
    try:
        return pickle.load(file) if pickle.load(file) == identity else None
    except Exception:  # of another build: whatever its classes raise
        return None


class MachineCode(internals.Cache):
    """The disk cache of one dispatcher.

    `stamp` gives the version of the function's source, or None where its machine code must not be kept; `form` tells
    apart several dispatchers of one function.
    """

    def __init__(self, fn: Callable[..., Any], stamp: Callable[[], str | None], form: str = ""):
        self.fn, self.stamp, self.form = fn, stamp, form
        self.enabled = True

    @functools.cached_property
    def file(self) -> Path:
        """Where the function stands."""
        return Path(inspect.getfile(self.fn))

    @property
    def cache_path(self) -> str | None:
        """The first folder that is looked into."""
        return str(next(self._folders(), None))

    def enable(self) -> None:
        """Read and write files."""
        self.enabled = True

    def disable(self) -> None:
        """Read and write no files."""
        self.enabled = False

    def flush(self) -> None:
        """Do nothing: files of another version are never read, and are written over."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code of a signature, or None if it has to be compiled."""
        self._ready(target_context)
        stamp = self._stamp()
        if stamp is None:
            return None
        identity = self._identity(sig, target_context.codegen(), stamp)
        trusted = folders.owners(self.file)
        for folder in self._folders():
            if folders.flaw(folder, trusted):
                continue
            payload = unpack(folders.read(folder / self._name(identity), trusted), identity)
            if payload is not None:
                try:
                    found = internals.rebuilt(target_context, payload)
                except Exception:  # what it needs is not there: compiling says why
                    return None
                return found if internals.is_whole(found, self.fn) else None
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write machine code of a signature where that is possible."""
        internals.attach(data, Need(self.fn.__module__, build()))
        stamp = self._stamp()
        if stamp is None or not internals.can_be_kept(data):
            return
        identity = self._identity(sig, data.codegen, stamp)
        try:
            content = pack(identity, internals.reduced(data))
        except Exception:  # holds something that cannot be written
            return
        trusted, reason = folders.owners(self.file), ""
        for folder in self._folders():
            reason = folders.prepare(folder, trusted) or folders.write(folder / self._name(identity), content)
            if not reason:
                return
        if reason:
            folders.in_memory(reason)

    def _ready(self, target_context: Any) -> None:
        """Make known what machine code refers to, which may be anything of Numba's if it has users' functions in it."""
        module = self.fn.__module__
        own = module.startswith(("ppl.kernels.", EMITTED)) and not self.fn.__globals__.get("EXTERNALS")
        internals.ready_to_load(target_context) if own else target_context.refresh()

    def _stamp(self) -> tuple[str, str] | None:
        found = self.stamp() if self.enabled and not self.fn.__module__.startswith(PRIVATE) else None
        return None if found is None else (found, kernels_version())

    def _identity(self, sig: Any, codegen: Any, stamp: tuple[str, str]) -> tuple[Any, ...]:
        function = self.fn.__module__, self.fn.__qualname__, self.fn.__code__.co_firstlineno
        machine = internals.processor(codegen), sys.implementation.cache_tag
        return (function, sig, *machine, build_tag(), self.form), stamp

    def _name(self, identity: tuple[Any, ...]) -> str:
        """Of all versions of the source, so that files do not pile up."""
        plain = re.sub(r"[^\w.]", "", f"{self.file.stem}.{self.fn.__qualname__}")[:100]
        key = hashlib.blake2b(repr(identity[0]).encode(), digest_size=12).hexdigest()
        return f"{plain}.{key}.nbc"

    def _folders(self) -> Iterator[Path]:
        """Where to look, in this order."""
        if not self.file.is_absolute():  # typed in, or in memory
            return
        source = self.file.parent
        if os.path.isabs(numba.config.CACHE_DIR):
            yield folders.below(Path(numba.config.CACHE_DIR), source)
        yield source / "__pycache__"
        if not self.fn.__module__.startswith(EMITTED) and (user := folders.user()[0]) is not None:
            yield folders.below(user, source)
