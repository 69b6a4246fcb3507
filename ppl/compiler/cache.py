"""Emitted modules on disk: written once, atomically, under a name that hashes their content; then imported.

The folder is `$PPL_CACHE_DIR` or `~/.cache/ppl`; one that others may write to is refused. Existing files are never
rewritten, because Numba recognises a source by its time stamp and size.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import itertools
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def folder() -> Path:
    """The cache folder, created if need be and checked to be writable by its owner alone."""
    root = os.environ.get("PPL_CACHE_DIR")
    path = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppl"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.stat()
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or info.st_uid != os.getuid():
        raise PermissionError(f"{path} may be written to by others; set PPL_CACHE_DIR to a folder of your own")
    return path


@cache
def _temporary() -> Path:
    path = tempfile.mkdtemp(prefix="ppl")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


_numbers = itertools.count()
_lock = threading.RLock()  # another thread must not see a module before it has been executed


def load(source: str, injected: Mapping[str, Any] | None = None) -> ModuleType:
    """Import emitted `source`; `injected` globals (functions without an importable name) exclude it from the cache.

    Machine code that calls an injected function is of no use to another process, nor to another function under the same
    name, so such a module gets a name of its own, in a folder that is removed at exit.
    """
    from ppl.kernels.config import kernels_version

    own = f"{next(_numbers)}" if injected else ""
    digest = hashlib.blake2b((source + kernels_version() + own).encode(), digest_size=16).hexdigest()
    name = f"ppl_program_{digest}"
    with _lock:
        if not injected and name in sys.modules:
            return sys.modules[name]
        return _import(name, source, injected)


def _import(name: str, source: str, injected: Mapping[str, Any] | None) -> ModuleType:
    path = (_temporary() if injected else folder()) / f"{name}.py"
    if not path.exists():
        _write(path, source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(injected or {})
    if not injected:
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _write(path: Path, source: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
