"""Machine code of a function on disk, one file for every signature, and what it requires when it is loaded.

Numba's own cache has an index for each function, which two processes may leave in disagreement with its data files,
and believes what it reads. Here the name of a file is a hash of the signature, the processor and the build; its
content begins with a hash of the rest, and repeats key and version of the source. What does not agree is compiled
again and written anew, as are files that are garbled, cut off or foreign.

Machine code refers to symbols: of shared kernels, of what a module registers when it is imported, of threads. Numba
hands functions that prepare a load (`reload_init`) from callees to callers and stores them with machine code, a
user's own ``@njit(cache=True)`` functions included. A `Requirement` is such a function. It also carries the version
of what it was compiled from: where that has changed, reading it fails with `OSError`, which Numba takes for a
missing file, and the caller is compiled again.

Files lie under `NUMBA_CACHE_DIR`, if that is absolute, or beside the source, as Numba's do; else in the user's
folder (`ppl.kernels.code_cache.trusted_files`)."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import io
import os
import pickle
import re
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numba

from ppl.kernels import internals
from ppl.kernels.code_cache import trusted_files
from ppl.kernels.code_cache.versions import build_tag, build_version, kernels_version

EMITTED_PREFIX, PRIVATE_PREFIX = "ppl_program_", "ppl_private_"
"""How names of emitted modules begin; what calls a private one is of no use to another process."""

shared_kernels: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""Kernels that are reached by symbol, by symbol."""


class Requirement(NamedTuple):
    """A module that has to be there, in one version, and a kernel whose symbol has to be known, if any."""

    module: str
    version: str
    symbol: str = ""

    def __call__(self) -> None:
        """Make the symbol known."""
        if self.symbol:
            shared_kernels[self.symbol].register()

    def __reduce__(self) -> tuple[Any, ...]:
        return restore_requirement, tuple(self)


def restore_requirement(*fields: str) -> Requirement:
    """A `Need` as it is read from disk: its module is imported and compared.

    Files of users' own caches contain the name of this function, whatever version wrote them.

    Raises
    ------
    OSError
        The module is missing or another one, and so machine code that contains it is stale.
    """
    if len(fields) != 3 or fields[1] != build_version():
        raise OSError(f"compiled with another version of {fields[:1]}")
    module, version, symbol = fields
    if module not in sys.modules:
        if module.startswith((EMITTED_PREFIX, PRIVATE_PREFIX)):
            raise OSError(f"compiled with {module}, which is not loaded")
        try:
            importlib.import_module(module)
        except Exception as error:
            raise OSError(f"compiled with {module}, which cannot be imported") from error
    if symbol and symbol not in shared_kernels:
        raise OSError(f"compiled with {symbol}, which is not there")
    return Requirement(module, version, symbol)


MAGIC = b"ppl machine code 1\n"


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


def pack_file(identity: Any, payload: Any) -> bytes:
    """A file's content: what it is, what it holds, and the hash of both in front."""
    body = internals.dumps(identity) + internals.dumps(payload)
    return MAGIC + _digest(body) + body


def unpack_file(content: bytes | None, identity: Any) -> Any:
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


class MachineCodeCache(internals.Cache):
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
        trusted = trusted_files.trusted_owners(self.file)
        for folder in self._folders():
            if trusted_files.why_untrusted(folder, trusted):
                continue
            payload = unpack_file(trusted_files.read_trusted(folder / self._name(identity), trusted), identity)
            if payload is not None:
                try:
                    found = internals.rebuilt(target_context, payload)
                except Exception:  # what it needs is not there: compiling says why
                    return None
                return found if internals.has_needed_machine_code(found, self.fn) else None
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write machine code of a signature where that is possible."""
        internals.attach(data, Requirement(self.fn.__module__, build_version()))
        stamp = self._stamp()
        if stamp is None or not internals.can_be_kept(data):
            return
        identity = self._identity(sig, data.codegen, stamp)
        try:
            content = pack_file(identity, internals.reduced(data))
        except Exception:  # holds something that cannot be written
            return
        trusted, reason = trusted_files.trusted_owners(self.file), ""
        for folder in self._folders():
            reason = trusted_files.create_folder(folder, trusted) or trusted_files.write_whole(
                folder / self._name(identity), content
            )
            if not reason:
                return
        if reason:
            trusted_files.warn_kept_in_memory(reason)

    def _ready(self, target_context: Any) -> None:
        """Make known what machine code refers to, which may be anything of Numba's if it has users' functions in it."""
        module = self.fn.__module__
        own = module.startswith(("ppl.kernels.", EMITTED_PREFIX)) and not self.fn.__globals__.get("EXTERNALS")
        internals.ready_to_load(target_context) if own else target_context.refresh()

    def _stamp(self) -> tuple[str, str] | None:
        found = self.stamp() if self.enabled and not self.fn.__module__.startswith(PRIVATE_PREFIX) else None
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
            yield trusted_files.folder_standing_for(Path(numba.config.CACHE_DIR), source)
        yield source / "__pycache__"
        if not self.fn.__module__.startswith(EMITTED_PREFIX) and (user := trusted_files.user_folder()[0]) is not None:
            yield trusted_files.folder_standing_for(user, source)
